//! The one way bytes are made: a version byte and bincode for small facts, and a fixed header for log entries.
//! Golden tests pin both, because they are on disks and on wires of other versions.

use std::io;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::types::{Command, CommandKind, CommittedLeaderId, Entry, LogId, Payload};

/// First byte of everything encoded here.
pub const VERSION: u8 = 1;
/// Decoding refuses to allocate more than this for one fact.
const DECODE_LIMIT: usize = 64 << 20;

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<DECODE_LIMIT>()
}

pub(crate) fn corrupt(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

/// Encodes a small fact: version byte, then bincode (standard configuration).
pub fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    encode_into(value, &mut out)?;
    Ok(out)
}

/// As [`encode`], behind what `out` holds.
pub fn encode_into<T: Serialize>(value: &T, out: &mut Vec<u8>) -> io::Result<()> {
    out.push(VERSION);
    bincode::serde::encode_into_std_write(value, out, bincode::config::standard()).map_err(io::Error::other)?;
    Ok(())
}

/// Decodes what [`encode`] made. Trailing bytes, another version and truncation are errors.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    let (version, rest) = bytes.split_first().ok_or_else(|| corrupt("empty record"))?;
    if *version != VERSION {
        return Err(corrupt(format!("record version {version}; this binary reads version {VERSION}")));
    }
    let (value, used) = bincode::serde::decode_from_slice(rest, config()).map_err(corrupt)?;
    if used != rest.len() {
        return Err(corrupt(format!("{} trailing bytes after a record", rest.len() - used)));
    }
    Ok(value)
}

/// Key of a log entry: its index, big-endian, so that keys sort as indexes.
pub fn log_key(index: u64) -> [u8; 8] {
    index.to_be_bytes()
}

const BLANK: u8 = 0;
const APP: u8 = 1;
const SYSTEM: u8 = 2;
const MEMBERSHIP: u8 = 3;
const APP_BATCH: u8 = 4;
const HEADER: usize = 1 + 8 + 8 + 1;

/// Encodes a log entry: version, term, index, tag, then for commands the fence term, the proposer and the payload.
/// The payload's bytes are copied, never re-encoded.
pub fn encode_entry(entry: &Entry) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    encode_entry_into(entry, &mut out)?;
    Ok(out)
}

/// As [`encode_entry`], behind what `out` holds.
pub fn encode_entry_into(entry: &Entry, out: &mut Vec<u8>) -> io::Result<()> {
    let (tag, head, body): (u8, Option<(u64, u64)>, Bytes) = match &entry.payload {
        Payload::Blank => (BLANK, None, Bytes::new()),
        Payload::Normal(command) => {
            let tag = match command.kind {
                CommandKind::App => APP,
                CommandKind::System => SYSTEM,
                CommandKind::AppBatch => APP_BATCH,
            };
            (tag, Some((command.term, command.proposer)), command.data.clone())
        }
        Payload::Membership(membership) => (MEMBERSHIP, None, encode(membership)?.into()),
    };
    out.reserve(HEADER + 16 + body.len());
    out.push(VERSION);
    out.extend_from_slice(&entry.log_id.committed_leader_id().to_be_bytes());
    out.extend_from_slice(&entry.log_id.index().to_be_bytes());
    out.push(tag);
    if let Some((term, proposer)) = head {
        out.extend_from_slice(&term.to_be_bytes());
        out.extend_from_slice(&proposer.to_be_bytes());
    }
    out.extend_from_slice(&body);
    Ok(())
}

/// Decodes what [`encode_entry`] made. The payload shares `bytes`.
pub fn decode_entry(mut bytes: Bytes) -> io::Result<Entry> {
    if bytes.len() < HEADER {
        return Err(corrupt(format!("log entry of {} bytes is shorter than its header", bytes.len())));
    }
    let version = take::<1>(&mut bytes)?[0];
    if version != VERSION {
        return Err(corrupt(format!("log entry version {version}; this binary reads version {VERSION}")));
    }
    let term = u64::from_be_bytes(take(&mut bytes)?);
    let index = u64::from_be_bytes(take(&mut bytes)?);
    let payload = match take::<1>(&mut bytes)?[0] {
        BLANK => Payload::Blank,
        MEMBERSHIP => Payload::Membership(decode(&bytes)?),
        tag @ (APP | SYSTEM | APP_BATCH) => Payload::Normal(Command {
            kind: match tag {
                APP => CommandKind::App,
                SYSTEM => CommandKind::System,
                _ => CommandKind::AppBatch,
            },
            term: u64::from_be_bytes(take(&mut bytes)?),
            proposer: u64::from_be_bytes(take(&mut bytes)?),
            data: bytes,
        }),
        tag => return Err(corrupt(format!("log entry {index} has the unknown tag {tag}"))),
    };
    Ok(Entry { log_id: LogId::new(CommittedLeaderId::new(term), index), payload })
}

