//! Random bytes and random schemas: whatever comes, there is an answer, and what is shown can be created again.

use proptest::prelude::*;

use super::{create_collection, id, large_schema, request, schema, vector};
use crate::limits::Limits;
use crate::pb::common::KeyValuePair;
use crate::pb::milvus::CreateCollectionRequest;
use crate::pb::schema::{
    CollectionSchema, FieldSchema, FunctionSchema, StructArrayFieldSchema, ValueField, value_field::Data,
};
use crate::rootcoord::validate::client_schema;

fn any_field() -> impl Strategy<Value = FieldSchema> {
    let name = prop_oneof![4 => "[a-d]", 1 => "(s\\[a\\]|RowID|like|\\PC{0,9})"];
    let kind = prop_oneof![3 => Just(5), 3 => Just(21), 3 => Just(101), 3 => 0..27_i32, 2 => 100..107_i32, 1 => 0..999];
    let key = prop_oneof!["dim", "max_length", "max_capacity", "enable_analyzer", "multi_analyzer_params"];
    let value = prop_oneof![4 => "(8|16|true)", 1 => "\\PC{0,9}"];
    let params = prop::collection::vec((key, value).prop_map(|(key, value)| KeyValuePair { key, value }), 0..3);
    let data = prop_oneof![
        any::<bool>().prop_map(Data::BoolData),
        any::<i32>().prop_map(Data::IntData),
        any::<f64>().prop_map(Data::DoubleData),
        "\\PC{0,30}".prop_map(Data::StringData),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(Data::BytesData),
    ];
    let default = prop::option::weighted(0.2, prop::option::of(data).prop_map(|data| ValueField { data }));
    let flags = prop::array::uniform6(prop::bool::weighted(0.2));
    (name, kind.clone(), kind, params, default, flags).prop_map(
        |(name, data_type, element_type, type_params, default_value, [a, b, c, d, e, f])| FieldSchema {
            name,
            data_type,
            element_type,
            type_params,
            default_value,
            is_primary_key: a,
            auto_id: b,
            nullable: c,
            is_partition_key: d && a,
            is_clustering_key: e,
            is_dynamic: f && a && b,
            ..FieldSchema::default()
        },
    )
}

/// Mostly sound parts, now and then a part that is anything.
fn any_schema() -> impl Strategy<Value = CollectionSchema> {
    let odd_function = (0..4_i32, "[a-d]?", "[a-d]?").prop_map(|(kind, input, output)| FunctionSchema {
        name: "f".into(),
        r#type: kind,
        input_field_names: vec![input],
        output_field_names: vec![output],
        ..FunctionSchema::default()
    });
    let odd_parent = ("[s-u]", prop::collection::vec(any_field(), 0..3))
        .prop_map(|(name, fields)| StructArrayFieldSchema { name, fields, ..StructArrayFieldSchema::default() });
    let sound = large_schema();
    let indices = 0..sound.fields.len();
    let fields = prop::sample::subsequence(sound.fields.clone(), indices).prop_flat_map(|fields| {
        (Just(fields), prop::option::weighted(0.8, Just([id(), vector()])), prop::collection::vec(any_field(), 0..2))
    });
    let functions = prop_oneof![3 => Just(vec![]), 3 => Just(sound.functions), 1 => odd_function.prop_map(|f| vec![f])];
    let parents =
        prop_oneof![3 => Just(vec![]), 3 => Just(sound.struct_array_fields), 1 => odd_parent.prop_map(|s| vec![s])];
    (fields, functions, parents, any::<bool>()).prop_map(
        |((some, keys, odd), functions, struct_array_fields, enable_dynamic_field)| {
            let mut fields: Vec<FieldSchema> = keys.into_iter().flatten().collect();
            fields.extend(some.into_iter().filter(|field| field.name != "id" && field.name != "v"));
            fields.extend(odd);
            CollectionSchema { functions, struct_array_fields, enable_dynamic_field, ..schema(fields) }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let request = CreateCollectionRequest { schema: bytes, ..CreateCollectionRequest::default() };
        let _ = create_collection(&request, &Limits::default());
    }

    #[test]
    fn random_schemas_are_answered_and_what_is_shown_can_be_created_again(schema in any_schema()) {
        if let Ok(new) = create_collection(&request(&schema), &Limits::default()) {
            let mut ids: Vec<_> = new.schema.fields.iter().map(|field| field.field_id).collect();
            ids.sort_unstable();
            ids.dedup();
            prop_assert_eq!(ids.len(), new.schema.fields.len());
            let again = create_collection(&request(&client_schema(&new.schema)), &Limits::default());
            prop_assert_eq!(again, Ok(new));
        }
    }
}
