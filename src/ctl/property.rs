//! Properties on the command line and in reports: `KEY=VALUE`.

use std::collections::BTreeMap;

use crate::pb::common::KeyValuePair;

/// Parses one `KEY=VALUE`; the value may be empty or hold further equals signs.
pub fn parse(text: &str) -> Result<KeyValuePair, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok(KeyValuePair { key: key.to_owned(), value: value.to_owned() }),
        _ => Err(format!("'{text}' is not KEY=VALUE")),
    }
}

/// By key, which is how JSON shows them.
pub fn map(pairs: Vec<KeyValuePair>) -> BTreeMap<String, String> {
    pairs.into_iter().map(|pair| (pair.key, pair.value)).collect()
}

/// `a=1 b=2`, or a dash for none.
pub fn line(properties: &BTreeMap<String, String>) -> String {
    if properties.is_empty() {
        return "-".to_owned();
    }
    properties.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_is_a_key_and_whatever_follows() {
        let pair = parse("a.b=c=d").unwrap();
        assert_eq!((pair.key.as_str(), pair.value.as_str()), ("a.b", "c=d"));
        assert_eq!(parse("a=").unwrap().value, "");
        for bad in ["", "a", "=v"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(line(&map(vec![parse("b=2").unwrap(), parse("a=1").unwrap()])), "a=1 b=2");
        assert_eq!(line(&BTreeMap::new()), "-");
    }
}
