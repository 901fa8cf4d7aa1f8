//! Well-known text of a geometry, as far as a default value is concerned: a known shape and a balanced list of numbers.
//! Whether a polygon closes is for the nodes that index it.

const SHAPES: [&str; 7] =
    ["POINT", "LINESTRING", "POLYGON", "MULTIPOINT", "MULTILINESTRING", "MULTIPOLYGON", "GEOMETRYCOLLECTION"];

/// Whether the text has the form of a geometry, e.g. `POLYGON ((0 0, 1 0, 1 1, 0 0))` or `POINT EMPTY`.
pub(super) fn is_well_known_text(text: &str) -> bool {
    let text = text.trim().to_ascii_uppercase();
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (shape, rest) = text.split_at(end);
    if !SHAPES.contains(&shape) {
        return false;
    }
    let rest = rest.trim_start();
    let rest = ["ZM", "Z", "M"].iter().find_map(|tag| rest.strip_prefix(tag)).unwrap_or(rest).trim();
    rest == "EMPTY" || (shape == "GEOMETRYCOLLECTION" && is_collection(rest)) || is_number_list(rest)
}

fn inside(text: &str) -> Option<&str> {
    text.strip_prefix('(')?.strip_suffix(')')
}

/// Balanced parentheses around numbers, separated by commas and blanks.
fn is_number_list(text: &str) -> bool {
    if inside(text).is_none() {
        return false;
    }
    let mut depth = 0_usize;
    let mut numbers = 0_usize;
    for piece in text.split_inclusive(['(', ')', ',', ' ']) {
        let number = piece.trim_end_matches(['(', ')', ',', ' ']);
        if !number.is_empty() {
            if depth == 0 || !number.parse::<f64>().is_ok_and(f64::is_finite) {
                return false;
            }
            numbers = numbers.saturating_add(1);
        }
        depth = match piece.chars().last() {
            Some('(') => depth.saturating_add(1),
            Some(')') => match depth.checked_sub(1) {
                Some(less) => less,
                None => return false,
            },
            _ => depth,
        };
    }
    depth == 0 && numbers >= 2
}

/// Geometries between commas at the outermost level; collections within collections are not needed as defaults.
fn is_collection(text: &str) -> bool {
    let Some(list) = inside(text) else {
        return false;
    };
    let mut depth = 0_i64;
    let mut parts = vec![String::new()];
    for c in list.chars() {
        depth = match c {
            '(' => depth.saturating_add(1),
            ')' => depth.saturating_sub(1),
            _ => depth,
        };
        match parts.last_mut() {
            Some(part) if c != ',' || depth != 0 => part.push(c),
            _ => parts.push(String::new()),
        }
    }
    parts.iter().all(|part| !part.trim_start().starts_with("GEOMETRYCOLLECTION") && is_well_known_text(part))
}

#[cfg(test)]
mod tests {
    use super::is_well_known_text;

    #[test]
    fn geometries_by_example() {
        for good in [
            "POINT (1 2)",
            "point(1 2)",
            "POINT Z (1 2 3)",
            "POINT EMPTY",
            "LINESTRING (0 0, 1.5 -1e3)",
            "POLYGON ((0 0, 1 0, 1 1, 0 0), (0 0, 1 0, 1 1, 0 0))",
            "MULTIPOLYGON (((0 0, 1 0, 1 1, 0 0)))",
            "GEOMETRYCOLLECTION (POINT (1 2), LINESTRING (0 0, 1 1))",
        ] {
            assert!(is_well_known_text(good), "{good}");
        }
        for bad in ["", "POINT", "POINT 1 2", "POINT (1 x)", "POINT (1 2", "POINT (1 2))", "CIRCLE (1 2)", "POINT ()"] {
            assert!(!is_well_known_text(bad), "{bad}");
        }
        assert!(!is_well_known_text("GEOMETRYCOLLECTION (CIRCLE (1 2))"));
    }
}
