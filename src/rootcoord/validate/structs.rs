//! Struct fields: a cell holds a list of structs, stored as one array a member.
//! Milvus' processes know a member as `struct[member]`, clients as `member`; both ways are here.

use crate::error::Rejection;
use crate::limits::Limits;
use crate::pb::schema::{CollectionSchema, DataType, FieldSchema, StructArrayFieldSchema};

use super::{fields, names, params, types};

/// Checks every struct field. Member names may be given in either form, because a Milvus proxy sends the longer one.
pub(super) fn check(schema: &CollectionSchema, limits: &Limits) -> Result<(), Rejection> {
    for parent in &schema.struct_array_fields {
        names::field_name(&parent.name)?;
        if parent.fields.is_empty() {
            return Err(Rejection::invalid(format!("struct array field {} has no sub-fields", parent.name)));
        }
        for member in &parent.fields {
            names::field_name(short_name(&parent.name, &member.name))?;
            check_member(member, parent)?;
            fields::check_params(member, schema, limits)?;
        }
        same_capacity(parent)?;
    }
    Ok(())
}

fn check_member(member: &FieldSchema, parent: &StructArrayFieldSchema) -> Result<(), Rejection> {
    let name = &member.name;
    let element = DataType::try_from(member.element_type).unwrap_or_default();
    match DataType::try_from(member.data_type) {
        Ok(DataType::Array) if element == DataType::Array => {
            return Err(Rejection::invalid(format!("nested array is not supported {name}")));
        }
        Ok(DataType::Array) => {}
        Ok(DataType::ArrayOfVector) if !types::is_vector(element) => {
            return Err(Rejection::invalid(format!(
                "Inconsistent schema: element type of array field {name} is not a vector type"
            )));
        }
        Ok(DataType::ArrayOfVector) if element != DataType::FloatVector => {
            return Err(Rejection::invalid(format!(
                "unsupported element type of array field {name}, now only float vector is supported"
            )));
        }
        Ok(DataType::ArrayOfVector) if member.nullable => {
            return Err(Rejection::invalid(format!(
                "ArrayOfVector does not support nullable, structName={}, fieldName={name}",
                parent.name
            )));
        }
        Ok(DataType::ArrayOfVector) => {}
        _ => {
            return Err(Rejection::invalid(format!(
                "fields in StructArrayField can only be array or array of struct, but field {name} is {}",
                types::type_name(member.data_type)
            )));
        }
    }
    if member.nullable {
        return Err(Rejection::invalid(format!(
            "nullable is not supported for fields in struct array now, fieldName = {name}"
        )));
    }
    if member.default_value.is_some() {
        return Err(Rejection::invalid(format!(
            "type not support default_value, type:{}, name:{name}",
            types::type_name(member.data_type)
        )));
    }
    Ok(())
}

/// One list of structs has one length, so all members have one capacity.
fn same_capacity(parent: &StructArrayFieldSchema) -> Result<(), Rejection> {
    let mut expected: Option<i64> = None;
    for member in &parent.fields {
        let given = params::get(&member.type_params, types::MAX_CAPACITY);
        let Some(capacity) = given.and_then(|value| value.parse::<i64>().ok()) else {
            return Err(Rejection::missing(format!(
                "type param({}) should be specified for field {} in struct array field {}",
                types::MAX_CAPACITY,
                member.name,
                parent.name
            )));
        };
        let first = *expected.get_or_insert(capacity);
        if capacity != first {
            return Err(Rejection::invalid(format!(
                "all sub-fields in struct array field must have the same max_capacity: structName={}, \
                 subFieldName={}, max_capacity={capacity}, expected={first}",
                parent.name, member.name
            )));
        }
    }
    Ok(())
}

/// Makes every member's name `struct[member]`.
pub(super) fn lengthen(schema: &mut CollectionSchema) {
    for StructArrayFieldSchema { name, fields, .. } in &mut schema.struct_array_fields {
        for member in fields {
            member.name = format!("{name}[{}]", short_name(name, &member.name));
        }
    }
}

/// Makes every member's name `member` again.
pub(super) fn shorten(schema: &mut CollectionSchema) {
    for StructArrayFieldSchema { name, fields, .. } in &mut schema.struct_array_fields {
        for member in fields {
            member.name = short_name(name, &member.name).to_owned();
        }
    }
}

fn short_name<'a>(parent: &str, member: &'a str) -> &'a str {
    let inner = member.strip_prefix(parent).and_then(|rest| rest.strip_prefix('[')?.strip_suffix(']'));
    inner.unwrap_or(member)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_a_short_and_a_long_name() {
        assert_eq!(short_name("clips", "clips[start]"), "start");
        assert_eq!(short_name("clips", "start"), "start");
        assert_eq!(short_name("clips", "other[start]"), "other[start]");
        assert_eq!(short_name("a", "a[]"), "");
        let member = FieldSchema { name: "start".into(), ..FieldSchema::default() };
        let parent =
            StructArrayFieldSchema { name: "clips".into(), fields: vec![member], ..StructArrayFieldSchema::default() };
        let mut schema = CollectionSchema { struct_array_fields: vec![parent], ..CollectionSchema::default() };
        let original = schema.clone();
        lengthen(&mut schema);
        let once = schema.clone();
        lengthen(&mut schema);
        assert_eq!(schema, once);
        assert_eq!(schema.struct_array_fields[0].fields[0].name, "clips[start]");
        shorten(&mut schema);
        assert_eq!(schema, original);
    }
}
