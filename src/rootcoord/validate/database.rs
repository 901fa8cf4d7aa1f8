//! Properties of a database: those that Milvus knows have valid values; the rest is kept as it came.

use super::{params, times};
use crate::error::Rejection;
use crate::limits::MAX_PROPERTIES;
use crate::pb::common::KeyValuePair;
use crate::state::TIME_ZONE;

const REPLICAS: &str = "database.replica.number";
const RESOURCE_GROUPS: &str = "database.resource_groups";
const MAX_COLLECTIONS: &str = "database.max.collections";
const DISK_QUOTA_MB: &str = "database.diskQuota.mb";
/// Before the names of what is denied: writing, reading, ddl, ...
const FORCE_DENY: &str = "database.force.deny.";
const CIPHERS: [&str; 3] = ["cipher.enabled", "cipher.key", "cipher.ezID"];
const REPLICATE_ID: &str = "replicate.id";
const REPLICATE_END: &str = "replicate.endTS";

/// The properties that a new database has.
pub fn new_database_properties(pairs: &[KeyValuePair]) -> Result<Vec<(String, String)>, Rejection> {
    if pairs.iter().any(|pair| CIPHERS.contains(&pair.key.as_str())) {
        let detail = "failed to tidy database cipher properties: cipher plugin is missing".to_owned();
        return Err(Rejection::NotSupported { detail });
    }
    checked(pairs)
}

/// The properties that a change of a database sets. Whether it may also delete some is for `state` to judge.
pub fn altered_database_properties(
    set: &[KeyValuePair],
    delete: &[String],
) -> Result<Vec<(String, String)>, Rejection> {
    let mut keys = set.iter().map(|pair| pair.key.as_str()).chain(delete.iter().map(String::as_str));
    if set.iter().any(|pair| pair.key == REPLICATE_ID) {
        return Err(Rejection::invalid("can't set the replicate id property in alter database request"));
    }
    if set.iter().any(|pair| pair.key == REPLICATE_END) {
        let detail = "can't set the replicate end ts property in alter database request when db replicate is disabled";
        return Err(Rejection::invalid(detail));
    }
    if keys.any(|key| CIPHERS.contains(&key)) {
        return Err(Rejection::invalid("can not alter cipher related properties"));
    }
    checked(set)
}

fn checked(pairs: &[KeyValuePair]) -> Result<Vec<(String, String)>, Rejection> {
    if pairs.len() > MAX_PROPERTIES {
        let detail = format!("a database with {} properties, at most {MAX_PROPERTIES} are accepted", pairs.len());
        return Err(Rejection::ParameterTooLarge { detail });
    }
    pairs
        .iter()
        .map(|KeyValuePair { key, value }| {
            if key == TIME_ZONE && !times::is_zone(value) {
                return Err(Rejection::invalid(format!("unknown or invalid IANA Time Zone ID: {value}")));
            }
            if !has_meaning(key, value) {
                return Err(Rejection::invalid(format!("invalid database property: [key={key}] [value={value}]")));
            }
            Ok((key.clone(), value.clone()))
        })
        .collect()
}

fn has_meaning(key: &str, value: &str) -> bool {
    match key {
        REPLICAS => value.parse::<i32>().is_ok_and(|count| count > 0),
        RESOURCE_GROUPS => value.split(',').all(|group| !group.trim().is_empty()),
        MAX_COLLECTIONS => value.parse::<u64>().is_ok(),
        DISK_QUOTA_MB => value.parse::<f64>().is_ok_and(f64::is_finite),
        key if key.starts_with(FORCE_DENY) => params::switch(value).is_some(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, value: &str) -> KeyValuePair {
        KeyValuePair { key: key.into(), value: value.into() }
    }

    #[test]
    fn known_properties_have_valid_values() {
        for (key, good, bad) in [
            (REPLICAS, "2", "0"),
            (REPLICAS, "1", "many"),
            (RESOURCE_GROUPS, "a,b", "a,,b"),
            (MAX_COLLECTIONS, "0", "-1"),
            (DISK_QUOTA_MB, "10.5", "much"),
            ("database.force.deny.writing", "true", "perhaps"),
            ("database.force.deny.collectionDDL", "false", ""),
        ] {
            let kept = new_database_properties(&[pair(key, good)]).unwrap();
            assert_eq!(kept, [(key.to_owned(), good.to_owned())]);
            let refusal = altered_database_properties(&[pair(key, bad)], &[]).unwrap_err();
            let text = format!("invalid database property: [key={key}] [value={bad}]: invalid parameter");
            assert_eq!((refusal.code(), refusal.reason()), (1100, text));
        }
        let refusal = new_database_properties(&[pair(TIME_ZONE, "Berlin")]).unwrap_err();
        assert_eq!(refusal.reason(), "unknown or invalid IANA Time Zone ID: Berlin: invalid parameter");
        assert!(new_database_properties(&[pair(TIME_ZONE, "Europe/Berlin"), pair("anything", "else")]).is_ok());
        let many = vec![pair(TIME_ZONE, "UTC"); MAX_PROPERTIES + 1];
        assert_eq!(new_database_properties(&many).unwrap_err().code(), 1102);
    }

    #[test]
    fn encryption_and_replication_are_not_to_be_changed() {
        assert_eq!(new_database_properties(&[pair("cipher.enabled", "true")]).unwrap_err().code(), 3000);
        let reason = |set: &[KeyValuePair], delete: &[&str]| {
            let delete: Vec<String> = delete.iter().map(ToString::to_string).collect();
            altered_database_properties(set, &delete).unwrap_err().reason()
        };
        let cipher = "can not alter cipher related properties: invalid parameter";
        assert_eq!(reason(&[pair("cipher.key", "k")], &[]), cipher);
        assert_eq!(reason(&[], &["cipher.enabled"]), cipher);
        assert!(reason(&[pair(REPLICATE_ID, "x")], &[]).starts_with("can't set the replicate id property"));
        assert!(reason(&[pair(REPLICATE_END, "1")], &[]).contains("when db replicate is disabled"));
    }
}
