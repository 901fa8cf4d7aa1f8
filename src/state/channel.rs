//! Which physical channels carry a collection's shards. Chosen inside apply, so that counts and choice agree.

use std::io;

use roost_raft::kv::{Read, Txn};

use super::limits::MAX_PCHANNELS;
use super::pchannel;
use super::tables::CHANNEL_USE;

/// Physical channels of a cluster to which none were added (Milvus: rootCoord.dmlChannelNum), also the most shards of
/// one collection.
pub const PCHANNELS: u16 = 16;
/// What a physical channel is called, before its number.
const PCHANNEL_PREFIX: &str = "by-dev-rootcoord-dml_";

/// The name of a physical channel.
pub fn pchannel_name(number: u16) -> String {
    format!("{PCHANNEL_PREFIX}{number}")
}

/// The number in the name of a physical channel; `None` if no physical channel may have that name.
pub(super) fn number(name: &str) -> Option<u16> {
    let number: u16 = name.strip_prefix(PCHANNEL_PREFIX)?.parse().ok()?;
    (usize::from(number) < MAX_PCHANNELS && pchannel_name(number) == name).then_some(number)
}

/// The channels of one collection, by shard.
pub(super) struct Placed {
    pub pchannels: Vec<String>,
    pub vchannels: Vec<String>,
}

/// Places each shard on its own pchannel: those with the fewest vchannels, then by number. `shards` is at most
/// [`PCHANNELS`].
pub(super) fn place(txn: &mut Txn<'_>, collection_id: i64, shards: u32) -> io::Result<Placed> {
    let count_of_channels = pchannel::count(txn)?;
    let mut candidates = Vec::with_capacity(count_of_channels.into());
    for number in 0..count_of_channels {
        candidates.push((CHANNEL_USE.get_or_default(txn, &number)?.vchannels, number));
    }
    candidates.sort_unstable();
    let mut placed = Placed { pchannels: Vec::new(), vchannels: Vec::new() };
    for (shard, (_, number)) in (0..shards).zip(candidates) {
        count(txn, number, |vchannels| vchannels.checked_add(1))?;
        let pchannel = pchannel_name(number);
        placed.vchannels.push(format!("{pchannel}_{collection_id}v{shard}"));
        placed.pchannels.push(pchannel);
    }
    Ok(placed)
}

/// Gives a dropped collection's channels back.
pub(super) fn release(txn: &mut Txn<'_>, pchannels: &[String]) -> io::Result<()> {
    for pchannel in pchannels {
        let number =
            number(pchannel).ok_or_else(|| CHANNEL_USE.corrupt(pchannel.as_bytes(), "not a pchannel of ours"))?;
        count(txn, number, |vchannels| vchannels.checked_sub(1))?;
    }
    Ok(())
}

/// How many vchannels a pchannel carries.
pub(super) fn vchannels(read: &dyn Read, pchannel: &str) -> io::Result<u64> {
    match number(pchannel) {
        Some(number) => Ok(CHANNEL_USE.get_or_default(read, &number)?.vchannels),
        None => Ok(0),
    }
}

fn count(txn: &mut Txn<'_>, number: u16, change: impl FnOnce(u64) -> Option<u64>) -> io::Result<()> {
    let mut row = CHANNEL_USE.get_or_default(txn, &number)?;
    row.vchannels = change(row.vchannels)
        .ok_or_else(|| CHANNEL_USE.corrupt(&CHANNEL_USE.key(&number), "the count would leave its range"))?;
    CHANNEL_USE.put(txn, &number, &row);
    Ok(())
}
