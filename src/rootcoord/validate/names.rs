//! Names: which bytes they may have and how many. Every kind of name has Milvus' own wording.

use std::collections::BTreeSet;

use crate::error::Rejection;
use crate::limits::{Limits, MAX_NAME_BYTES, NAMES_PER_REQUEST_MAX};
use crate::pb::schema::CollectionSchema;
pub use crate::state::name::{alias_name, collection_name, database_name, partition_name};

/// Words of Milvus' expression language, which a field of that name would shadow. Each also in upper case.
const KEYWORDS: [&str; 20] = [
    "like",
    "exists",
    "and",
    "or",
    "not",
    "in",
    "json_contains",
    "json_contains_all",
    "json_contains_any",
    "array_contains",
    "array_contains_all",
    "array_contains_any",
    "array_length",
    "true",
    "True",
    "false",
    "False",
    "text_match",
    "phrase_match",
    "random_sample",
];

/// What is wrong with a name, apart from the wording.
enum Fault {
    Empty,
    TooLong,
    FirstCharacter,
    Character,
}

/// Letters, digits and underscores, not beginning with a digit.
fn check(name: &str, also: &[char]) -> Result<(), Fault> {
    let Some(first) = name.chars().next() else {
        return Err(Fault::Empty);
    };
    if name.len() > MAX_NAME_BYTES {
        return Err(Fault::TooLong);
    }
    if first != '_' && !first.is_ascii_alphabetic() {
        return Err(Fault::FirstCharacter);
    }
    let allowed = |c: char| c == '_' || c.is_ascii_alphanumeric() || also.contains(&c);
    if name.chars().all(allowed) { Ok(()) } else { Err(Fault::Character) }
}

/// The name of an index; none is the field's. A member of a struct field has brackets in its name.
pub fn index_name(name: &str) -> Result<(), Rejection> {
    let start = format!("Invalid index name: {name}.");
    check(name, &['[', ']']).or_else(|fault| {
        Err(Rejection::invalid(match fault {
            Fault::Empty => return Ok(()),
            Fault::TooLong => {
                format!("{start} The length of a index name must be less than {MAX_NAME_BYTES} characters.")
            }
            Fault::FirstCharacter => {
                format!("{start} The first character of a index name must be an underscore or letter.")
            }
            Fault::Character => {
                format!("{start} Index name can only contain numbers, letters, and underscores.")
            }
        }))
    })
}

/// The name of a field, of a struct field, or of a field within one.
pub(super) fn field_name(name: &str) -> Result<(), Rejection> {
    let start = format!("Invalid field name: {name}.");
    let invalid = |detail: String| Rejection::FieldInvalidName { field: name.to_owned(), detail };
    check(name, &[]).map_err(|fault| {
        invalid(match fault {
            Fault::Empty => "field name should not be empty".to_owned(),
            Fault::TooLong => {
                format!("{start} The length of a field name must be less than {MAX_NAME_BYTES} characters.")
            }
            Fault::FirstCharacter => {
                format!("{start} The first character of a field name must be an underscore or letter.")
            }
            Fault::Character => {
                format!("{start} Field name cannot only contain numbers, letters, and underscores.")
            }
        })
    })?;
    if KEYWORDS.iter().any(|word| name == *word || name == word.to_ascii_uppercase()) {
        return Err(invalid(format!("{start} {name} is keyword in milvus.")));
    }
    Ok(())
}

/// The name of a function: any text, within its size.
pub fn function_name(name: &str) -> Result<(), Rejection> {
    if name.len() > MAX_NAME_BYTES {
        let detail = format!("the length of a function name must be less than {MAX_NAME_BYTES} characters");
        return Err(Rejection::invalid(detail));
    }
    Ok(())
}

/// How many a request names.
pub fn not_too_many(names: &[String]) -> Result<(), Rejection> {
    match names.len() {
        0..=NAMES_PER_REQUEST_MAX => Ok(()),
        count => {
            let detail = format!("{count} names in one request, at most {NAMES_PER_REQUEST_MAX} are looked up");
            Err(Rejection::ParameterTooLarge { detail })
        }
    }
}

/// The description of a collection.
pub(super) fn description(text: &str, limits: &Limits) -> Result<(), Rejection> {
    let most = limits.max_description_bytes;
    if text.len() > most {
        let detail = format!("the length of a collection description must not exceed {most} bytes");
        return Err(Rejection::invalid(detail));
    }
    Ok(())
}

/// Fields and struct fields share one space of names; fields within a struct have their own.
pub(super) fn no_duplicate_fields(schema: &CollectionSchema) -> Result<(), Rejection> {
    let structs = schema.struct_array_fields.iter();
    all_differ(schema.fields.iter().map(|f| &f.name).chain(structs.map(|s| &s.name)))?;
    schema.struct_array_fields.iter().try_for_each(|s| all_differ(s.fields.iter().map(|f| &f.name)))
}

fn all_differ<'a>(names: impl Iterator<Item = &'a String>) -> Result<(), Rejection> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Rejection::invalid(format!("duplicated field name {name} found")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(result: Result<(), Rejection>) -> (i32, String) {
        let rejection = result.unwrap_err();
        (rejection.code(), rejection.reason())
    }

    #[test]
    fn collection_names() {
        for good in ["a", "_", "_a9", "A_b", &"x".repeat(255)] {
            collection_name(good).unwrap();
        }
        assert_eq!(
            refused(collection_name("")),
            (1100, "collection name should not be empty: invalid parameter".into())
        );
        assert_eq!(
            refused(collection_name("12-s")).1,
            "Invalid collection name: 12-s. the first character of a collection name must be an underscore or letter: \
             invalid parameter"
        );
        assert_eq!(
            refused(collection_name("a-b")).1,
            "Invalid collection name: a-b. collection name can only contain numbers, letters and underscores: \
             invalid parameter"
        );
        assert!(refused(collection_name(&"x".repeat(256))).1.contains("must be less than 255 characters"));
        assert!(collection_name("a b").is_err() && collection_name("é").is_err() && collection_name("a\0").is_err());
    }

    #[test]
    fn database_names() {
        database_name("db_1").unwrap();
        let expected =
            "database name can only contain numbers, letters and underscores: invalid database name[database=a.b]";
        assert_eq!(refused(database_name("a.b")), (802, expected.into()));
        assert_eq!(
            refused(database_name("")),
            (802, "database name couldn't be empty: invalid database name[database=]".into())
        );
    }

    #[test]
    fn partition_names_may_hold_hyphens_and_begin_with_digits() {
        for good in ["_default", "p-1", "2024-01"] {
            partition_name(good).unwrap();
        }
        for bad in ["", "-a", "a b", "a.b"] {
            assert!(refused(partition_name(bad)).1.starts_with("Invalid partition name: "), "{bad}");
        }
    }

    #[test]
    fn field_names_may_not_be_words_of_the_expression_language() {
        for good in ["likes", "Like", "json", "tRUE"] {
            field_name(good).unwrap();
        }
        for bad in ["", "1a", "a-b", "$meta", "like", "LIKE", "TRUE", "True", "random_sample"] {
            assert_eq!(refused(field_name(bad)).0, 1701, "{bad}");
        }
        assert_eq!(
            refused(field_name("and")).1,
            "Invalid field name: and. and is keyword in milvus.: field name invalid[field=and]"
        );
    }
}
