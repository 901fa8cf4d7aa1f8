//! The rules for names of users, roles, objects, privileges and groups, and for passwords, with Milvus' texts.

use crate::error::Rejection;
use crate::limits::{Limits, MAX_NAME_BYTES};
use crate::state::access::ANY;

/// Beside letters, digits and underscores (Milvus: proxy.nameValidation.allowedChars).
const ALLOWED: char = '$';

pub fn user(name: &str, limits: &Limits) -> Result<(), Rejection> {
    let name = name.trim();
    let most = limits.max_username_bytes;
    let Some(first) = name.chars().next() else { return Err(Rejection::invalid("username must be not empty")) };
    if name.len() > most {
        let length = name.len();
        return Err(Rejection::invalid(format!(
            "invalid username {name} with length {length}, the length of username must be less than {most}"
        )));
    }
    if !first.is_ascii_alphabetic() {
        return Err(Rejection::invalid(format!(
            "invalid user name {name}, the first character must be a letter, but got {first}"
        )));
    }
    match name.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '.' | '-')) {
        None => Ok(()),
        Some(wrong) => Err(Rejection::invalid(format!(
            "invalid user name {name}, username must contain only numbers, letters, underscores, dots, and hyphens, \
             but got {wrong}"
        ))),
    }
}

pub fn password(password: &[u8], limits: &Limits) -> Result<(), Rejection> {
    let (least, most) = (limits.min_password_bytes, limits.max_password_bytes);
    match password.len() {
        length if (least..=most).contains(&length) => Ok(()),
        length => Err(Rejection::ParameterOutOfRange {
            value: length.to_string(),
            lower: least.to_string(),
            upper: most.to_string(),
            detail: "invalid password length".into(),
        }),
    }
}

pub fn role(name: &str) -> Result<(), Rejection> {
    plain("role name", name)
}

pub fn object_type(name: &str) -> Result<(), Rejection> {
    plain("ObjectType", name)
}

pub fn object(name: &str) -> Result<(), Rejection> {
    if name == ANY { Ok(()) } else { plain("object name", name) }
}

pub fn privilege(name: &str) -> Result<(), Rejection> {
    if name == ANY { Ok(()) } else { plain("Privilege", name) }
}

pub fn group(name: &str) -> Result<(), Rejection> {
    let name = name.trim();
    let refused = |detail: String| Err(Rejection::PrivilegeGroupInvalidName { detail });
    match fault(name, |_| false) {
        None => Ok(()),
        Some(Fault::Empty) => refused("privilege group name should not be empty".into()),
        Some(Fault::Long) => {
            let name = crate::state::name::shown(name);
            refused(format!(
                "the length of a privilege group name {name} must be less than {MAX_NAME_BYTES} characters"
            ))
        }
        Some(Fault::First(_)) => {
            refused(format!("the first character of a privilege group name {name} must be an underscore or letter"))
        }
        Some(Fault::Rest(..)) => Err(Rejection::invalid(format!(
            "privilege group name {name} can only contain numbers, letters and underscores"
        ))),
    }
}

fn plain(what: &str, name: &str) -> Result<(), Rejection> {
    let name = name.trim();
    match fault(name, |c| c == ALLOWED) {
        None => Ok(()),
        Some(Fault::Empty) => Err(Rejection::ParameterUnexpected {
            expected: "not empty".into(),
            actual: name.into(),
            detail: format!("{what} should be not empty"),
        }),
        Some(Fault::Long) => Err(Rejection::ParameterOutOfRange {
            value: name.len().to_string(),
            lower: "0".into(),
            upper: MAX_NAME_BYTES.to_string(),
            detail: format!("the length of {what} must be not greater than limit"),
        }),
        // Milvus shows the bytes as numbers.
        Some(Fault::First(first)) => Err(Rejection::ParameterUnexpected {
            expected: u32::from('_').to_string(),
            actual: first.to_string(),
            detail: format!("the first character of {what} must be an underscore or letter"),
        }),
        Some(Fault::Rest(wrong, at)) => Err(Rejection::invalid(format!(
            "{what} can only contain numbers, letters, underscores, and allowed characters ({ALLOWED}), found {wrong} \
             at {at}"
        ))),
    }
}

enum Fault {
    Empty,
    Long,
    First(u8),
    Rest(char, usize),
}

fn fault(name: &str, allowed: impl Fn(char) -> bool) -> Option<Fault> {
    match name.bytes().next() {
        None => Some(Fault::Empty),
        Some(_) if name.len() > MAX_NAME_BYTES => Some(Fault::Long),
        Some(first) if !first.is_ascii_alphabetic() && first != b'_' => Some(Fault::First(first)),
        Some(_) => {
            let wrong = |(_, c): &(usize, char)| !c.is_ascii_alphanumeric() && *c != '_' && !allowed(*c);
            name.char_indices().find(wrong).map(|(at, c)| Fault::Rest(c, at))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users() {
        let limits = Limits::default();
        for name in ["a", "Alice_2", "a.b-c", &"u".repeat(32)] {
            assert_eq!(user(name, &limits), Ok(()), "{name}");
        }
        for (name, text) in [
            ("", "username must be not empty"),
            ("  ", "username must be not empty"),
            (&*"u".repeat(33), "with length 33, the length of username must be less than 32"),
            ("1a", "invalid user name 1a, the first character must be a letter, but got 1"),
            ("_a", "the first character must be a letter, but got _"),
            ("a b", "username must contain only numbers, letters, underscores, dots, and hyphens, but got  "),
            ("größe", "but got ö"),
        ] {
            let refusal = user(name, &limits).unwrap_err();
            assert_eq!(refusal.code(), 1100);
            assert!(refusal.reason().contains(text), "{refusal}");
        }
    }

    #[test]
    fn passwords() {
        let limits = Limits::default();
        assert_eq!(password(b"123456", &limits), Ok(()));
        assert_eq!(password(&[b'x'; 72], &limits), Ok(()));
        for wrong in [&b"12345"[..], b"", &[b'x'; 73]] {
            let refusal = password(wrong, &limits).unwrap_err();
            assert!(refusal.reason().starts_with("invalid password length: invalid parameter["), "{refusal}");
        }
    }

    #[test]
    fn roles_objects_and_groups() {
        for name in ["r", "_r", "r$1", " r "] {
            assert_eq!(role(name), Ok(()), "{name}");
        }
        let said = |result: Result<(), Rejection>| {
            let refusal = result.unwrap_err();
            (refusal.code(), refusal.reason())
        };
        let first = "the first character of role name must be an underscore or letter";
        assert_eq!(said(role("1r")), (1100, format!("{first}: invalid parameter[expected=95][actual=49]")));
        assert_eq!(said(role("")).1, "role name should be not empty: invalid parameter[expected=not empty][actual=]");
        assert!(
            said(role("a-b")).1.starts_with("role name can only contain numbers, letters, underscores, and allowed")
        );
        assert!(said(role(&"r".repeat(256))).1.starts_with("the length of role name must be not greater than limit"));
        assert_eq!((object("*"), privilege("*")), (Ok(()), Ok(())));
        assert_eq!(said(group("")).0, 1402);
        assert_eq!(said(group("1")).0, 1402);
        assert_eq!(said(group(&"g".repeat(256))).0, 1402);
        assert_eq!(said(group("a$")).0, 1100);
        assert_eq!((group("g_1"), group(" g ")), (Ok(()), Ok(())));
        assert!(said(role("é")).1.ends_with("[actual=195]"));
    }
}
