//! Rows of the catalog as clients see them.

use std::io;

use crate::pb::common::{KeyValuePair, Status};
use crate::pb::milvus::{DescribeCollectionResponse, ShowCollectionsResponse, ShowPartitionsResponse};
use crate::pb::store;
use crate::state::{View, physical_ms};

/// Everything about one collection, its schema as it is stored.
pub fn collection(
    view: &View<'_>,
    row: store::Collection,
    database: &store::Database,
) -> io::Result<DescribeCollectionResponse> {
    let schema = row.decoded_schema()?;
    let aliases = view.aliases_of(&row)?;
    Ok(DescribeCollectionResponse {
        status: Some(Status::default()),
        schema: Some(schema),
        collection_id: row.id,
        virtual_channel_names: row.vchannels,
        physical_channel_names: row.pchannels,
        created_timestamp: row.created_ts,
        created_utc_timestamp: physical_ms(row.created_ts),
        shards_num: shards(row.shards),
        aliases,
        consistency_level: row.consistency,
        collection_name: row.name,
        properties: pairs(row.properties),
        db_name: database.name.clone(),
        num_partitions: row.partitions.into(),
        db_id: database.id,
        update_timestamp: row.updated_ts,
        update_timestamp_str: row.updated_ts.to_string(),
        ..DescribeCollectionResponse::default()
    })
}

/// One more line of a listing: an entry in each of its parallel lists.
pub fn list(list: &mut ShowCollectionsResponse, row: store::CollectionLine) {
    list.collection_names.push(row.name);
    list.collection_ids.push(row.id);
    list.created_timestamps.push(row.created_ts);
    list.created_utc_timestamps.push(physical_ms(row.created_ts));
    list.shards_num.push(shards(row.shards));
}

/// One more line of a listing of what is loaded.
pub fn list_loaded(listed: &mut ShowCollectionsResponse, row: store::CollectionLine, percent: i64) {
    list(listed, row);
    listed.in_memory_percentages.push(percent);
    listed.query_service_available.push(true);
}

/// One more line of a listing of partitions.
pub fn list_partition(list: &mut ShowPartitionsResponse, row: store::Partition) {
    list.partition_names.push(row.name);
    list.partition_i_ds.push(row.id);
    list.created_timestamps.push(row.created_ts);
    list.created_utc_timestamps.push(physical_ms(row.created_ts));
}

/// A database's description, of which each API has its own message.
macro_rules! describes_databases {
    ($($reply:ty),*) => { $(
        impl From<store::Database> for $reply {
            fn from(row: store::Database) -> Self {
                Self {
                    status: Some(Status::default()),
                    db_name: row.name,
                    db_id: row.id,
                    created_timestamp: row.created_ts,
                    properties: pairs(row.properties),
                }
            }
        }
    )* };
}

describes_databases!(crate::pb::milvus::DescribeDatabaseResponse, crate::pb::rootcoord::DescribeDatabaseResponse);

fn pairs(properties: Vec<store::Property>) -> Vec<KeyValuePair> {
    properties.into_iter().map(|property| KeyValuePair { key: property.key, value: property.value }).collect()
}

/// At most a few dozen, so the conversion cannot fail.
fn shards(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