/// Appends the length, u32 big-endian, of what `fill` appends, and that. An error leaves `out` as it was.
pub fn sized(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let filled = fill(out).and_then(|()| u32::try_from(out.len() - start - 4).map_err(io::Error::other));
    match filled {
        Ok(length) => {
            out[start..start + 4].copy_from_slice(&length.to_be_bytes());
            Ok(())
        }
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

/// Puts commands into the payload of one entry: each its length, u32 big-endian, and its bytes.
pub fn encode_batch<'c>(commands: impl Iterator<Item = &'c Bytes> + Clone) -> io::Result<Bytes> {
    let mut out = Vec::with_capacity(commands.clone().map(|command| 4 + command.len()).sum());
    for command in commands {
        let length = u32::try_from(command.len()).map_err(io::Error::other)?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(command);
    }
    Ok(out.into())
}

/// Takes apart what [`encode_batch`] made. The commands share `bytes`.
pub fn decode_batch(mut bytes: Bytes) -> io::Result<Vec<Bytes>> {
    let mut commands = Vec::new();
    while !bytes.is_empty() {
        let length = u32::from_be_bytes(take(&mut bytes)?) as usize;
        if length > bytes.len() {
            return Err(corrupt("truncated command in a batch"));
        }
        commands.push(bytes.split_to(length));
    }
    Ok(commands)
}

fn take<const N: usize>(bytes: &mut Bytes) -> io::Result<[u8; N]> {
    if bytes.len() < N {
        return Err(corrupt("truncated log entry"));
    }
    let mut out = [0; N];
    out.copy_from_slice(&bytes.split_to(N));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(payload: Payload) -> Entry {
        Entry { log_id: LogId::new(CommittedLeaderId::new(3), 7), payload }
    }

    fn command(data: &[u8]) -> Command {
        Command { kind: CommandKind::App, term: 3, proposer: 2, data: Bytes::copy_from_slice(data) }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn golden_bytes_of_log_entries() {
        let cases = [
            (Payload::Blank, "010000000000000003000000000000000700"),
            (
                Payload::Normal(command(b"abc")),
                "01000000000000000300000000000000070100000000000000030000000000000002616263",
            ),
            (
                Payload::Normal(Command {
                    kind: CommandKind::AppBatch,
                    ..command(&encode_batch([Bytes::from_static(b"a"), Bytes::from_static(b"bc")].iter()).unwrap())
                }),
                "010000000000000003000000000000000704000000000000000300000000000000020000000161000000026263",
            ),
        ];
        for (payload, golden) in cases {
            let bytes = encode_entry(&entry(payload.clone())).unwrap();
            assert_eq!(hex(&bytes), golden);
            assert_eq!(decode_entry(bytes.into()).unwrap(), entry(payload));
        }
    }

    #[test]
    fn golden_bytes_of_small_facts() {
        assert_eq!(hex(&encode(&LogId::new(CommittedLeaderId::new(3), 300)).unwrap()), "0103fb2c01");
        assert_eq!(hex(&encode(&Vote::new_committed(2, 1)).unwrap()), "0102010101");
    }

    use crate::types::Vote;

    #[test]
    fn other_versions_truncation_and_trailing_bytes_are_errors() {
        let good = encode(&5u64).unwrap();
        assert!(decode::<u64>(&[]).is_err());
        assert!(decode::<u64>(&good[..good.len() - 1]).is_err());
        assert!(decode::<u64>(&[&good[..], &[0]].concat()).is_err());
        assert!(decode::<u64>(&[&[9], &good[1..]].concat()).is_err());
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_entry(bytes.clone().into());
            let _ = decode::<LogId>(&bytes);
            let _ = decode_batch(bytes.into());
        }

        #[test]
        fn batches_survive_a_round_trip(
            commands in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20),
        ) {
            let commands: Vec<Bytes> = commands.into_iter().map(Bytes::from).collect();
            let encoded = encode_batch(commands.iter()).unwrap();
            prop_assert_eq!(decode_batch(encoded.clone()).unwrap(), commands);
            if !encoded.is_empty() {
                prop_assert!(decode_batch(encoded.slice(..1)).is_err());
            }
        }

        #[test]
        fn entries_survive_a_round_trip(
            term in any::<u64>(),
            index in any::<u64>(),
            data in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let entry = Entry {
                log_id: LogId::new(CommittedLeaderId::new(term), index),
                payload: Payload::Normal(Command {
                    kind: CommandKind::System,
                    term,
                    proposer: index,
                    data: data.into(),
                }),
            };
            prop_assert_eq!(decode_entry(encode_entry(&entry).unwrap().into()).unwrap(), entry);
        }
    }
}
