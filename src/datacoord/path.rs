//! A place within a JSON field, as users write it: `field["key"][0]`, or `key["inner"]` for a dynamic field's key.

use crate::error::Rejection;
use crate::pb::schema::{CollectionSchema, FieldSchema};

/// The path as a JSON pointer, `/key/0`: what tells the indexes of one field apart. Empty for the field as a whole.
pub(super) fn normal(text: &str, field: &FieldSchema, schema: &CollectionSchema) -> Result<String, Rejection> {
    let mut steps = parse(text).ok_or_else(|| Rejection::invalid(format!("cannot parse identifier: {text}")))?;
    let root = steps.remove(0);
    let declared = schema.fields.iter().find(|other| other.name == root);
    match declared {
        Some(found) if found.field_id == field.field_id => {}
        // Not declared, so it is a key of the dynamic field.
        None if field.is_dynamic => steps.insert(0, root),
        Some(_) => return Err(Rejection::invalid("fieldID not match with field name")),
        None => return Err(Rejection::invalid(format!("cannot parse identifier: {text}, field {root} not exist"))),
    }
    Ok(steps.iter().map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1"))).collect())
}

/// The name that it begins with, then each step; never empty.
fn parse(text: &str) -> Option<Vec<String>> {
    let end = text.find('[').unwrap_or(text.len());
    let (root, mut rest) = text.split_at_checked(end)?;
    let word = |c: char| c == '_' || c == '$' || c.is_ascii_alphanumeric();
    if root.is_empty() || root.starts_with(|c: char| c.is_ascii_digit()) || !root.chars().all(word) {
        return None;
    }
    let mut steps = vec![root.to_owned()];
    while let Some(inner) = rest.strip_prefix('[') {
        let (step, behind) = match inner.chars().next()? {
            quote @ ('"' | '\'') => quoted(inner.get(1..)?, quote)?,
            _ => {
                let (number, behind) = inner.split_at_checked(inner.find(']')?)?;
                let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
                (digits.then(|| number.to_owned())?, behind)
            }
        };
        steps.push(step);
        rest = behind.strip_prefix(']')?;
    }
    rest.is_empty().then_some(steps)
}

/// The text up to the closing quote, a backslash taking what follows it as it is; and what is behind the quote.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.push(characters.next()?.1),
            end if end == quote => return Some((value, text.get(at + 1..)?)),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::schema::DataType;

    fn schema() -> CollectionSchema {
        let field = |id, name: &str, data_type: DataType| FieldSchema {
            field_id: id,
            name: name.into(),
            data_type: data_type.into(),
            is_dynamic: name == "$meta",
            ..FieldSchema::default()
        };
        let fields = vec![
            field(100, "id", DataType::Int64),
            field(101, "doc", DataType::Json),
            field(102, "$meta", DataType::Json),
        ];
        CollectionSchema { fields, ..CollectionSchema::default() }
    }

    #[test]
    fn paths_have_a_normal_form() {
        let schema = schema();
        let (doc, dynamic) = (&schema.fields[1], &schema.fields[2]);
        for (text, field, expected) in [
            ("doc", doc, ""),
            (r#"doc["a/b"]"#, doc, "/a~1b"),
            (r#"doc["a"]["b"]"#, doc, "/a/b"),
            (r#"doc["~1"]"#, doc, "/~01"),
            (r#"doc["a"]"#, doc, "/a"),
            (r#"doc['a']["b c"][3]"#, doc, "/a/b c/3"),
            (r#"doc["a\"b"]"#, doc, "/a\"b"),
            ("color", dynamic, "/color"),
            (r#"color["x"]"#, dynamic, "/color/x"),
            (r#"$meta["color"]"#, dynamic, "/color"),
        ] {
            assert_eq!(normal(text, field, &schema).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_path_of_the_field_is_refused() {
        let schema = schema();
        let doc = &schema.fields[1];
        for text in ["", "[0]", "doc[", "doc[]", "doc[a]", "doc[\"a]", "doc[\"a\"", "doc[\"a\"]x", "1doc", "doc[\"a\\"]
        {
            assert!(normal(text, doc, &schema).unwrap_err().reason().starts_with("cannot parse"), "{text}");
        }
        assert!(normal("id", doc, &schema).unwrap_err().reason().starts_with("fieldID not match with field name"));
        assert!(normal("color", doc, &schema).unwrap_err().reason().contains("field color not exist"));
    }
}
