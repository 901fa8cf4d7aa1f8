//! Functions that are added, altered and dropped.

use prost::Message;

use super::super::support::*;
use crate::pb::schema::{CollectionSchema, DataType, FunctionSchema, FunctionType};
use crate::state::*;

fn function(name: &str, output: &str) -> FunctionSchema {
    FunctionSchema {
        name: name.into(),
        r#type: FunctionType::TextEmbedding.into(),
        input_field_names: vec!["title".into()],
        output_field_names: vec![output.into()],
        ..FunctionSchema::default()
    }
}

fn add(function: &FunctionSchema) -> Command {
    change_function("books", FunctionChange::Add(function.encode_to_vec()))
}

fn alter(function: &FunctionSchema) -> Command {
    change_function("books", FunctionChange::Alter(function.encode_to_vec()))
}

fn remove(name: &str) -> Command {
    change_function("books", FunctionChange::Drop(name.into()))
}

/// With two vectors, and a BM25 function that was declared at the creation.
fn world() -> World {
    let mut world = World::default();
    let mut declared = schema("books");
    declared.fields.extend([
        field(102, "title", DataType::VarChar),
        field(103, "other", DataType::FloatVector),
        field(104, "sparse", DataType::SparseFloatVector),
    ]);
    declared.fields[4].is_function_output = true;
    let bm25 = FunctionSchema { id: 100, r#type: FunctionType::Bm25.into(), ..function("bm25", "sparse") };
    declared.functions.push(bm25);
    let create = CreateCollection { schema: declared.encode_to_vec(), ..create_collection("", "books") };
    world.run(Command::CreateCollection(create));
    world
}

fn now(world: &World) -> CollectionSchema {
    world.view().collection(1, "books").unwrap().unwrap().decoded_schema().unwrap()
}

fn outputs(world: &World) -> Vec<String> {
    now(world).fields.into_iter().filter(|field| field.is_function_output).map(|field| field.name).collect()
}

#[test]
fn a_function_is_added_altered_and_dropped() {
    let mut world = world();
    let changed = |changed| Reply::CollectionAltered { collection_id: 100, changed };
    assert_eq!(world.run(add(&function("embed", "vector"))), changed(true));
    let added = now(&world).functions.pop().unwrap();
    assert_eq!((added.id, added.input_field_ids, added.output_field_ids), (101, vec![102], vec![101]));
    assert_eq!(outputs(&world), ["vector", "sparse"]);

    let elsewhere = function("embed", "other");
    assert_eq!(world.run(alter(&elsewhere)), changed(true));
    assert_eq!(world.run(alter(&elsewhere)), changed(false), "again is no change");
    let altered = now(&world).functions.pop().unwrap();
    assert_eq!((altered.id, altered.output_field_ids), (101, vec![103]));
    assert_eq!(outputs(&world), ["other", "sparse"]);

    assert_eq!(world.run(remove("embed")), changed(true));
    assert_eq!(world.run(remove("embed")), changed(false), "dropping what is not there is a success");
    assert_eq!((now(&world).functions.len(), now(&world).version), (1, 3));
    assert_eq!(outputs(&world), ["sparse"]);
}

#[test]
fn functions_that_do_not_fit_are_refused() {
    let mut world = world();
    world.run(add(&function("embed", "vector")));
    let before = world.facts();
    let blind = FunctionSchema { input_field_names: vec!["none".into()], ..function("new", "other") };
    for (command, text) in [
        (add(&function("embed", "other")), "function name already exists: embed"),
        (add(&function("new", "vector")), "function's output field vector is already of other functions"),
        (add(&function("new", "none")), "function's output field none not exists"),
        (add(&blind), "function's input field none not exists"),
        (alter(&function("none", "other")), "function none not exists"),
        (alter(&function("embed", "sparse")), "function's output field sparse is already of other functions"),
        (alter(&function("bm25", "sparse")), "currently does not support alter BM25 function"),
        (remove("bm25"), "currently does not support droping BM25 function"),
    ] {
        let refusal = world.rejected(command);
        assert_eq!((refusal.code(), refusal.reason()), (1100, format!("{text}: invalid parameter")));
    }
    assert_eq!(world.facts(), before);
}
