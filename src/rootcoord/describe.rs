//! Rows of the catalog as clients see them.

use std::io;

use super::Which;
use super::validate;
use crate::pb::common::{KeyValuePair, Status};
use crate::pb::milvus::{DescribeCollectionResponse, ShowCollectionsResponse};
use crate::pb::store;
use crate::state::physical_ms;

/// Everything about one collection.
pub fn collection(
    row: store::Collection,
    database: &store::Database,
    which: Which,
) -> io::Result<DescribeCollectionResponse> {
    let mut schema = row.decoded_schema()?;
    if which == Which::Client {
        schema = validate::client_schema(&schema);
    }
    let pair = |property: store::Property| KeyValuePair { key: property.key, value: property.value };
    Ok(DescribeCollectionResponse {
        status: Some(Status::default()),
        schema: Some(schema),
        collection_id: row.id,
        virtual_channel_names: row.vchannels,
        physical_channel_names: row.pchannels,
        created_timestamp: row.created_ts,
        created_utc_timestamp: physical_ms(row.created_ts),
        shards_num: shards(row.shards),
        consistency_level: row.consistency,
        collection_name: row.name,
        properties: row.properties.into_iter().map(pair).collect(),
        db_name: database.name.clone(),
        num_partitions: row.partitions.into(),
        db_id: database.id,
        update_timestamp: row.updated_ts,
        update_timestamp_str: row.updated_ts.to_string(),
        ..DescribeCollectionResponse::default()
    })
}

/// One more line of a listing: an entry in each of its parallel lists.
pub fn list(list: &mut ShowCollectionsResponse, row: store::Collection) {
    list.collection_names.push(row.name);
    list.collection_ids.push(row.id);
    list.created_timestamps.push(row.created_ts);
    list.created_utc_timestamps.push(physical_ms(row.created_ts));
    list.shards_num.push(shards(row.shards));
}

/// At most a few dozen, so the conversion cannot fail.
fn shards(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
