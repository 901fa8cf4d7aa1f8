//! The normal form of a schema: ids given, the server's own fields added, everything else that only we decide reset.
//! Two requests mean the same collection exactly if their normal forms are equal.

use crate::pb::schema::{CollectionSchema, DataType, FieldSchema, FieldState};

use super::structs;

/// Ids below this are the server's own fields.
const FIRST_USER_ID: i64 = 100;
const ROW_ID: i64 = 0;
const TIMESTAMP: i64 = 1;
pub(super) const ROW_ID_FIELD: &str = "RowID";
pub(super) const TIMESTAMP_FIELD: &str = "Timestamp";
/// Holds what a row has beyond the declared fields.
pub(super) const DYNAMIC_FIELD: &str = "$meta";
pub(super) const NAMESPACE_FIELD: &str = "$namespace_id";

/// Whether a field of a stored schema was declared, or is the dynamic one: all but RowID and Timestamp.
pub fn is_users_own(field: &FieldSchema) -> bool {
    field.field_id >= FIRST_USER_ID
}

/// Completes a checked schema. Fields come first in the ids, then struct fields with their members; functions have
/// ids of their own.
pub(super) fn complete(schema: &mut CollectionSchema) {
    schema.auto_id = false;
    schema.db_name.clear(); // the database is a fact beside the schema, not of it
    schema.properties.clear(); // likewise
    schema.version = 0;
    structs::lengthen(schema);
    if schema.enable_dynamic_field {
        schema.fields.push(FieldSchema {
            name: DYNAMIC_FIELD.to_owned(),
            description: "dynamic schema".to_owned(),
            data_type: DataType::Json.into(),
            is_dynamic: true,
            ..FieldSchema::default()
        });
    }
    give_ids(schema);
    schema.fields.push(system_field(ROW_ID, ROW_ID_FIELD, "row id"));
    schema.fields.push(system_field(TIMESTAMP, TIMESTAMP_FIELD, "time stamp"));
}

fn give_ids(schema: &mut CollectionSchema) {
    let mut ids = FIRST_USER_ID..;
    let mut give = |field: &mut FieldSchema| {
        field.field_id = ids.next().unwrap_or_default();
        field.state = FieldState::FieldCreated.into();
    };
    schema.fields.iter_mut().for_each(&mut give);
    for parent in &mut schema.struct_array_fields {
        let mut itself = FieldSchema::default();
        give(&mut itself);
        parent.field_id = itself.field_id;
        parent.fields.iter_mut().for_each(&mut give);
    }
    let id_of = |name: &String| schema.fields.iter().find(|field| field.name == *name).map(|field| field.field_id);
    for (function, id) in schema.functions.iter_mut().zip(FIRST_USER_ID..) {
        function.id = id;
        function.input_field_ids = function.input_field_names.iter().filter_map(id_of).collect();
        function.output_field_ids = function.output_field_names.iter().filter_map(id_of).collect();
    }
}

fn system_field(field_id: i64, name: &str, description: &str) -> FieldSchema {
    FieldSchema {
        field_id,
        name: name.to_owned(),
        description: description.to_owned(),
        data_type: DataType::Int64.into(),
        ..FieldSchema::default()
    }
}

/// A stored schema as MilvusService describes it: without the server's own fields, members by their short names.
/// RootCoord's callers get the stored one.
pub fn client_schema(stored: &CollectionSchema) -> CollectionSchema {
    let mut shown = stored.clone();
    shown.fields.retain(|field| is_users_own(field) && !field.is_dynamic);
    structs::shorten(&mut shown);
    shown
}
