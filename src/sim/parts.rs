//! Which parts of broadcasts a log has, each where it came first: written down, so that checkers can see whether all
//! parts arrived, and in which order.

use std::collections::{BTreeSet, VecDeque};

use super::message;
use super::wal::Record;
use crate::limits;
use crate::pb::sim::BroadcastPart;

/// Of one log. The oldest are forgotten.
#[derive(Debug, Default)]
pub struct Parts {
    kept: VecDeque<BroadcastPart>,
    /// Ids and virtual channels of those that are kept.
    known: BTreeSet<(u64, String)>,
}

impl Parts {
    /// A message was accepted by the log of this pchannel.
    pub fn note(&mut self, pchannel: &str, record: &Record) {
        let properties = &record.message.properties;
        let Some(header) = message::broadcast(properties) else { return };
        let vchannel = message::vchannel(properties).unwrap_or(pchannel).to_owned();
        if !self.known.insert((header.broadcast_id, vchannel.clone())) {
            return;
        }
        self.kept.push_back(BroadcastPart {
            broadcast_id: header.broadcast_id,
            vchannel,
            vchannels: header.vchannels,
            keys: header.resource_keys,
            offset: record.offset,
        });
        if self.kept.len() > limits::SIM_BROADCASTS_MAX
            && let Some(oldest) = self.kept.pop_front()
        {
            self.known.remove(&(oldest.broadcast_id, oldest.vchannel));
        }
    }

    /// Those of broadcasts with greater ids, in the order of the log.
    pub fn after(&self, broadcast_id: u64) -> Vec<BroadcastPart> {
        self.kept.iter().filter(|part| part.broadcast_id > broadcast_id).cloned().collect()
    }
}
