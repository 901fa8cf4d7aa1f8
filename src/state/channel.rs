//! Which physical channels carry a collection's shards. Chosen inside apply, so that counts and choice agree.

use std::io;

use roost_raft::kv::{Read, Txn};

use super::limits::MAX_PCHANNELS;
use super::pchannel;
use super::step::Step;
use super::tables::{CHANNEL_ORDER, CHANNEL_USE, CHANNELS_BY_USE};
use crate::pb::store;

/// Physical channels of a cluster to which none were added (Milvus: rootCoord.dmlChannelNum), also the most shards of
/// one collection.
pub const PCHANNELS: u16 = 16;
/// Since this apply version pchannels are kept in the order of what they carry; before it all counts were read.
const ORDERED_SINCE: u32 = 7;
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
pub(super) fn place(step: &mut Step<'_, '_>, collection_id: i64, shards: u32) -> io::Result<Placed> {
    let limit = usize::try_from(shards).unwrap_or(usize::MAX);
    let candidates = match step.apply_version < ORDERED_SINCE {
        true => counted(step.txn)?,
        false => ordered(step.txn, limit)?,
    };
    let mut placed = Placed { pchannels: Vec::new(), vchannels: Vec::new() };
    for (shard, number) in (0..shards).zip(candidates) {
        count(step.txn, number, |vchannels| vchannels.checked_add(1))?;
        let pchannel = pchannel_name(number);
        placed.vchannels.push(format!("{pchannel}_{collection_id}v{shard}"));
        placed.pchannels.push(pchannel);
    }
    Ok(placed)
}

/// All pchannels, those with the fewest vchannels first.
fn counted(read: &dyn Read) -> io::Result<Vec<u16>> {
    let mut channels = Vec::new();
    for number in 0..pchannel::count(read)? {
        channels.push((vchannels_of(read, number)?, number));
    }
    channels.sort_unstable();
    Ok(channels.into_iter().map(|(_, number)| number).collect())
}

/// The first ones of the same, by the order that is kept. What is not in it yet is put into it.
fn ordered(txn: &mut Txn<'_>, limit: usize) -> io::Result<Vec<u16>> {
    let (before, all) = (Order::read(txn)?, pchannel::count(txn)?);
    let mut order = before;
    for number in before.channels..all {
        let place = (vchannels_of(txn, number)?, number);
        CHANNELS_BY_USE.put(txn, &place, &store::Present {});
        order = Order { channels: all, first: order.first.min(place) };
    }
    let first = CHANNELS_BY_USE.keys(txn, &order.first, &(u64::MAX, u16::MAX), limit)?;
    order.first = first.first().copied().unwrap_or(order.first);
    if order != before {
        order.put(txn);
    }
    Ok(first.into_iter().map(|(_, number)| number).collect())
}

/// What is known of the order without looking through it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Order {
    /// How many pchannels, from the first on, are in it.
    channels: u16,
    /// Nothing lies before this place. What lay there and was deleted would be walked over, row by row, by whoever
    /// begins further ahead: each creation deletes what comes first.
    first: (u64, u16),
}

impl Order {
    fn read(read: &dyn Read) -> io::Result<Self> {
        let row = CHANNEL_ORDER.get_or_default(read, &())?;
        let narrow = |number: u32| {
            u16::try_from(number).map_err(|_| CHANNEL_ORDER.corrupt(&CHANNEL_ORDER.key(&()), "more than there can be"))
        };
        Ok(Order { channels: narrow(row.channels)?, first: (row.first_vchannels, narrow(row.first_number)?) })
    }

    fn put(self, txn: &mut Txn<'_>) {
        let Order { channels, first: (first_vchannels, first_number) } = self;
        let row = store::ChannelOrder { channels: channels.into(), first_vchannels, first_number: first_number.into() };
        CHANNEL_ORDER.put(txn, &(), &row);
    }
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
        Some(number) => vchannels_of(read, number),
        None => Ok(0),
    }
}

fn vchannels_of(read: &dyn Read, number: u16) -> io::Result<u64> {
    Ok(CHANNEL_USE.get_or_default(read, &number)?.vchannels)
}

fn count(txn: &mut Txn<'_>, number: u16, change: impl FnOnce(u64) -> Option<u64>) -> io::Result<()> {
    let before = vchannels_of(txn, number)?;
    let vchannels = change(before)
        .ok_or_else(|| CHANNEL_USE.corrupt(&CHANNEL_USE.key(&number), "the count would leave its range"))?;
    CHANNEL_USE.put(txn, &number, &store::ChannelUse { vchannels });
    let order = Order::read(txn)?;
    if number < order.channels {
        CHANNELS_BY_USE.delete(txn, &(before, number));
        CHANNELS_BY_USE.put(txn, &(vchannels, number), &store::Present {});
        if (vchannels, number) < order.first {
            Order { first: (vchannels, number), ..order }.put(txn);
        }
    }
    Ok(())
}
