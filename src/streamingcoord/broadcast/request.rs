//! What callers and nodes send, as commands for the log.

use std::collections::BTreeMap;

use prost::Message as _;

use crate::error::Rejection;
use crate::pb::common::{ImmutableMessage, MessageId, WalName};
use crate::pb::messages::{
    AlterReplicateConfigMessageHeader, BroadcastHeader, Message, MessageType, ResourceKey as WireKey,
};
use crate::pb::streaming::{AckedCheckpoint, BroadcastAckRequest};
use crate::state::broadcast::{Acked, ReplicatedUpdate, ResourceKey, Submit, message};

/// Milvus writes numbers in properties to this base.
const BASE: u32 = 36;

/// A message to be broadcast. Its header says to whom, and gets its id from the log.
pub(super) fn submission(message: Message) -> Result<Submit, Rejection> {
    let Message { payload, mut properties } = message;
    let message_type = properties.get(message::TYPE).and_then(|text| text.parse().ok());
    let message_type: i32 = message_type.ok_or_else(|| Rejection::invalid("the message has no type"))?;
    let encoded = properties.remove(message::BROADCAST_HEADER);
    let encoded = encoded.ok_or_else(|| Rejection::invalid("the message has no broadcast header"))?;
    let header: BroadcastHeader =
        message::decoded(&encoded).ok_or_else(|| Rejection::invalid("the broadcast header cannot be read"))?;
    if header.broadcast_id != 0 {
        let detail = format!("the message is broadcast {} already", header.broadcast_id);
        return Err(Rejection::invalid(detail));
    }
    // Each copy gets its own.
    properties.remove(message::VCHANNEL);
    let key = |WireKey { domain, key, shared }: WireKey| {
        let domain = u8::try_from(domain);
        let domain = domain.map_err(|_| Rejection::invalid("a resource key has an unknown domain"))?;
        Ok(ResourceKey { domain, key, shared })
    };
    Ok(Submit {
        message_type,
        payload,
        properties: properties.into_iter().collect(),
        vchannels: header.vchannels,
        keys: header.resource_keys.into_iter().map(key).collect::<Result<_, Rejection>>()?,
        ack_sync_up: header.ack_sync_up,
    })
}

/// What a node says that it has consumed.
#[derive(Debug, PartialEq)]
pub(super) enum Acknowledgement {
    /// Its copy of a broadcast of ours.
    Own(Acked),
    /// The other cluster's configuration, which came by a log.
    Replicated(ReplicatedUpdate),
}

/// Nodes of 2.6 send the copy itself; older ones name it. `cluster`: what this one is called in configurations.
pub(super) fn acknowledgement(request: BroadcastAckRequest, cluster: &str) -> Result<Acknowledgement, Rejection> {
    let Some(message) = request.message else {
        #[allow(deprecated, reason = "older nodes send nothing else")]
        let (id, vchannel) = (request.broadcast_id, request.vchannel);
        let checkpoints = vec![(vchannel, Vec::new())];
        return Ok(Acknowledgement::Own(Acked { id: broadcast_id(id)?, checkpoints, finish: true }));
    };
    let property = |key: &str| message.properties.get(key).map(String::as_str);
    let header = property(message::BROADCAST_HEADER).and_then(message::decoded::<BroadcastHeader>);
    let header = header.ok_or_else(|| Rejection::invalid("the message has no broadcast header"))?;
    let vchannel = property(message::VCHANNEL).unwrap_or_default().to_owned();
    if property(message::REPLICATE_HEADER).is_some() {
        return replicated(&message, header, vchannel, cluster);
    }
    let checkpoint = AckedCheckpoint {
        last_confirmed_message_id: last_confirmed(&message),
        time_tick: time_tick(&message.properties).unwrap_or(0),
        message_id: message.id,
    };
    let checkpoints = vec![(vchannel, checkpoint.encode_to_vec())];
    Ok(Acknowledgement::Own(Acked { id: broadcast_id(header.broadcast_id)?, checkpoints, finish: true }))
}

/// Its number is the other cluster's, and says nothing of our broadcasts.
fn replicated(
    message: &ImmutableMessage,
    header: BroadcastHeader,
    vchannel: String,
    cluster: &str,
) -> Result<Acknowledgement, Rejection> {
    let kind = message.properties.get(message::TYPE).and_then(|text| text.parse().ok());
    let kind = kind.and_then(|number: i32| MessageType::try_from(number).ok());
    if kind != Some(MessageType::AlterReplicateConfig) {
        let kind = kind.map_or("of an unknown type", |kind| kind.as_str_name());
        let detail = format!("changes of another cluster's catalogue are not taken over: message {kind}");
        return Err(Rejection::Unimplemented { detail });
    }
    let own = message.properties.get(message::HEADER).map(String::as_str);
    let own = own.and_then(message::decoded::<AlterReplicateConfigMessageHeader>);
    let configuration = own.and_then(|own| own.replicate_configuration);
    let configuration = configuration.ok_or_else(|| Rejection::invalid("the message has no configuration"))?;
    Ok(Acknowledgement::Replicated(ReplicatedUpdate {
        broadcast_id: header.broadcast_id,
        configuration: configuration.encode_to_vec(),
        vchannels: header.vchannels,
        vchannel,
        cluster_id: cluster.to_owned(),
    }))
}

fn broadcast_id(id: u64) -> Result<i64, Rejection> {
    i64::try_from(id).map_err(|_| Rejection::invalid(format!("{id} is no broadcast id")))
}

