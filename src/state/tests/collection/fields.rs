//! Fields that are added and altered.

use prost::Message;

use super::super::support::*;
use crate::pb::common::KeyValuePair;
use crate::pb::schema::{CollectionSchema, DataType, FieldSchema};
use crate::state::*;

const LIMITS: FieldLimits = FieldLimits { max_fields: 64, max_vector_fields: 10 };

fn added(field: &FieldSchema) -> AddField {
    add_field("books", field.encode_to_vec())
}

fn add(command: AddField) -> Command {
    change(CollectionChange::AddField(command))
}

fn nullable(name: &str, data_type: DataType) -> FieldSchema {
    FieldSchema { nullable: true, ..field(0, name, data_type) }
}

fn pair(key: &str, value: &str) -> KeyValuePair {
    KeyValuePair { key: key.into(), value: value.into() }
}

fn world() -> World {
    let mut world = World::default();
    let title = FieldSchema { type_params: vec![pair("max_length", "10")], ..field(102, "title", DataType::VarChar) };
    let tags = FieldSchema {
        type_params: vec![pair("max_capacity", "4")],
        element_type: DataType::Int64.into(),
        ..field(103, "tags", DataType::Array)
    };
    let mut declared = schema("books");
    declared.fields.extend([title, tags]);
    let create = CreateCollection { schema: declared.encode_to_vec(), ..create_collection("", "books") };
    world.run(Command::CreateCollection(create));
    world
}

fn now(world: &World) -> CollectionSchema {
    world.view().collection(1, "books").unwrap().unwrap().decoded_schema().unwrap()
}

#[test]
fn an_added_field_gets_the_next_id_and_the_schema_a_new_version() {
    let mut world = world();
    let id = world.view().collection(1, "books").unwrap().unwrap().id;
    let (reply, events) = world.apply(&entry(START_MS, None, add(added(&nullable("count", DataType::Int64)))));
    assert_eq!(Reply::decode(&reply).unwrap(), Reply::CollectionAltered { collection_id: id, changed: true });
    let name = "books".to_owned();
    assert_eq!(events, [Event::CollectionAltered { database_id: 1, collection_id: id, name }]);
    let row = world.view().collection(1, "books").unwrap().unwrap();
    assert_eq!((row.schema_version, row.updated_ts), (1, TS + 7));
    let schema = now(&world);
    let last = schema.fields.last().unwrap();
    assert_eq!((schema.version, last.field_id, last.name.as_str(), last.nullable), (1, 104, "count", true));
    // A clustering key may be added once.
    let key = FieldSchema { is_clustering_key: true, ..nullable("group", DataType::Int64) };
    world.run(add(added(&key)));
    assert_eq!((now(&world).version, now(&world).fields.last().unwrap().field_id), (2, 105));
}

#[test]
fn a_copy_of_the_request_adds_the_field_once() {
    let mut world = world();
    let command = add(added(&nullable("count", DataType::Int64)));
    let first = world.run_at(START_MS, Some(request(1)), command.clone());
    assert_eq!(world.run_at(START_MS + 1, Some(request(1)), command.clone()), first);
    assert_eq!(now(&world).version, 1);
    assert_eq!(
        world.rejected(command).reason(),
        "duplicate field name: count: invalid parameter",
        "another request is another field"
    );
}

#[test]
fn fields_that_may_not_be_added() {
    let good = || nullable("x", DataType::Int64);
    let dim = || vec![pair("dim", "8")];
    let cases = [
        (
            good(),
            FieldLimits { max_fields: 4, ..LIMITS },
            "The number of fields has reached the maximum value 4: invalid parameter",
        ),
        (
            field(0, "x", DataType::None),
            LIMITS,
            "invalid parameter[expected=valid field][actual=field data type: None is not supported]",
        ),
        (
            FieldSchema { type_params: dim(), ..nullable("x", DataType::FloatVector) },
            FieldLimits { max_vector_fields: 1, ..LIMITS },
            "maximum vector field's number should be limited to 1: invalid parameter",
        ),
        (
            nullable("RowID", DataType::Int64),
            LIMITS,
            "not support to add system field, field name = RowID: invalid parameter",
        ),
        (
            FieldSchema { is_dynamic: true, ..good() },
            LIMITS,
            "not support to add system field, field name = x: invalid parameter",
        ),
        (
            FieldSchema { is_primary_key: true, ..good() },
            LIMITS,
            "not support to add pk field, field name = x: invalid parameter",
        ),
        (
            field(0, "x", DataType::Int64),
            LIMITS,
            "added field must be nullable, please check it, field name = x: invalid parameter",
        ),
        (
            nullable("x", DataType::FloatVector),
            LIMITS,
            "vector field must have dimension specified, field name = x: invalid parameter",
        ),
        (
            FieldSchema { auto_id: true, ..good() },
            LIMITS,
            "only primary field can speficy AutoID with true, field name = x: invalid parameter",
        ),
        (
            FieldSchema { is_partition_key: true, ..good() },
            LIMITS,
            "not support to add partition key field, field name  = x: invalid parameter",
        ),
        (
            FieldSchema { is_clustering_key: true, ..nullable("x", DataType::Json) },
            LIMITS,
            "clustering key field x has unsupported data type JSON: invalid parameter",
        ),
        (nullable("title", DataType::Int64), LIMITS, "duplicate field name: title: invalid parameter"),
    ];
    let mut world = world();
    let before = world.facts();
    for (field, limits, text) in cases {
        let refusal = world.rejected(add(AddField { limits, ..added(&field) }));
        assert_eq!((refusal.code(), refusal.reason().as_str()), (1100, text));
    }
    let key = FieldSchema { is_clustering_key: true, ..good() };
    let elsewhere = AddField { judged_id: 7, ..added(&key) };
    assert_eq!(world.rejected(add(elsewhere)).code(), 100, "judged by another collection");
    assert_eq!(world.facts(), before);
    world.run(add(added(&key)));
    let second = FieldSchema { name: "y".into(), ..key };
    let text = "already has another clutering key field, field name: y: invalid parameter";
    assert_eq!(world.rejected(add(added(&second))).reason(), text);
}

