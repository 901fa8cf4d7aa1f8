//! The rules for names, with Milvus' texts. Shared by the services, which check as a courtesy, and by apply.

use super::DEFAULT_DATABASE;
use super::limits::MAX_NAME_BYTES;
use crate::error::Rejection;

/// `^[A-Za-z_][A-Za-z0-9_]*$`, at most 255 bytes.
pub fn collection_name(name: &str) -> Result<(), Rejection> {
    collections(name, "name")
}

/// As a collection's.
pub fn alias_name(name: &str) -> Result<(), Rejection> {
    collections(name, "alias")
}

/// A collection's name or its alias, which is what `kind` says.
fn collections(name: &str, kind: &str) -> Result<(), Rejection> {
    let fault = match fault(name) {
        None => return Ok(()),
        Some(Fault::Empty) => return Err(Rejection::invalid(format!("collection {kind} should not be empty"))),
        Some(Fault::Long) => format!("the length of a collection {kind} must be less than {MAX_NAME_BYTES} characters"),
        Some(Fault::First) => format!("the first character of a collection {kind} must be an underscore or letter"),
        Some(Fault::Rest) => format!("collection {kind} can only contain numbers, letters and underscores"),
    };
    Err(Rejection::invalid(format!("Invalid collection {kind}: {}. {fault}", shown(name))))
}

/// As a collection's.
pub fn database_name(name: &str) -> Result<(), Rejection> {
    let detail = match fault(name) {
        None => return Ok(()),
        Some(Fault::Empty) => "database name couldn't be empty".to_owned(),
        Some(Fault::Long) => format!("the length of a database name must be less than {MAX_NAME_BYTES} characters"),
        Some(Fault::First) => "the first character of a database name must be an underscore or letter".to_owned(),
        Some(Fault::Rest) => "database name can only contain numbers, letters and underscores".to_owned(),
    };
    Err(Rejection::DatabaseInvalidName { database: shown(name).to_owned(), detail })
}

/// Letters, digits and underscores, after the first also `-`; at most 255 bytes; no blanks around it.
pub fn partition_name(name: &str) -> Result<(), Rejection> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let fault = match name.chars().next() {
        None => "Partition name should not be empty.".to_owned(),
        Some(_) if name.len() > MAX_NAME_BYTES => {
            format!("The length of a partition name must be less than {MAX_NAME_BYTES} characters.")
        }
        Some(first) if !inner(first) || first == '-' => {
            "The first character of a partition name must be an underscore or letter.".to_owned()
        }
        Some(_) if !name.chars().all(inner) => {
            "Partition name can only contain numbers, letters and underscores.".to_owned()
        }
        Some(_) => return Ok(()),
    };
    Err(Rejection::invalid(format!("Invalid partition name: {}. {fault}", shown(name))))
}

/// The database that is meant when none is named.
pub fn database_or_default(name: &str) -> &str {
    if name.is_empty() { DEFAULT_DATABASE } else { name }
}

enum Fault {
    Empty,
    Long,
    First,
    Rest,
}

fn fault(name: &str) -> Option<Fault> {
    let first = name.chars().next();
    match first {
        None => Some(Fault::Empty),
        Some(_) if name.len() > MAX_NAME_BYTES => Some(Fault::Long),
        Some(first) if !first.is_ascii_alphabetic() && first != '_' => Some(Fault::First),
        Some(_) if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => Some(Fault::Rest),
        Some(_) => None,
    }
}

/// The name as a message shows it: a megabyte of nonsense must not become a stored reply.
pub fn shown(name: &str) -> &str {
    let mut end = name.len().min(MAX_NAME_BYTES + 1);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.get(..end).unwrap_or_default()
}
