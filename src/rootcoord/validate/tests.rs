//! Whole requests: what is accepted and what it becomes, what is refused and in which words.

mod random;

use super::{NewCollection, asks_for_time_zone, client_schema, decoded};
use crate::error::Rejection;
use crate::limits::{Limits, MAX_SCHEMA_BYTES};
use crate::pb::common::KeyValuePair;
use crate::pb::milvus::CreateCollectionRequest;
use crate::pb::schema::value_field::Data;
use crate::pb::schema::{
    CollectionSchema, DataType, FieldSchema, FunctionSchema, FunctionType, StructArrayFieldSchema, ValueField,
};
use prost::Message;

/// As a database without a time zone has it.
fn create_collection(req: &CreateCollectionRequest, limits: &Limits) -> Result<NewCollection, Rejection> {
    super::create_collection(req, decoded(&req.schema)?, None, limits)
}

fn pairs(given: &[(&str, &str)]) -> Vec<KeyValuePair> {
    given.iter().map(|(key, value)| KeyValuePair { key: (*key).into(), value: (*value).into() }).collect()
}

fn field(name: &str, data_type: DataType, params: &[(&str, &str)]) -> FieldSchema {
    FieldSchema { name: name.into(), data_type: data_type.into(), type_params: pairs(params), ..FieldSchema::default() }
}

fn id() -> FieldSchema {
    FieldSchema { is_primary_key: true, ..field("id", DataType::Int64, &[]) }
}

fn vector() -> FieldSchema {
    field("v", DataType::FloatVector, &[("dim", "8")])
}

fn text() -> FieldSchema {
    field("text", DataType::VarChar, &[("max_length", "100"), ("enable_analyzer", "true")])
}

fn schema(fields: Vec<FieldSchema>) -> CollectionSchema {
    CollectionSchema { name: "c".into(), fields, ..CollectionSchema::default() }
}

fn request(schema: &CollectionSchema) -> CreateCollectionRequest {
    CreateCollectionRequest {
        collection_name: schema.name.clone(),
        schema: schema.encode_to_vec(),
        ..CreateCollectionRequest::default()
    }
}

fn created(schema: &CollectionSchema) -> NewCollection {
    create_collection(&request(schema), &Limits::default()).unwrap()
}

fn refused(schema: &CollectionSchema) -> String {
    create_collection(&request(schema), &Limits::default()).unwrap_err().reason()
}

/// Id, vector and the given fields.
fn with(more: Vec<FieldSchema>) -> CollectionSchema {
    schema([vec![id(), vector()], more].concat())
}

#[test]
fn the_smallest_collection_gets_its_defaults_ids_and_system_fields() {
    let new = created(&with(vec![]));
    assert_eq!((new.name.as_str(), new.shards, new.consistency), ("c", 1, 0));
    assert_eq!(new.partition_names, ["_default"]);
    let fields: Vec<_> = new.schema.fields.iter().map(|field| (field.name.as_str(), field.field_id)).collect();
    assert_eq!(fields, [("id", 100), ("v", 101), ("RowID", 0), ("Timestamp", 1)]);
    let shown: Vec<_> = client_schema(&new.schema).fields.into_iter().map(|field| field.name).collect();
    assert_eq!(shown, ["id", "v"]);
}

/// One of almost everything that may be declared.
fn large_schema() -> CollectionSchema {
    let member = |name: &str, data_type, element: DataType, params: &[(&str, &str)]| FieldSchema {
        element_type: element.into(),
        ..field(name, data_type, params)
    };
    let mut declared = with(vec![
        text(),
        field("sparse", DataType::SparseFloatVector, &[]),
        FieldSchema { is_partition_key: true, ..field("tenant", DataType::VarChar, &[("max_length", "9")]) },
        FieldSchema { is_clustering_key: true, ..field("at", DataType::Int64, &[]) },
    ]);
    declared.enable_dynamic_field = true;
    declared.auto_id = true;
    declared.functions.push(FunctionSchema {
        name: "bm25".into(),
        r#type: FunctionType::Bm25.into(),
        input_field_names: vec!["text".into()],
        output_field_names: vec!["sparse".into()],
        ..FunctionSchema::default()
    });
    declared.struct_array_fields.push(StructArrayFieldSchema {
        name: "clips".into(),
        fields: vec![
            member("start", DataType::Array, DataType::Int64, &[("max_capacity", "5")]),
            member("vec", DataType::ArrayOfVector, DataType::FloatVector, &[("max_capacity", "5"), ("dim", "4")]),
        ],
        ..StructArrayFieldSchema::default()
    });
    declared
}

