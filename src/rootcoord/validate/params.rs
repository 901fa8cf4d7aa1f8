//! Key-value parameters of fields and collections: looking up, numbers, switches, duplicates.

use std::collections::BTreeSet;

use crate::error::Rejection;
use crate::limits::MAX_TYPE_PARAM_BYTES;
use crate::pb::common::KeyValuePair;
use crate::pb::schema::FieldSchema;
pub use crate::state::switch;

/// The first value of a key.
pub(super) fn get<'a>(params: &'a [KeyValuePair], key: &str) -> Option<&'a str> {
    params.iter().find(|pair| pair.key == key).map(|pair| pair.value.as_str())
}

/// Whether a field's switch is on; what is no switch counts as off, as in Milvus.
pub(super) fn is_on(field: &FieldSchema, key: &str) -> bool {
    get(&field.type_params, key).and_then(switch).unwrap_or(false)
}

/// No key twice among a field's type or index parameters, none beyond its size.
pub(super) fn check(field: &FieldSchema) -> Result<(), Rejection> {
    for (kind, params) in [("type", &field.type_params), ("index", &field.index_params)] {
        let mut seen = BTreeSet::new();
        for KeyValuePair { key, value } in params {
            if !seen.insert(key) {
                return Err(Rejection::invalid(format!("duplicated {kind} param key \"{key}\"")));
            }
            if key.len().saturating_add(value.len()) > MAX_TYPE_PARAM_BYTES {
                let name = &field.name;
                let detail = format!("a {kind} param of field {name} has more than {MAX_TYPE_PARAM_BYTES} bytes");
                return Err(Rejection::ParameterTooLarge { detail });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(pairs: &[(&str, &str)]) -> FieldSchema {
        let pair = |(key, value): &(&str, &str)| KeyValuePair { key: (*key).into(), value: (*value).into() };
        FieldSchema { name: "f".into(), type_params: pairs.iter().map(pair).collect(), ..FieldSchema::default() }
    }

    #[test]
    fn a_key_may_stand_once() {
        check(&field(&[("dim", "8"), ("mmap.enabled", "true")])).unwrap();
        let twice = check(&field(&[("dim", "8"), ("dim", "8")])).unwrap_err();
        assert_eq!(twice.reason(), "duplicated type param key \"dim\": invalid parameter");
        let large = check(&field(&[("a", &"x".repeat(MAX_TYPE_PARAM_BYTES))])).unwrap_err();
        assert_eq!(large.code(), 1102);
    }

    #[test]
    fn switches_are_read_as_go_reads_them() {
        assert_eq!((switch("True"), switch("0"), switch("yes"), switch("")), (Some(true), Some(false), None, None));
        assert!(is_on(&field(&[("enable_match", "true")]), "enable_match"));
        assert!(!is_on(&field(&[("enable_match", "on")]), "enable_match"));
    }
}
