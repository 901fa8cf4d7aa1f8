//! What a streaming node reads in a message's properties and adds to them, by Milvus 2.6's short keys.

use std::collections::BTreeMap;

use prost::Message as _;

use crate::pb::common::{ImmutableMessage, MessageId, WalName};
use crate::pb::messages::{BroadcastHeader, Message};

/// Its type, decimal.
const TYPE: &str = "_t";
/// The virtual channel that it is for; none: all of its pchannel.
const VCHANNEL: &str = "_vc";
/// When it was accepted, base 36.
const TIME_TICK: &str = "_tt";
/// The id of a message before which everything has a smaller time tick.
const LAST_CONFIRMED: &str = "_lc";
/// The term under which it was accepted, base 36.
const TERM: &str = "_wt";
/// The header of a broadcast, base64.
const BROADCAST: &str = "_bh";

/// The message as consumers see it.
pub fn accepted(message: Message, offset: u64, time_tick: u64, term: i64) -> ImmutableMessage {
    let mut properties = message.properties;
    properties.insert(TIME_TICK.to_owned(), base36(time_tick));
    properties.insert(TERM.to_owned(), base36(term.unsigned_abs()));
    // Ticks are given in the order of offsets, so each message confirms itself.
    properties.insert(LAST_CONFIRMED.to_owned(), offset.to_string());
    ImmutableMessage { id: Some(id(offset)), payload: message.payload, properties }
}

/// A message's id in the simulated log.
pub fn id(offset: u64) -> MessageId {
    MessageId { id: offset.to_string(), wal_name: WalName::Test.into() }
}

/// The offset that an id stands for.
pub fn offset(id: &MessageId) -> Option<u64> {
    id.id.parse().ok()
}

pub fn vchannel(properties: &BTreeMap<String, String>) -> Option<&str> {
    properties.get(VCHANNEL).map(String::as_str)
}

/// Milvus' number of its type.
pub fn message_type(properties: &BTreeMap<String, String>) -> Option<i32> {
    properties.get(TYPE)?.parse().ok()
}

/// The broadcast that it belongs to, if it does.
pub fn broadcast(properties: &BTreeMap<String, String>) -> Option<BroadcastHeader> {
    use base64::Engine;
    let bytes = base64::prelude::BASE64_STANDARD.decode(properties.get(BROADCAST)?).ok()?;
    BroadcastHeader::decode(bytes.as_slice()).ok()
}

/// Whether every node has to say when it has its part of it.
pub fn wants_ack(properties: &BTreeMap<String, String>) -> bool {
    broadcast(properties).is_some_and(|header| header.ack_sync_up)
}

/// Whether a virtual channel is one of a pchannel: `<pchannel>_<collection>v<shard>`, or the pchannel itself.
pub fn is_on(vchannel: &str, pchannel: &str) -> bool {
    vchannel.strip_prefix(pchannel).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        digits.extend(char::from_digit((number % 36) as u32, 36));
        number /= 36;
        if number == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_base_36() {
        assert_eq!((base36(0), base36(35), base36(36)), ("0".to_owned(), "z".to_owned(), "10".to_owned()));
        assert_eq!(u64::from_str_radix(&base36(u64::MAX), 36), Ok(u64::MAX));
    }

    #[test]
    fn virtual_channels_belong_to_their_pchannel() {
        assert!(is_on("by-dev-rootcoord-dml_1_449v0", "by-dev-rootcoord-dml_1"));
        assert!(is_on("by-dev-rootcoord-dml_1", "by-dev-rootcoord-dml_1"));
        assert!(!is_on("by-dev-rootcoord-dml_10_449v0", "by-dev-rootcoord-dml_1"));
        assert!(!is_on("other", "by-dev-rootcoord-dml_1"));
    }

    #[test]
    fn only_broadcasts_that_want_one_are_acknowledged() {
        use base64::Engine;
        let with = |ack_sync_up| {
            let header = BroadcastHeader { ack_sync_up, ..BroadcastHeader::default() }.encode_to_vec();
            BTreeMap::from([(BROADCAST.to_owned(), base64::prelude::BASE64_STANDARD.encode(header))])
        };
        assert!(wants_ack(&with(true)));
        assert!(!wants_ack(&with(false)));
        assert!(!wants_ack(&BTreeMap::from([(BROADCAST.to_owned(), "noise".to_owned())])));
        assert!(!wants_ack(&BTreeMap::new()));
    }
}
