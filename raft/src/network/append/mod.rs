//! What a leader appends to a peer travels as frames on a connection of its own, one answer for each request, in order.
//! A request is the record of everything but its entries, and then each entry in its stored form, all of them with
//! their lengths; an answer is one record. One task at either end does both directions: every hand-over of an entry
//! costs more than the bytes.

mod client;
mod service;

use std::io;

use bytes::Bytes;
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};

use super::frames::Frames;
use crate::codec;
use crate::types::TypeConfig;

pub use client::{Appending, Line, Opening};
pub use service::{AppendService, append_service};

type Request = AppendEntriesRequest<TypeConfig>;
/// What a peer says to a request: Raft's answer, or why its Raft gives none.
type Answer = Result<StreamAppendResult<TypeConfig>, String>;

fn put_request(frames: &mut Frames, request: &Request) -> io::Result<()> {
    frames.put(|out| {
        let head = (&request.vote, &request.prev_log_id, &request.leader_commit);
        codec::sized(out, |out| codec::encode_into(&head, out))?;
        request.entries.iter().try_for_each(|entry| codec::sized(out, |out| codec::encode_entry_into(entry, out)))
    })
}

fn request(frame: Bytes) -> io::Result<Request> {
    let mut parts = codec::decode_batch(frame)?.into_iter();
    let head = parts.next().ok_or_else(|| codec::corrupt("an append without a record"))?;
    let (vote, prev_log_id, leader_commit) = codec::decode(&head)?;
    let entries = parts.map(codec::decode_entry).collect::<io::Result<_>>()?;
    Ok(Request { vote, prev_log_id, entries, leader_commit })
}

#[cfg(test)]
mod tests;
