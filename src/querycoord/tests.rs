//! Which fields are loaded, and as how many replicas.

use super::fields::to_load;
use super::load::replicas;
use super::progress::partition_ids;
use crate::pb::common::KeyValuePair;
use crate::pb::schema::{CollectionSchema, DataType, FieldSchema, StructArrayFieldSchema};
use crate::pb::store;
use crate::replica::Replica;
use crate::state::View;

fn field(id: i64, name: &str, data_type: DataType) -> FieldSchema {
    FieldSchema { field_id: id, name: name.into(), data_type: data_type.into(), ..FieldSchema::default() }
}

fn schema() -> CollectionSchema {
    let key = FieldSchema { is_primary_key: true, ..field(100, "id", DataType::Int64) };
    let mut cold = field(102, "cold", DataType::VarChar);
    cold.type_params.push(KeyValuePair { key: "field.skipLoad".into(), value: "true".into() });
    let dynamic = FieldSchema { is_dynamic: true, ..field(103, "$meta", DataType::Json) };
    let members = vec![field(105, "clips[v]", DataType::ArrayOfVector), field(106, "clips[n]", DataType::Array)];
    let clips = StructArrayFieldSchema { field_id: 104, name: "clips".into(), fields: members, ..Default::default() };
    let system = field(0, "RowID", DataType::Int64);
    CollectionSchema {
        fields: vec![key, field(101, "vector", DataType::FloatVector), cold, dynamic, system],
        struct_array_fields: vec![clips],
        ..CollectionSchema::default()
    }
}

fn named(names: &[&str], skip_dynamic: bool) -> Result<Vec<i64>, String> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    to_load(&schema(), &names, skip_dynamic).map_err(|rejection| rejection.reason())
}

#[test]
fn a_request_names_no_more_partitions_than_can_be_looked_up() {
    let replica = crate::testing::SoloReplica::new();
    let view = replica.view().unwrap();
    let names = |count| vec!["p".to_owned(); count];
    let refused = |count| partition_ids(&View::new(view.as_ref()), 1, &names(count)).unwrap_err().to_string();
    assert!(refused(65_536).starts_with("partition not found[partition=p]"), "{}", refused(65_536));
    assert!(refused(65_537).starts_with("65537 names in one request"), "{}", refused(65_537));
}

#[test]
fn all_fields_are_loaded_but_those_that_say_no() {
    assert_eq!(named(&[], false).unwrap(), [100, 101, 103, 105, 106]);
    assert_eq!(named(&[], true).unwrap(), [100, 101, 105, 106]);
}

#[test]
fn named_fields_must_hold_the_keys_and_a_vector() {
    assert_eq!(named(&["id", "vector"], false).unwrap(), [100, 101, 103]);
    assert_eq!(named(&["id", "clips"], true).unwrap(), [100, 105, 106]);
    assert_eq!(named(&["id", "cold", "vector"], true).unwrap(), [100, 102, 101]);
    for (names, text) in [
        (&["vector"][..], "load field list [vector] does not contain primary key field id"),
        (&["id", "cold"][..], "load field list [id cold] does not contain vector field"),
        (&["id", "RowID"][..], "failed to get field schema by name: fieldName(RowID) not found"),
        (&["id", "nowhere"][..], "failed to get field schema by name: fieldName(nowhere) not found"),
    ] {
        assert_eq!(named(names, true).unwrap_err(), format!("{text}: invalid parameter"));
    }
    for (set, what) in [
        ((|field| field.is_partition_key = true) as fn(&mut FieldSchema), "partition key"),
        (|field| field.is_clustering_key = true, "clustering key"),
    ] {
        let mut keyed = schema();
        set(&mut keyed.fields[2]);
        let text = to_load(&keyed, &["id".into(), "vector".into()], true).unwrap_err().reason();
        assert_eq!(text, format!("load field list [id vector] does not contain {what} field cold: invalid parameter"));
    }
}

#[test]
fn replicas_are_the_requests_or_the_collections_own() {
    const GROUP: &str = "__default_resource_group";
    let property = |key: &str, value: &str| store::Property { key: key.into(), value: value.into() };
    let plain = store::Collection::default();
    let three = store::Collection {
        properties: vec![property("collection.replica.number", "3"), property("collection.resource_groups", GROUP)],
        ..store::Collection::default()
    };
    let none = store::Database::default();
    let two = store::Database {
        properties: vec![property("database.replica.number", "2"), property("database.resource_groups", "a, b")],
        ..store::Database::default()
    };
    let count = |number, row| replicas(number, &[], row, &none).unwrap().len();
    assert_eq!((count(0, &plain), count(-4, &plain), count(2, &plain)), (1, 1, 2));
    assert_eq!((count(0, &three), count(1, &three)), (3, 1));
    // The database is asked last, for what is open alone.
    let refused = |number, row| replicas(number, &[], row, &two).unwrap_err().reason();
    assert_eq!(refused(0, &plain), "resource group not found[rg=a]");
    assert!(refused(3, &plain).starts_with("replica=[3] resource group=[a,b], "));
    assert_eq!(replicas(0, &[GROUP.to_owned()], &plain, &two).unwrap().len(), 2);
    assert_eq!(replicas(0, &[], &three, &two).unwrap().len(), 3);
    let groups = |count: usize| vec![GROUP.to_owned(); count];
    assert_eq!(replicas(2, &groups(2), &plain, &none).unwrap(), groups(2));
    assert_eq!(replicas(3, &groups(1), &plain, &none).unwrap(), groups(3));
    for (number, groups, code, text) in [
        (
            3,
            groups(2),
            1100,
            "replica=[3] resource group=[__default_resource_group,__default_resource_group], resource group num can \
             only be 0, 1 or same as replica number: invalid parameter",
        ),
        (1, vec!["rg".to_owned()], 300, "resource group not found[rg=rg]"),
        (129, vec![], 1100, "the number of replicas must be in 1..=128, got 129: invalid parameter"),
        (i32::MAX, vec![], 1100, "the number of replicas must be in 1..=128, got 2147483647: invalid parameter"),
    ] {
        let rejection = replicas(number, &groups, &plain, &none).unwrap_err();
        assert_eq!((rejection.code(), rejection.reason()), (code, text.to_owned()));
    }
}