#[test]
fn a_large_declaration_is_completed() {
    let new = created(&large_schema());
    assert_eq!(new.partition_names.len(), 16);
    assert_eq!(new.partition_names.last().unwrap(), "_default_15");
    let ids: Vec<_> = new.schema.fields.iter().map(|field| (field.name.as_str(), field.field_id)).collect();
    assert_eq!(
        ids[2..],
        [("text", 102), ("sparse", 103), ("tenant", 104), ("at", 105), ("$meta", 106), ("RowID", 0), ("Timestamp", 1)]
    );
    let clips = &new.schema.struct_array_fields[0];
    assert_eq!((clips.field_id, clips.fields[0].field_id, clips.fields[1].field_id), (107, 108, 109));
    assert_eq!(clips.fields[0].name, "clips[start]");
    let function = &new.schema.functions[0];
    assert_eq!((function.id, &function.input_field_ids, &function.output_field_ids), (100, &vec![102], &vec![103]));
    assert!(new.schema.fields[3].is_function_output && !new.schema.auto_id);
    // What a client is shown, it may create again, and it means the same.
    assert_eq!(created(&client_schema(&new.schema)), new);
}

#[test]
fn fields_are_refused_in_milvus_words() {
    let key = |name: &str, data_type| FieldSchema { is_partition_key: true, ..field(name, data_type, &[]) };
    let array = |element: DataType, params: &[(&str, &str)]| FieldSchema {
        element_type: element.into(),
        ..field("a", DataType::Array, params)
    };
    for (fields, reason) in [
        (vec![id()], "schema does not contain vector field: invalid parameter"),
        (vec![vector()], "primary key is not specified: missing parameter"),
        (
            vec![id(), vector(), FieldSchema { name: "id2".into(), ..id() }],
            "there are more than one primary key, field name = id, id2: invalid parameter",
        ),
        (
            vec![vector(), FieldSchema { is_primary_key: true, ..field("id", DataType::Int32, &[]) }],
            "the data type of primary key should be Int64 or VarChar: invalid parameter",
        ),
        (vec![id(), vector(), vector()], "duplicated field name v found: invalid parameter"),
        (
            vec![id(), vector(), FieldSchema { auto_id: true, ..field("a", DataType::Int64, &[]) }],
            "only primary field can speficy AutoID with true, field name = a: invalid parameter",
        ),
        (
            vec![id(), vector(), FieldSchema { is_dynamic: true, ..field("d", DataType::Json, &[]) }],
            "cannot explicitly set a field as a dynamic field: invalid parameter",
        ),
        (vec![id(), vector(), field("n", DataType::None, &[])], "data type None is not valid: invalid parameter"),
        (
            vec![id(), vector(), field("s", DataType::String, &[])],
            "string data type not supported yet, please use VarChar type instead: invalid parameter",
        ),
        (
            vec![id(), vector(), FieldSchema { data_type: 77, ..field("u", DataType::Int8, &[]) }],
            "invalid parameter[expected=Invalid field][actual=field data type: 77 is not supported]",
        ),
        (
            vec![id(), vector(), array(DataType::Json, &[("max_capacity", "5")])],
            "element type JSON is not supported: invalid parameter",
        ),
        (
            vec![id(), vector(), array(DataType::Int64, &[])],
            "type param(max_capacity) should be specified for array field a of collection c: missing parameter",
        ),
        (
            vec![id(), vector(), array(DataType::Int64, &[("max_capacity", "5000")])],
            "the maximum capacity specified for a Array should be in (0, 4096]: invalid parameter",
        ),
        (
            vec![id(), vector(), field("t", DataType::VarChar, &[])],
            "type param(max_length) should be specified for the field(t) of collection c: missing parameter",
        ),
        (
            vec![id(), vector(), field("t", DataType::VarChar, &[("max_length", "70000")])],
            "the maximum length specified for the field(t) should be in (0, 65535], but got 70000 instead: \
             invalid parameter",
        ),
        (
            vec![id(), vector(), field("t", DataType::VarChar, &[("max_length", "x")])],
            "the value for max_length of field t must be an integer: invalid parameter",
        ),
        (
            vec![id(), vector(), key("k", DataType::Int32)],
            "the data type of partition key should be Int64 or VarChar: invalid parameter",
        ),
        (
            vec![id(), vector(), key("k", DataType::Int64), key("l", DataType::Int64)],
            "there are more than one partition key, field name = k, l: invalid parameter",
        ),
        (
            vec![vector(), FieldSchema { is_partition_key: true, ..id() }],
            "the partition key field must not be primary field: invalid parameter",
        ),
        (vec![vector(), FieldSchema { nullable: true, ..id() }], "primary field not support null: invalid parameter"),
        (
            vec![id(), FieldSchema { is_clustering_key: true, ..vector() }],
            "clustering key field v is a vector: vector clustering key not allowed[collection=c]",
        ),
        (
            vec![id(), vector(), FieldSchema { is_clustering_key: true, ..field("j", DataType::Json, &[]) }],
            "clustering key field j has unsupported data type JSON: illegal collection schema[collection=c]",
        ),
        (
            vec![id(), vector(), field("RowID", DataType::Int64, &[])],
            "schema contains system field: RowID, Timestamp, $meta, $namespace_id: \
             invalid parameter[expected=schema don't contains system field][actual=contains]",
        ),
    ] {
        assert_eq!(refused(&schema(fields)), reason);
    }
}

