//! Default values: of the field's own type, within its range and length. A time is stored as microseconds.

use crate::error::Rejection;
use crate::pb::schema::value_field::Data;
use crate::pb::schema::{CollectionSchema, DataType, FieldSchema, ValueField};

use super::{geometry, params, times, types};

/// Checks every default value and puts each into its stored form. `zone`: the collection's time zone, if it has one.
pub(super) fn settle(schema: &mut CollectionSchema, zone: Option<&str>) -> Result<(), Rejection> {
    for field in &mut schema.fields {
        // A value that holds nothing is no default; some clients send it for every nullable field.
        let Some(data) = field.default_value.take().and_then(|value| value.data) else {
            continue;
        };
        if field.is_primary_key {
            return Err(Rejection::invalid("primary field not support default_value"));
        }
        let data = checked(field, data, zone)?;
        field.default_value = Some(ValueField { data: Some(data) });
    }
    Ok(())
}

fn checked(field: &FieldSchema, data: Data, zone: Option<&str>) -> Result<Data, Rejection> {
    let data_type = DataType::try_from(field.data_type).unwrap_or_default();
    match (data_type, &data) {
        (DataType::Array, _) => return Err(unsupported(field)),
        (vector, _) if types::is_vector(vector) => return Err(unsupported(field)),
        (DataType::Bool, Data::BoolData(_))
        | (DataType::Int32, Data::IntData(_))
        | (DataType::Int64, Data::LongData(_))
        | (DataType::Timestamptz, Data::TimestamptzData(_)) => {}
        (DataType::Int8, Data::IntData(value)) => within(*value, i8::MIN.into(), i8::MAX.into())?,
        (DataType::Int16, Data::IntData(value)) => within(*value, i16::MIN.into(), i16::MAX.into())?,
        (DataType::Float, Data::FloatData(value)) => finite(f64::from(*value))?,
        (DataType::Double, Data::DoubleData(value)) => finite(*value)?,
        (DataType::VarChar | DataType::Text, Data::StringData(value)) => fits(field, value)?,
        (DataType::Json, Data::BytesData(value)) => json_map(value)?,
        (DataType::Geometry, Data::StringData(value)) => {
            if !geometry::is_well_known_text(value) {
                return Err(Rejection::invalid("invalid default value for geometry field"));
            }
        }
        (DataType::Timestamptz, Data::StringData(value)) => {
            let micros = times::parse(value, zone)
                .map_err(|why| Rejection::invalid(format!("got invalid timestamptz string '{value}': {why}")))?;
            return Ok(Data::TimestamptzData(micros));
        }
        _ => {
            return Err(Rejection::invalid(format!(
                "type ({}) of field ({}) is not equal to the type({}) of default_value",
                types::type_name(field.data_type),
                field.name,
                data_name(&data)
            )));
        }
    }
    Ok(data)
}

fn unsupported(field: &FieldSchema) -> Rejection {
    let (what, name) = (types::type_name(field.data_type), &field.name);
    Rejection::invalid(format!("type not support default_value, type:{what}, name:{name}"))
}

fn within(value: i32, lower: i32, upper: i32) -> Result<(), Rejection> {
    if (lower..=upper).contains(&value) {
        return Ok(());
    }
    Err(Rejection::ParameterOutOfRange {
        value: value.to_string(),
        lower: lower.to_string(),
        upper: upper.to_string(),
        detail: "default value out of range".to_owned(),
    })
}

fn finite(value: f64) -> Result<(), Rejection> {
    if value.is_finite() {
        return Ok(());
    }
    Err(Rejection::invalid(format!("value '{value}' is not a number or infinity")))
}

fn fits(field: &FieldSchema, value: &str) -> Result<(), Rejection> {
    let most = params::get(&field.type_params, types::MAX_LENGTH).and_then(|given| given.parse::<usize>().ok());
    match most {
        Some(most) if value.len() > most => Err(Rejection::ParameterUnexpected {
            expected: "valid length string".to_owned(),
            actual: "string length exceeds max length".to_owned(),
            detail: format!("the length ({}) of string exceeds max length ({most})", value.len()),
        }),
        _ => Ok(()),
    }
}

fn json_map(value: &[u8]) -> Result<(), Rejection> {
    serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(value)
        .map(|_| ())
        .map_err(|_| Rejection::invalid("invalid default json value, milvus only supports json map"))
}

