//! Properties of a collection: those that Milvus knows have valid values; the rest is kept as it came.

use crate::error::Rejection;
use crate::limits::{MAX_PROPERTIES, MAX_PROPERTY_BYTES};
use crate::pb::common::KeyValuePair;
use crate::state::TIME_ZONE;

use super::{params, times};

const TTL_SECONDS: &str = "collection.ttl.seconds";
/// A hundred years; -1 means that rows never expire.
const TTL_MAX: i64 = 3_155_760_000;
/// Only where there is a partition key.
pub(super) const ISOLATION: &str = "partitionkey.isolation";
const REPLICAS: &str = "collection.replica.number";
/// Switches: anything but a boolean is a mistake.
const SWITCHES: [&str; 4] =
    ["mmap.enabled", "collection.autocompaction.enabled", "allow_insert_auto_id", "allow_update_auto_id"];
const WARMUP: &str = "warmup";
const WARMUPS: [&str; 4] = ["warmup.scalarField", "warmup.scalarIndex", "warmup.vectorField", "warmup.vectorIndex"];

/// Checks all properties. A key given twice must mean the same both times and is then kept once.
pub(super) fn check(
    pairs: &[KeyValuePair],
    collection: &str,
    has_partition_key: bool,
) -> Result<Vec<(String, String)>, Rejection> {
    if pairs.len() > MAX_PROPERTIES {
        let count = pairs.len();
        let detail = format!("the collection has {count} properties, at most {MAX_PROPERTIES} are accepted");
        return Err(Rejection::ParameterTooLarge { detail });
    }
    let mut kept: Vec<(String, String)> = Vec::with_capacity(pairs.len());
    for KeyValuePair { key, value } in pairs {
        if key.len().saturating_add(value.len()) > MAX_PROPERTY_BYTES {
            let detail = format!("a property of the collection has more than {MAX_PROPERTY_BYTES} bytes");
            return Err(Rejection::ParameterTooLarge { detail });
        }
        match kept.iter().find(|(earlier, _)| earlier == key) {
            Some((_, earlier)) if earlier != value => {
                return Err(Rejection::invalid(format!("duplicated param key: {key}")));
            }
            Some(_) => {}
            None => {
                check_one(key, value, collection, has_partition_key)?;
                kept.push((key.clone(), value.clone()));
            }
        }
    }
    Ok(kept)
}

/// The collection's time zone, if its properties name one.
pub(super) fn time_zone(properties: &[(String, String)]) -> Option<&str> {
    properties.iter().find(|(key, _)| key == TIME_ZONE).map(|(_, zone)| zone.as_str())
}

/// How data is brought into memory on load. The error is the reason alone.
pub fn check_warmup(policy: &str) -> Result<(), String> {
    match policy {
        "sync" | "disable" => Ok(()),
        _ => Err(format!("invalid warmup policy: {policy}, must be 'sync' or 'disable'")),
    }
}

fn check_one(key: &str, value: &str, collection: &str, has_partition_key: bool) -> Result<(), Rejection> {
    let invalid = || Rejection::invalid(format!("invalid collection property: [key={key}] [value={value}]"));
    match key {
        TTL_SECONDS => check_ttl(value),
        TIME_ZONE if times::is_zone(value) => Ok(()),
        TIME_ZONE => Err(Rejection::invalid(format!("unknown or invalid IANA Time Zone ID: {value}"))),
        ISOLATION => match params::switch(value) {
            None => Err(Rejection::invalid(format!(
                "failed to parse partition key isolation property: {value} is not a boolean"
            ))),
            Some(true) if !has_partition_key => Err(Rejection::IllegalSchema {
                collection: collection.to_owned(),
                detail: "partition key isolation mode is enabled but no partition key field is set. Please set the \
                         partition key first"
                    .to_owned(),
            }),
            Some(_) => Ok(()),
        },
        REPLICAS if value.parse::<i32>().is_ok_and(|count| count > 0) => Ok(()),
        REPLICAS => Err(invalid()),
        WARMUP => Err(Rejection::invalid(
            "warmup key 'warmup' is only allowed at field level, use \
             warmup.scalarField/warmup.scalarIndex/warmup.vectorField/warmup.vectorIndex at collection level",
        )),
        warmup if WARMUPS.contains(&warmup) => {
            check_warmup(value).map_err(|why| Rejection::invalid(format!("invalid warmup value for key {key}: {why}")))
        }
        switch if SWITCHES.contains(&switch) => params::switch(value).map(|_| ()).ok_or_else(invalid),
        _ => Ok(()),
    }
}

fn check_ttl(value: &str) -> Result<(), Rejection> {
    let ttl: i64 = value.parse().map_err(|_| Rejection::invalid("collection TTL is not a valid positive integer"))?;
    if !(-1..=TTL_MAX).contains(&ttl) {
        let detail = format!("collection TTL is out of range, expect [-1, {TTL_MAX}], got {ttl}");
        return Err(Rejection::invalid(detail));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(pairs: &[(&str, &str)], key: bool) -> Result<usize, String> {
        let pairs: Vec<_> =
            pairs.iter().map(|(key, value)| KeyValuePair { key: (*key).into(), value: (*value).into() }).collect();
        check(&pairs, "c", key).map(|kept| kept.len()).map_err(|rejection| rejection.reason())
    }

    #[test]
    fn known_properties_have_valid_values() {
        for (key, good, bad, why) in [
            (TTL_SECONDS, "3600", "x", "collection TTL is not a valid positive integer"),
            (TTL_SECONDS, "-1", "-2", "collection TTL is out of range, expect [-1, 3155760000], got -2"),
            (TTL_SECONDS, "3155760000", "3155760001", "collection TTL is out of range"),
            (TIME_ZONE, "Europe/Berlin", "Berlin", "unknown or invalid IANA Time Zone ID: Berlin"),
            (REPLICAS, "1", "0", "invalid collection property: [key=collection.replica.number] [value=0]"),
            ("mmap.enabled", "True", "on", "invalid collection property: [key=mmap.enabled] [value=on]"),
            ("warmup.vectorIndex", "sync", "eager", "invalid warmup value for key warmup.vectorIndex"),
            (ISOLATION, "true", "maybe", "failed to parse partition key isolation property"),
        ] {
            assert_eq!(verdict(&[(key, good)], true), Ok(1), "{key}={good}");
            let reason = verdict(&[(key, bad)], true).unwrap_err();
            assert!(reason.starts_with(why), "{key}={bad}: {reason}");
        }
        assert!(verdict(&[(WARMUP, "sync")], true).unwrap_err().contains("only allowed at field level"));
        assert_eq!(verdict(&[("anything", "else")], true), Ok(1));
    }

    #[test]
    fn isolation_needs_a_partition_key() {
        let reason = verdict(&[(ISOLATION, "true")], false).unwrap_err();
        assert_eq!(
            reason,
            "partition key isolation mode is enabled but no partition key field is set. Please set the partition key \
             first: illegal collection schema[collection=c]"
        );
        assert_eq!(verdict(&[(ISOLATION, "false")], false), Ok(1));
    }

    #[test]
    fn properties_are_few_small_and_unambiguous() {
        assert_eq!(verdict(&[("a", "1"), ("a", "1")], false), Ok(1));
        assert_eq!(verdict(&[("a", "1"), ("a", "2")], false), Err("duplicated param key: a: invalid parameter".into()));
        assert!(verdict(&[("a", &"x".repeat(MAX_PROPERTY_BYTES))], false).unwrap_err().contains("too large"));
        assert!(verdict(&[("a", "1"); MAX_PROPERTIES + 1], false).unwrap_err().contains("too large"));
    }
}