#[test]
fn keys_and_a_vector_are_loaded() {
    let cold = |field: FieldSchema| {
        let switch = pairs(&[("field.skipLoad", "true")]);
        FieldSchema { type_params: [field.type_params.clone(), switch].concat(), ..field }
    };
    let key = || field("k", DataType::Int64, &[]);
    for (fields, reason) in [
        (vec![cold(id()), vector()], "Primary key field id cannot skip loading"),
        (
            vec![id(), vector(), cold(FieldSchema { is_partition_key: true, ..key() })],
            "Partition Key field k cannot skip loading",
        ),
        (
            vec![id(), vector(), cold(FieldSchema { is_clustering_key: true, ..key() })],
            "Clustering Key field k cannot skip loading",
        ),
        (vec![id(), cold(vector())], "cannot config all vector field(s) skip loading"),
    ] {
        assert_eq!(refused(&schema(fields)), format!("{reason}: invalid parameter"));
    }
    created(&schema(vec![id(), vector(), cold(FieldSchema { name: "v2".into(), ..vector() }), cold(key())]));
}

#[test]
fn dimensions_fit_the_vector() {
    let verdict = |data_type, params: &[(&str, &str)]| {
        let request = request(&schema(vec![id(), field("v", data_type, params)]));
        create_collection(&request, &Limits::default()).map(|_| ()).map_err(|rejection| rejection.reason())
    };
    let err = |reason: &str| Err(format!("{reason}: invalid parameter"));
    verdict(DataType::FloatVector, &[("dim", "32768")]).unwrap();
    verdict(DataType::BinaryVector, &[("dim", "262144")]).unwrap();
    verdict(DataType::SparseFloatVector, &[]).unwrap();
    assert_eq!(
        verdict(DataType::Int8Vector, &[]),
        err("dimension is not defined in field type params of field v, check type param `dim` for vector field")
    );
    assert_eq!(
        verdict(DataType::FloatVector, &[("dim", "1")]),
        err("invalid dimension: 1. should be in range 2 ~ 32768")
    );
    assert_eq!(verdict(DataType::FloatVector, &[("dim", "x")]), err("invalid dimension: x"));
    assert_eq!(
        verdict(DataType::FloatVector, &[("dim", "32769")]),
        err("invalid dimension: 32769 of field v. float vector dimension should be in range 2 ~ 32768")
    );
    assert_eq!(
        verdict(DataType::BinaryVector, &[("dim", "9")]),
        err("invalid dimension: 9 of field v. binary vector dimension should be multiple of 8. ")
    );
    assert_eq!(
        verdict(DataType::SparseFloatVector, &[("dim", "9")]),
        err("dim should not be specified for sparse vector field v(0)")
    );
}

#[test]
fn counts_are_limited() {
    let many = (0..70).map(|index| field(&format!("f{index}"), DataType::Int32, &[])).collect();
    assert_eq!(refused(&with(many)), "maximum field's number should be limited to 64: invalid parameter");
    let vectors = (0..10).map(|index| FieldSchema { name: format!("v{index}"), ..vector() }).collect();
    assert_eq!(refused(&with(vectors)), "maximum vector field's number should be limited to 10: invalid parameter");
    let long = CollectionSchema { description: "x".repeat(1025), ..with(vec![]) };
    assert_eq!(refused(&long), "the length of a collection description must not exceed 1024 bytes: invalid parameter");
}