fn data_name(data: &Data) -> &'static str {
    match data {
        Data::BoolData(_) => "DataType_Bool",
        Data::IntData(_) => "DataType_Int",
        Data::LongData(_) => "DataType_Int64",
        Data::FloatData(_) => "DataType_Float",
        Data::DoubleData(_) => "DataType_Double",
        Data::StringData(_) => "DataType_VarChar",
        Data::BytesData(_) => "DataType_JSON",
        Data::TimestamptzData(_) => "DataType_Timestamptz",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::common::KeyValuePair;

    fn settled(data_type: DataType, data: Data) -> Result<Option<Data>, String> {
        let length = KeyValuePair { key: "max_length".into(), value: "3".into() };
        let field = FieldSchema {
            name: "f".into(),
            data_type: data_type.into(),
            type_params: vec![length],
            default_value: Some(ValueField { data: Some(data) }),
            ..FieldSchema::default()
        };
        let mut schema = CollectionSchema { fields: vec![field], ..CollectionSchema::default() };
        settle(&mut schema, None).map_err(|rejection| rejection.reason())?;
        Ok(schema.fields[0].default_value.clone().and_then(|value| value.data))
    }

    #[test]
    fn a_default_is_of_its_fields_type() {
        for (data_type, data) in [
            (DataType::Bool, Data::BoolData(true)),
            (DataType::Int8, Data::IntData(-128)),
            (DataType::Int16, Data::IntData(32767)),
            (DataType::Int32, Data::IntData(1)),
            (DataType::Int64, Data::LongData(1)),
            (DataType::Float, Data::FloatData(1.5)),
            (DataType::Double, Data::DoubleData(1.5)),
            (DataType::VarChar, Data::StringData("abc".into())),
            (DataType::Json, Data::BytesData(b"{\"a\": [1]}".to_vec())),
            (DataType::Geometry, Data::StringData("POINT (1 2)".into())),
            (DataType::Timestamptz, Data::TimestamptzData(1)),
        ] {
            assert_eq!(settled(data_type, data.clone()), Ok(Some(data)));
        }
        assert_eq!(
            settled(DataType::Bool, Data::IntData(1)),
            Err("type (Bool) of field (f) is not equal to the type(DataType_Int) of default_value: \
                 invalid parameter"
                .into())
        );
        assert_eq!(
            settled(DataType::Array, Data::IntData(1)),
            Err("type not support default_value, type:Array, name:f: invalid parameter".into())
        );
        assert!(
            settled(DataType::FloatVector, Data::FloatData(1.0)).unwrap_err().contains("not support default_value")
        );
    }

    #[test]
    fn a_default_is_within_range_and_length() {
        assert_eq!(
            settled(DataType::Int8, Data::IntData(300)),
            Err("default value out of range: invalid parameter[300 out of range -128 <= value <= 127]".into())
        );
        assert_eq!(
            settled(DataType::VarChar, Data::StringData("abcd".into())),
            Err("the length (4) of string exceeds max length (3): invalid parameter[expected=valid length string]\
                 [actual=string length exceeds max length]"
                .into())
        );
        assert!(settled(DataType::Float, Data::FloatData(f32::NAN)).is_err());
        assert!(
            settled(DataType::Json, Data::BytesData(b"[1]".to_vec())).unwrap_err().contains("only supports json map")
        );
        assert!(settled(DataType::Geometry, Data::StringData("POINT".into())).is_err());
    }

    #[test]
    fn a_time_is_stored_as_microseconds() {
        let given = Data::StringData("1970-01-01T08:00:01+08:00".into());
        assert_eq!(settled(DataType::Timestamptz, given), Ok(Some(Data::TimestamptzData(1_000_000))));
        let reason = settled(DataType::Timestamptz, Data::StringData("soon".into())).unwrap_err();
        assert!(reason.starts_with("got invalid timestamptz string 'soon': "), "{reason}");
    }

    #[test]
    fn an_empty_default_is_none_and_a_primary_key_has_none() {
        let field = FieldSchema { default_value: Some(ValueField { data: None }), ..FieldSchema::default() };
        let mut schema = CollectionSchema { fields: vec![field], ..CollectionSchema::default() };
        settle(&mut schema, None).unwrap();
        assert_eq!(schema.fields[0].default_value, None);
        schema.fields[0].is_primary_key = true;
        schema.fields[0].default_value = Some(ValueField { data: Some(Data::LongData(1)) });
        let reason = settle(&mut schema, None).unwrap_err().reason();
        assert_eq!(reason, "primary field not support default_value: invalid parameter");
    }
}
