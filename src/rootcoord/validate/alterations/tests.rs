//! Alterations, rule by rule.

use super::*;
use crate::pb::schema::DataType;

fn pair(key: &str, value: &str) -> KeyValuePair {
    KeyValuePair { key: key.into(), value: value.into() }
}

fn request(set: &[(&str, &str)], delete: &[&str]) -> AlterCollectionRequest {
    AlterCollectionRequest {
        collection_name: "c".into(),
        properties: set.iter().map(|(key, value)| pair(key, value)).collect(),
        delete_keys: delete.iter().map(ToString::to_string).collect(),
        ..AlterCollectionRequest::default()
    }
}

fn schema() -> CollectionSchema {
    let field = |field_id, name: &str, data_type: DataType| FieldSchema {
        field_id,
        name: name.into(),
        data_type: data_type.into(),
        ..FieldSchema::default()
    };
    let id = FieldSchema { is_primary_key: true, ..field(100, "id", DataType::Int64) };
    let vector = FieldSchema { type_params: vec![pair("dim", "8")], ..field(101, "vector", DataType::FloatVector) };
    let fields = vec![id, vector, field(102, "title", DataType::VarChar)];
    CollectionSchema { name: "c".into(), fields, ..CollectionSchema::default() }
}

fn verdict(set: &[(&str, &str)], delete: &[&str]) -> Result<Alteration, String> {
    alteration(&request(set, delete), &schema(), &Limits::default()).map_err(|rejection| rejection.reason())
}

#[test]
fn what_may_be_asked_for() {
    let properties = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let set = verdict(&[("collection.ttl.seconds", "60")], &[]).unwrap();
    let expected = properties(&[("collection.ttl.seconds", "60")]);
    assert_eq!(set, Alteration::Set { properties: expected, description: None, consistency: None });
    let set = verdict(&[("collection.description", "d"), ("consistency_level", "Strong"), ("k", "v")], &[]).unwrap();
    let (description, consistency) = (Some("d".to_owned()), Some(0));
    assert_eq!(set, Alteration::Set { properties: properties(&[("k", "v")]), description, consistency });
    let level = |level| match verdict(&[("consistency_level", level)], &[]).unwrap() {
        Alteration::Set { properties, consistency, .. } if properties.is_empty() => consistency,
        other => panic!("{other:?}"),
    };
    assert_eq!(["2", "Bounded", "9", "weak"].map(level), [Some(2), Some(2), None, None]);
    assert_eq!(verdict(&[], &["a", "b"]).unwrap(), Alteration::Delete(vec!["a".into(), "b".into()]));
    for (value, enable) in [("true", true), ("False", false)] {
        assert_eq!(verdict(&[("dynamicfield.enabled", value)], &[]).unwrap(), Alteration::DynamicField { enable });
    }
    assert!(verdict(&[("allow_insert_auto_id", "false")], &[]).is_ok());
}

#[test]
fn what_may_not() {
    for (set, delete, text) in [
        (&[][..], &[][..], "no properties or delete keys provided"),
        (&[("a", "1")], &["b"], "cannot provide both DeleteKeys and ExtraParams"),
        (&[("cipher.enabled", "true")], &[], "can not alter cipher related properties"),
        (&[], &["cipher.key"], "can not alter cipher related properties"),
        (
            &[],
            &["dynamicfield.enabled"],
            "cannot delete key dynamicfield.enabled, dynamic field schema could support set to true/false",
        ),
        (&[("replicate.id", "x")], &[], "can't set the replicate.id property"),
        (&[("dynamicfield.enabled", "maybe")], &[], "invalid dynamic schema property value: maybe"),
        (
            &[("dynamicfield.enabled", "true"), ("a", "1")],
            &[],
            "cannot alter dynamic schema with other properties at the same time",
        ),
        (
            &[("allow_insert_auto_id", "true")],
            &[],
            "the value for allow_insert_auto_id must be false when autoID is false",
        ),
        (&[("timezone", "Mars")], &[], "unknown or invalid IANA Time Zone ID: Mars"),
        (&[("collection.ttl.seconds", "x")], &[], "collection TTL is not a valid positive integer"),
        (
            &[("collection.description", &"x".repeat(1025))],
            &[],
            "the length of a collection description must not exceed 1024 bytes",
        ),
    ] {
        assert_eq!(verdict(set, delete).unwrap_err(), format!("{text}: invalid parameter"), "{set:?} {delete:?}");
    }
    let reason = verdict(&[("partitionkey.isolation", "true")], &[]).unwrap_err();
    assert!(reason.ends_with("illegal collection schema[collection=c]"), "{reason}");
}

#[test]
fn isolation_and_own_ids_need_what_the_schema_says() {
    assert!(asks_for_schema(&request(&[("partitionkey.isolation", "true")], &[])));
    assert!(!asks_for_schema(&request(&[("collection.ttl.seconds", "1")], &[])));
    let mut own = schema();
    own.fields[0].auto_id = true;
    own.fields[2].is_partition_key = true;
    let both = request(&[("partitionkey.isolation", "true"), ("allow_insert_auto_id", "true")], &[]);
    assert!(alteration(&both, &own, &Limits::default()).is_ok());
}

