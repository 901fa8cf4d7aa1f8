//! Text analysis of a field: its switches fit together, and its JSON parameters have the shape that nodes expect.
//! What an analyzer's own parameters mean is for the nodes that run it.

use serde_json::{Map, Value};

use crate::error::Rejection;
use crate::pb::schema::{CollectionSchema, DataType, FieldSchema, FunctionType};

use super::params;

const ENABLE_ANALYZER: &str = "enable_analyzer";
const ENABLE_MATCH: &str = "enable_match";
const ANALYZER_PARAMS: &str = "analyzer_params";
const MULTI_ANALYZER_PARAMS: &str = "multi_analyzer_params";

/// Checks one top-level field.
pub(super) fn check(field: &FieldSchema, schema: &CollectionSchema) -> Result<(), Rejection> {
    let name = &field.name;
    let text = matches!(DataType::try_from(field.data_type), Ok(DataType::VarChar | DataType::Text));
    if !text {
        return Ok(());
    }
    let matching = params::is_on(field, ENABLE_MATCH);
    if (matching || feeds_bm25(name, schema)) && !params::is_on(field, ENABLE_ANALYZER) {
        return Err(Rejection::invalid(format!(
            "field {name} which has enable_match or is input of BM25 function must also enable_analyzer"
        )));
    }
    let single = params::get(&field.type_params, ANALYZER_PARAMS);
    if let Some(given) = params::get(&field.type_params, MULTI_ANALYZER_PARAMS) {
        if matching {
            return Err(Rejection::invalid(format!(
                "multi analyzer now only support for bm25, but now field {name} enable match"
            )));
        }
        if single.is_some() {
            return Err(Rejection::invalid(format!(
                "field {name} analyzer params should be none if has multi analyzer params"
            )));
        }
        return multi(given, schema);
    }
    match single {
        Some(given) => object(given).map(|_| ()),
        None => Ok(()),
    }
}

fn feeds_bm25(field: &str, schema: &CollectionSchema) -> bool {
    schema
        .functions
        .iter()
        .filter(|function| function.r#type == i32::from(FunctionType::Bm25))
        .any(|function| function.input_field_names.iter().any(|input| input == field))
}

fn object(json: &str) -> Result<Map<String, Value>, Rejection> {
    serde_json::from_str(json).map_err(|error| Rejection::invalid(format!("unmarshal analyzers failed: {error}")))
}

/// `{"analyzers": {name: parameters}, "by_field": field, "alias": {value: name}}`, with an analyzer named `default`.
fn multi(given: &str, schema: &CollectionSchema) -> Result<(), Rejection> {
    let parsed = object(given)?;
    let by_field = parsed.get("by_field").ok_or_else(|| {
        Rejection::invalid("multi analyzer params now must set by_field to specify with field decide analyzer")
    })?;
    let Value::String(by_field) = by_field else {
        let detail = format!("multi analyzer params by_field must be string but now: {by_field}");
        return Err(Rejection::invalid(detail));
    };
    let Some(decides) = schema.fields.iter().find(|field| field.name == *by_field) else {
        let collection = &schema.name;
        let detail = format!("multi analyzer dependent field {by_field} not exist in collection {collection}");
        return Err(Rejection::invalid(detail));
    };
    if decides.data_type != i32::from(DataType::VarChar) {
        return Err(Rejection::invalid(format!(
            "multi analyzer params now only support by string field, but field {by_field} is not string"
        )));
    }
    if let Some(alias) = parsed.get("alias")
        && !alias.as_object().is_some_and(|names| names.values().all(Value::is_string))
    {
        return Err(Rejection::invalid(format!("multi analyzer alias must be string map but now: {alias}")));
    }
    let analyzers = parsed
        .get("analyzers")
        .ok_or_else(|| Rejection::invalid("multi analyzer params must set analyzers "))?
        .as_object()
        .ok_or_else(|| Rejection::invalid("unmarshal analyzers failed: not a JSON object"))?;
    if !analyzers.contains_key("default") {
        return Err(Rejection::invalid("multi analyzer must set default analyzer for all unknown value"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::common::KeyValuePair;
    use crate::pb::schema::FunctionSchema;

    fn verdict(pairs: &[(&str, &str)], bm25: bool) -> Result<(), String> {
        let type_params =
            pairs.iter().map(|(key, value)| KeyValuePair { key: (*key).into(), value: (*value).into() }).collect();
        let varchar = i32::from(DataType::VarChar);
        let text = FieldSchema { name: "text".into(), data_type: varchar, type_params, ..FieldSchema::default() };
        let language = FieldSchema { name: "language".into(), data_type: varchar, ..FieldSchema::default() };
        let number = FieldSchema { name: "number".into(), data_type: DataType::Int64.into(), ..FieldSchema::default() };
        let mut schema = CollectionSchema { name: "c".into(), ..CollectionSchema::default() };
        schema.fields = vec![text.clone(), language, number];
        if bm25 {
            let function = FunctionSchema {
                r#type: FunctionType::Bm25.into(),
                input_field_names: vec!["text".into()],
                ..FunctionSchema::default()
            };
            schema.functions.push(function);
        }
        check(&text, &schema).map_err(|rejection| rejection.reason())
    }

    #[test]
    fn matching_and_bm25_need_an_analyzer() {
        let both = "field text which has enable_match or is input of BM25 function must also enable_analyzer: \
                    invalid parameter";
        assert_eq!(verdict(&[("enable_match", "true")], false), Err(both.into()));
        assert_eq!(verdict(&[], true), Err(both.into()));
        verdict(&[("enable_match", "true"), ("enable_analyzer", "true")], true).unwrap();
        verdict(&[], false).unwrap();
    }

    #[test]
    fn several_analyzers_are_chosen_by_a_string_field_and_have_a_default() {
        let on = ("enable_analyzer", "true");
        let multi = |json: &str| verdict(&[on, ("multi_analyzer_params", json)], true);
        multi(r#"{"by_field": "language", "analyzers": {"default": {}, "en": {}}, "alias": {"us": "en"}}"#).unwrap();
        for (json, part) in [
            ("[]", "unmarshal analyzers failed"),
            (r#"{"analyzers": {"default": {}}}"#, "must set by_field"),
            (r#"{"by_field": 1}"#, "by_field must be string but now: 1"),
            (r#"{"by_field": "none"}"#, "dependent field none not exist in collection c"),
            (r#"{"by_field": "number"}"#, "field number is not string"),
            (r#"{"by_field": "language", "alias": {"us": 1}}"#, "alias must be string map"),
            (r#"{"by_field": "language"}"#, "must set analyzers"),
            (r#"{"by_field": "language", "analyzers": 1}"#, "unmarshal analyzers failed"),
            (r#"{"by_field": "language", "analyzers": {"en": {}}}"#, "must set default analyzer"),
        ] {
            let reason = multi(json).unwrap_err();
            assert!(reason.contains(part), "{json}: {reason}");
        }
        let single = verdict(&[on, ("analyzer_params", "{}"), ("multi_analyzer_params", "{}")], true);
        assert!(single.unwrap_err().contains("analyzer params should be none"));
        assert!(verdict(&[on, ("analyzer_params", "{")], true).is_err());
    }
}
