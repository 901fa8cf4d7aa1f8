//! Milvus' messages in a write-ahead log: a payload and properties, which hold the type, the header and the place.
//! Names of properties and their forms are Milvus 2.6's.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::pb::messages::{BroadcastHeader, Message, MessageType, ResourceDomain, ResourceKey};
use crate::pb::store;

/// The form of the message.
pub const VERSION: &str = "_v";
/// The `MessageType`, as decimal text.
pub const TYPE: &str = "_t";
/// The header of the type, base64 of its proto.
pub const HEADER: &str = "_h";
/// The header that all copies of a broadcast share, base64 of a `BroadcastHeader`.
pub const BROADCAST_HEADER: &str = "_bh";
pub const VCHANNEL: &str = "_vc";
/// When it was appended: a hybrid timestamp, in base 36.
pub const TIME_TICK: &str = "_tt";
/// The id of the message before which everything is confirmed.
pub const LAST_CONFIRMED: &str = "_lc";
/// Present when that is the message itself.
pub const LAST_CONFIRMED_IS_OWN: &str = "_lcs";
/// Of a message that came from another cluster: where it was there, base64 of a `ReplicateHeader`.
pub const REPLICATE_HEADER: &str = "_rh";

/// The form in which DDL goes through the log.
const CURRENT_VERSION: &str = "2";
/// What follows the pchannel's name in that of its control channel.
const CONTROL_SUFFIX: &str = "vcchan";

/// The properties of a new message of this type.
pub fn properties(kind: MessageType, header: &impl prost::Message) -> Vec<(String, String)> {
    let pair = |key: &str, value: String| (key.to_owned(), value);
    vec![
        pair(HEADER, encoded(header)),
        pair(TYPE, i32::from(kind).to_string()),
        pair(VERSION, CURRENT_VERSION.to_owned()),
    ]
}

/// As a property holds it.
pub fn encoded(header: &impl prost::Message) -> String {
    BASE64_STANDARD.encode(header.encode_to_vec())
}

/// What [`encoded`] wrote; `None` for anything else.
pub fn decoded<T: prost::Message + Default>(property: &str) -> Option<T> {
    T::decode(BASE64_STANDARD.decode(property).ok()?.as_slice()).ok()
}

/// What the copies of a broadcast for its vchannels are made of. Every repetition of one is the same, and says which
/// broadcast it is.
pub struct Original<'m> {
    message: &'m store::BroadcastMessage,
    /// Names every vchannel, so it is made once.
    header: String,
}

impl<'m> Original<'m> {
    pub fn new(task: &store::BroadcastTask, message: &'m store::BroadcastMessage) -> Self {
        Original { message, header: encoded(&broadcast_header(task)) }
    }

    pub fn copy_for(&self, vchannel: &str) -> Message {
        let own = self.message.properties.iter().map(|property| (property.key.clone(), property.value.clone()));
        let added = [(BROADCAST_HEADER.to_owned(), self.header.clone()), (VCHANNEL.to_owned(), vchannel.to_owned())];
        Message { payload: self.message.payload.clone(), properties: own.chain(added).collect() }
    }

    /// How many bytes a copy takes.
    pub fn copy_bytes(&self) -> usize {
        let properties = self.message.properties.iter().map(|property| property.key.len() + property.value.len());
        self.message.payload.len() + self.header.len() + properties.sum::<usize>()
    }
}

fn broadcast_header(task: &store::BroadcastTask) -> BroadcastHeader {
    let key = |key: &store::ResourceKey| {
        let domain = i32::try_from(key.domain).unwrap_or(i32::from(ResourceDomain::Unknown));
        ResourceKey { domain, key: key.key.clone(), shared: key.shared }
    };
    BroadcastHeader {
        broadcast_id: task.id.unsigned_abs(),
        vchannels: task.channels.iter().map(|channel| channel.vchannel.clone()).collect(),
        resource_keys: task.keys.iter().map(key).collect(),
        ack_sync_up: task.ack_sync_up,
    }
}

/// The pchannel that carries a vchannel: `<pchannel>_<collection id>v<shard>`, `<pchannel>_vcchan`, or its own name.
pub fn pchannel_of(vchannel: &str) -> &str {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match vchannel.rsplit_once('_') {
        Some((pchannel, CONTROL_SUFFIX)) => pchannel,
        Some((pchannel, suffix)) if suffix.split_once('v').is_some_and(|(a, b)| is_number(a) && is_number(b)) => {
            pchannel
        }
        _ => vchannel,
    }
}

/// The control channel on this pchannel: what concerns no vchannel of a collection goes there.
pub fn control_channel(pchannel: &str) -> String {
    format!("{pchannel}_{CONTROL_SUFFIX}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vchannel_names_its_pchannel() {
        assert_eq!(pchannel_of("by-dev-rootcoord-dml_3_450v1"), "by-dev-rootcoord-dml_3");
        assert_eq!(pchannel_of(&control_channel("by-dev-rootcoord-dml_0")), "by-dev-rootcoord-dml_0");
        for own in ["by-dev-rootcoord-dml_3", "dml_v1", "dml_3v", "x", "", "_"] {
            assert_eq!(pchannel_of(own), own);
        }
    }

    #[test]
    fn a_header_survives_its_property() {
        let header = BroadcastHeader { broadcast_id: 7, vchannels: vec!["v".into()], ..Default::default() };
        assert_eq!(decoded::<BroadcastHeader>(&encoded(&header)), Some(header));
        assert_eq!(decoded::<BroadcastHeader>("!"), None);
        let kept = properties(MessageType::AlterReplicateConfig, &BroadcastHeader::default());
        assert_eq!(kept[1], (TYPE.to_owned(), "800".to_owned()));
    }
}