#[test]
fn the_schema_may_not_outgrow_its_bound_by_added_fields() {
    let mut world = world();
    let large = |name: &str| FieldSchema { description: "x".repeat(600 << 10), ..nullable(name, DataType::Int64) };
    assert!(matches!(world.run(add(added(&large("a")))), Reply::CollectionAltered { .. }));
    assert_eq!(world.rejected(add(added(&large("b")))).code(), 1102);
    assert_eq!(now(&world).version, 1);
}

#[test]
fn the_dynamic_field_comes_and_stays() {
    let mut world = world();
    let enable = |enable| {
        let command = EnableDynamicField { enable, ..enable_dynamic_field("books") };
        change(CollectionChange::EnableDynamicField(command))
    };
    let unchanged = Reply::CollectionAltered { collection_id: 100, changed: false };
    assert_eq!(world.run(enable(false)), unchanged);
    assert_eq!(world.run(enable(true)), Reply::CollectionAltered { collection_id: 100, changed: true });
    let schema = now(&world);
    let meta = schema.fields.last().unwrap();
    assert!(schema.enable_dynamic_field && meta.is_dynamic && meta.nullable && meta.default_value.is_some());
    assert_eq!((meta.name.as_str(), meta.field_id, schema.version), ("$meta", 104, 1));
    assert_eq!(world.run(enable(true)), unchanged);
    let text = "dynamic schema cannot supported to be disabled: invalid parameter";
    assert_eq!(world.rejected(enable(false)).reason(), text);
}

fn altered(field: &str, set: &[(&str, &str)], delete: &[&str]) -> Command {
    change(CollectionChange::AlterField(alter_field("books", field, set, delete)))
}

#[test]
fn parameters_of_a_field_change_and_go() {
    let mut world = world();
    let changed = |changed| Reply::CollectionAltered { collection_id: 100, changed };
    let set = [("max_length", "20"), ("mmap_enabled", "true"), ("field.description", "its name")];
    assert_eq!(world.run(altered("title", &set, &[])), changed(true));
    let title = now(&world).fields[2].clone();
    assert_eq!(title.type_params, [pair("max_length", "20"), pair("mmap.enabled", "true")]);
    assert_eq!(title.description, "its name");
    assert_eq!(world.run(altered("title", &set, &[])), changed(false), "again is no change");
    assert_eq!(now(&world).version, 1);
    assert_eq!(world.run(altered("title", &[], &["mmap_enabled", "warmup"])), changed(true));
    assert_eq!(now(&world).fields[2].type_params, [pair("max_length", "20")]);
    assert_eq!(world.run(altered("tags", &[("max_capacity", "9"), ("warmup", "sync")], &[])), changed(true));
    assert_eq!(now(&world).version, 3);
}

#[test]
fn parameters_that_may_not_change() {
    let mut world = world();
    let before = world.facts();
    for (field, set, delete, text) in [
        ("vector", &[("dim", "4")][..], &[][..], "dim does not allow update in collection field param"),
        ("id", &[("max_length", "4")], &[], " can not modify the maxlength for non-string types"),
        ("tags", &[("max_length", "4")], &[], " can not modify the maxlength for non-string types"),
        ("title", &[("max_length", "x")], &[], "max_length should be an integer, but got string"),
        ("title", &[("max_length", "65536")], &[], "65536 exceeds the maximum allowed value 65535"),
        (
            "title",
            &[("max_length", "0")],
            &[],
            "the maximum length specified for the field(title) should be in (0, 65535], but got 0 instead",
        ),
        ("title", &[("max_capacity", "4")], &[], " can not modify the maxcapacity for non-array types"),
        ("tags", &[("max_capacity", "x")], &[], "the value for max_capacity of field tags must be an integer"),
        ("tags", &[("max_capacity", "4097")], &[], "the maximum capacity specified for a Array should be in (0, 4096]"),
        ("title", &[("mmap.enabled", "on")], &[], "invalid collection property: [key=mmap.enabled] [value=on]"),
        ("title", &[("warmup", "eager")], &[], "invalid warmup policy: eager, must be 'sync' or 'disable'"),
        ("title", &[], &["max_length"], "max_length is not allowed to drop in collection field param"),
        ("none", &[("mmap.enabled", "true")], &[], "field none does not exist in collection"),
    ] {
        let refusal = world.rejected(altered(field, set, delete));
        let expected = format!("{text}: invalid parameter");
        assert_eq!((refusal.code(), refusal.reason()), (1100, expected), "{field} {set:?}");
    }
    assert_eq!(world.facts(), before);
}
