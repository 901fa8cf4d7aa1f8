//! Bounds of planning where channels go.

/// Pairs of channels, counted for each collection that both serve, that a plan keeps apart: 16 MiB. Collections beyond
/// it, those of the highest ids, are not kept apart. Milvus' 65,536 collections with 16 shards each on 16 pchannels
/// are 16 million pairs, of which every channel is as near to every other.
pub const AFFINITY_PAIRS_MAX: usize = 4_194_304;