fn last_confirmed(message: &ImmutableMessage) -> Option<MessageId> {
    if message.properties.contains_key(message::LAST_CONFIRMED_IS_OWN) {
        return message.id.clone();
    }
    let id = message.properties.get(message::LAST_CONFIRMED)?.clone();
    let wal = message.id.as_ref().map_or(WalName::Unknown.into(), |own| own.wal_name);
    Some(MessageId { id, wal_name: wal })
}

fn time_tick(properties: &BTreeMap<String, String>) -> Option<u64> {
    u64::from_str_radix(properties.get(message::TIME_TICK)?, BASE).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::common::ReplicateConfiguration;

    fn message(header: &BroadcastHeader) -> Message {
        let properties = [
            (message::TYPE, "5".to_owned()),
            (message::BROADCAST_HEADER, message::encoded(header)),
            (message::VCHANNEL, "stale".to_owned()),
            ("own", "kept".to_owned()),
        ];
        let properties = properties.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Message { payload: vec![1], properties }
    }

    #[test]
    fn a_message_says_to_whom_it_goes() {
        let key = WireKey { domain: 2, key: "default:c".into(), shared: false };
        let header = BroadcastHeader {
            broadcast_id: 0,
            vchannels: vec!["a".into(), "b".into()],
            resource_keys: vec![key],
            ack_sync_up: true,
        };
        let submit = submission(message(&header)).unwrap();
        assert_eq!((submit.message_type, submit.vchannels.len(), submit.ack_sync_up), (5, 2, true));
        assert_eq!(submit.keys, [ResourceKey::collection("default", "c")]);
        let kept = [("_t".to_owned(), "5".to_owned()), ("own".to_owned(), "kept".to_owned())];
        assert_eq!(submit.properties, kept);
        let again = BroadcastHeader { broadcast_id: 7, ..header.clone() };
        assert!(submission(message(&again)).is_err());
        let mut bare = message(&header);
        bare.properties.remove(message::BROADCAST_HEADER);
        assert!(submission(bare).is_err());
        let mut noise = message(&header);
        noise.properties.insert(message::BROADCAST_HEADER.into(), "noise".into());
        assert!(submission(noise).is_err());
        let mut untyped = message(&header);
        untyped.properties.insert(message::TYPE.into(), "x".into());
        assert!(submission(untyped).is_err());
    }

    fn acked(request: BroadcastAckRequest) -> Acked {
        match acknowledgement(request, "own").unwrap() {
            Acknowledgement::Own(acked) => acked,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_acknowledgement_names_its_copy() {
        let header = BroadcastHeader { broadcast_id: 300, ..Default::default() };
        let Message { payload, mut properties } = message(&header);
        properties.insert(message::TIME_TICK.into(), "zz".into());
        properties.insert(message::LAST_CONFIRMED_IS_OWN.into(), String::new());
        let id = Some(MessageId { id: "m".into(), wal_name: 4 });
        let copy = ImmutableMessage { id: id.clone(), payload, properties };
        let ack = acked(BroadcastAckRequest { message: Some(copy), ..Default::default() });
        let found = AckedCheckpoint::decode(ack.checkpoints[0].1.as_slice()).unwrap();
        assert_eq!((ack.id, ack.checkpoints[0].0.as_str(), ack.finish), (300, "stale", true));
        let expected = AckedCheckpoint { message_id: id.clone(), last_confirmed_message_id: id, time_tick: 35 * 37 };
        assert_eq!(found, expected);
        #[allow(deprecated)]
        let old = BroadcastAckRequest { broadcast_id: 7, vchannel: "v".into(), message: None };
        assert_eq!(acked(old).checkpoints, [("v".to_owned(), Vec::new())]);
        let strange = BroadcastHeader { broadcast_id: u64::MAX, ..Default::default() };
        let copy = ImmutableMessage { id: None, payload: vec![], properties: message(&strange).properties };
        assert!(acknowledgement(BroadcastAckRequest { message: Some(copy), ..Default::default() }, "own").is_err());
    }

    #[test]
    fn what_another_cluster_broadcast_is_none_of_ours() {
        let header = BroadcastHeader { broadcast_id: 300, vchannels: vec!["stale".into()], ..Default::default() };
        let Message { payload, mut properties } = message(&header);
        properties.insert(message::REPLICATE_HEADER.into(), String::new());
        let copy = ImmutableMessage { id: None, payload, properties };
        let asked = |copy: &ImmutableMessage| {
            acknowledgement(BroadcastAckRequest { message: Some(copy.clone()), ..Default::default() }, "own")
        };
        assert!(matches!(asked(&copy), Err(Rejection::Unimplemented { .. })), "a collection's creation");
        let mut told = copy;
        told.properties.insert(message::TYPE.into(), i32::from(MessageType::AlterReplicateConfig).to_string());
        assert!(matches!(asked(&told), Err(Rejection::ParameterInvalid { .. })), "of nothing");
        let configuration = ReplicateConfiguration::default();
        let own = AlterReplicateConfigMessageHeader {
            replicate_configuration: Some(configuration.clone()),
            ..Default::default()
        };
        told.properties.insert(message::HEADER.into(), message::encoded(&own));
        let expected = ReplicatedUpdate {
            broadcast_id: 300,
            configuration: configuration.encode_to_vec(),
            vchannels: vec!["stale".into()],
            vchannel: "stale".into(),
            cluster_id: "own".into(),
        };
        assert_eq!(asked(&told), Ok(Acknowledgement::Replicated(expected)));
    }
}