fn added_under(zone: &str, field: &FieldSchema) -> Result<FieldSchema, (i32, String)> {
    let zone = store::Property { key: "timezone".into(), value: zone.into() };
    let row = store::Collection { properties: vec![zone], ..store::Collection::default() };
    added_field(&field.encode_to_vec(), &row, &schema(), &Limits::default())
        .map_err(|rejection| (rejection.code(), rejection.reason()))
}

fn added(field: &FieldSchema) -> Result<FieldSchema, (i32, String)> {
    added_under("UTC", field)
}

#[test]
fn an_added_field_is_a_field_that_could_have_been_declared() {
    use crate::pb::schema::ValueField;
    use crate::pb::schema::value_field::Data;

    let new = |name: &str, data_type: DataType| FieldSchema {
        name: name.into(),
        nullable: true,
        data_type: data_type.into(),
        ..FieldSchema::default()
    };
    let text = |text: &str| Some(ValueField { data: Some(Data::StringData(text.into())) });
    let stray = FieldSchema { field_id: 7, is_function_output: true, ..new("count", DataType::Int64) };
    assert_eq!(added(&stray).unwrap(), new("count", DataType::Int64), "ids and outputs are the server's");
    let at = FieldSchema { default_value: text("1970-01-01T00:00:01"), ..new("at", DataType::Timestamptz) };
    let data = added(&at).unwrap().default_value.unwrap().data.unwrap();
    assert_eq!(data, Data::TimestamptzData(1_000_000));
    let data = added_under("Asia/Shanghai", &at).unwrap().default_value.unwrap().data.unwrap();
    assert_eq!(data, Data::TimestamptzData((1 - 8 * 3600) * 1_000_000));

    let dim = |dim| vec![pair("dim", dim)];
    for (field, code, start) in [
        (new("1st", DataType::Int64), 1701, "Invalid field name: 1st."),
        (new("title", DataType::Int64), 1100, "duplicate field name: title"),
        (new("s", DataType::VarChar), 1101, "type param(max_length) should be specified for the field(s)"),
        (new("s", DataType::String), 1100, "string data type not supported yet"),
        (new("a", DataType::ArrayOfVector), 1100, "vector field must have dimension specified"),
        (FieldSchema { type_params: dim("1"), ..new("v", DataType::FloatVector) }, 1100, "invalid dimension: 1."),
        (
            FieldSchema { default_value: text("x"), ..new("n", DataType::Int64) },
            1100,
            "type (Int64) of field (n) is not equal to the type(DataType_VarChar) of default_value",
        ),
    ] {
        let (got, reason) = added(&field).unwrap_err();
        assert!(got == code && reason.starts_with(start), "{}: {got} {reason}", field.name);
    }
    let row = store::Collection::default();
    assert_eq!(added_field(&[0xff], &row, &schema(), &Limits::default()).unwrap_err().code(), 1100);
}

#[test]
fn functions_are_judged_with_the_rest_of_the_schema() {
    let embed = FunctionSchema {
        name: "embed".into(),
        r#type: FunctionType::TextEmbedding.into(),
        input_field_names: vec!["title".into()],
        output_field_names: vec!["vector".into()],
        params: vec![pair("provider", "openai")],
        ..FunctionSchema::default()
    };
    let judged = |schema: &CollectionSchema, name, function| {
        changed_functions(schema, name, function).map_err(|rejection| rejection.reason())
    };
    assert_eq!(judged(&schema(), None, Some(&embed)).unwrap(), embed);
    let mut with = schema();
    with.functions.push(embed.clone());
    assert_eq!(judged(&with, Some("embed"), Some(&embed)).unwrap(), embed);
    let bm25 = FunctionSchema { r#type: FunctionType::Bm25.into(), ..embed.clone() };
    let mut old = schema();
    old.functions.push(bm25.clone());
    let wrong = FunctionSchema { output_field_names: vec!["title".into()], ..embed.clone() };
    for (schema, name, function, text) in [
        (&with, None, None, "function schema is empty"),
        (&with, None, Some(&bm25), "currently does not support adding BM25 function"),
        (&with, Some("embed"), Some(&bm25), "currently does not support alter BM25 function"),
        (&old, Some("embed"), Some(&embed), "currently does not support alter BM25 function"),
        (&with, Some("other"), Some(&embed), "invalid function config, name not match"),
        (&schema(), Some("embed"), Some(&embed), "function embed not found"),
        (&with, None, Some(&embed), "duplicate function name: embed"),
        (
            &schema(),
            None,
            Some(&wrong),
            "a single field cannot be both input and output in the same function, function: embed, field: title",
        ),
    ] {
        assert_eq!(judged(schema, name, function).unwrap_err(), format!("{text}: invalid parameter"));
    }
}