#[test]
fn the_request_around_the_schema_is_checked_too() {
    let limits = Limits::default();
    let good = request(&with(vec![]));
    let verdict = |request: CreateCollectionRequest| create_collection(&request, &limits).map(|new| new.shards);
    let reason = |request| verdict(request).unwrap_err().reason();
    assert_eq!(verdict(CreateCollectionRequest { shards_num: 16, ..good.clone() }), Ok(16));
    assert_eq!(verdict(CreateCollectionRequest { shards_num: -1, ..good.clone() }), Ok(1));
    assert_eq!(
        reason(CreateCollectionRequest { shards_num: 17, ..good.clone() }),
        "maximum shards's number should be limited to 16: invalid parameter"
    );
    assert_eq!(
        reason(CreateCollectionRequest { num_partitions: 3, ..good.clone() }),
        "num_partitions should only be specified with partition key field enabled: invalid parameter"
    );
    assert_eq!(
        reason(CreateCollectionRequest { collection_name: "other".into(), ..good.clone() }),
        "collection name = other, schema.Name=c: invalid parameter[expected=collection name matches schema name]\
         [actual=don't match]"
    );
    assert!(verdict(CreateCollectionRequest { consistency_level: 9, ..good.clone() }).is_err());
    assert!(
        reason(CreateCollectionRequest { schema: vec![0xff; 9], ..good.clone() }).contains("not a CollectionSchema")
    );
    let large = verdict(CreateCollectionRequest { schema: vec![0; MAX_SCHEMA_BYTES + 1], ..good }).unwrap_err();
    assert_eq!(large.code(), 1102);
}

#[test]
fn functions_are_refused_in_milvus_words() {
    let base = FunctionSchema {
        name: "f".into(),
        r#type: FunctionType::Bm25.into(),
        input_field_names: vec!["text".into()],
        output_field_names: vec!["sparse".into()],
        ..FunctionSchema::default()
    };
    let names = |given: &[&str]| given.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for (function, reason) in [
        (FunctionSchema { name: String::new(), ..base.clone() }, "function name cannot be empty: missing parameter"),
        (
            FunctionSchema { input_field_names: vec![], ..base.clone() },
            "function input field names cannot be empty, function: f: missing parameter",
        ),
        (
            FunctionSchema { input_field_names: names(&["none"]), ..base.clone() },
            "function input field not found: none: invalid parameter",
        ),
        (
            FunctionSchema { output_field_names: names(&["none"]), ..base.clone() },
            "function output field not found: none: invalid parameter",
        ),
        (
            FunctionSchema { output_field_names: names(&["text"]), ..base.clone() },
            "a single field cannot be both input and output in the same function, function: f, field: text: \
             invalid parameter",
        ),
        (
            FunctionSchema { output_field_names: names(&["id"]), ..base.clone() },
            "function output field cannot be primary key: function f, field id: invalid parameter",
        ),
        (
            FunctionSchema { output_field_names: names(&["v"]), ..base.clone() },
            "BM25 function output field must be a SparseFloatVector field, but got FloatVector: invalid parameter",
        ),
        (
            FunctionSchema { input_field_names: names(&["id"]), ..base.clone() },
            "BM25 function input field must be a VARCHAR/TEXT field, got 1 field with type Int64: invalid parameter",
        ),
        (
            FunctionSchema { params: pairs(&[("k1", "1")]), ..base.clone() },
            "BM25 function accepts no params: invalid parameter",
        ),
        (
            FunctionSchema { r#type: FunctionType::Rerank.into(), ..base.clone() },
            "check function params with unknown function type: invalid parameter",
        ),
    ] {
        let mut declared = with(vec![text(), field("sparse", DataType::SparseFloatVector, &[])]);
        declared.functions = vec![function];
        assert_eq!(refused(&declared), reason);
    }
    let mut declared = with(vec![text(), field("sparse", DataType::SparseFloatVector, &[])]);
    declared.functions = vec![base.clone(), base];
    assert_eq!(refused(&declared), "duplicate function name: f: invalid parameter");
}

#[test]
fn a_time_without_a_zone_is_by_the_databases_clock() {
    let at = ValueField { data: Some(Data::StringData("1970-01-01T08:00:01".into())) };
    let at = FieldSchema {
        name: "at".into(),
        data_type: DataType::Timestamptz.into(),
        default_value: Some(at),
        ..FieldSchema::default()
    };
    let declared = schema(vec![id(), at, vector()]);
    let mut request = request(&declared);
    assert!(asks_for_time_zone(&request, &declared));
    let under = |zone| {
        let new = super::create_collection(&request, declared.clone(), zone, &Limits::default());
        new.map(|new| new.schema.fields[1].default_value.clone().unwrap().data.unwrap())
    };
    assert_eq!(under(None), Ok(Data::TimestamptzData(28_801_000_000)));
    assert_eq!(under(Some("UTC")), under(None));
    // Eight hours east of UTC.
    assert_eq!(under(Some("Asia/Shanghai")), Ok(Data::TimestamptzData(1_000_000)));
    request.properties.push(KeyValuePair { key: "timezone".into(), value: "UTC".into() });
    assert!(!asks_for_time_zone(&request, &declared));
    assert!(!asks_for_time_zone(&request, &schema(vec![id(), vector()])));
}
