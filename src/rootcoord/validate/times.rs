//! Times and time zones in a schema. Only arithmetic: the rules of daylight saving are for the nodes.

/// IANA's names of time zones, sorted, one a line.
const ZONES: &str = include_str!("zones.txt");

const MICROS_PER_SECOND: i64 = 1_000_000;

/// Whether IANA knows this time zone.
pub(super) fn is_zone(name: &str) -> bool {
    ZONES.lines().any(|zone| zone == name)
}

/// Microseconds since 1970 of `2025-01-31T12:30:00.5+08:00`. The T may be a blank and the offset `Z`, `+08` or absent.
/// Without an offset the time is in `zone`, of which only those equal to UTC can be computed here.
pub(super) fn parse(text: &str, zone: Option<&str>) -> Result<i64, &'static str> {
    const SHAPE: &str = "expected YYYY-MM-DDTHH:MM:SS with an optional fraction and offset";
    let (date, time) = text.trim().split_once(['T', 't', ' ']).ok_or(SHAPE)?;
    let mut date = date.split('-');
    let (year, month, day) = match (date.next(), date.next(), date.next(), date.next()) {
        (Some(year), Some(month), Some(day), None) if year.len() == 4 => {
            (number(year).ok_or(SHAPE)?, number(month).ok_or(SHAPE)?, number(day).ok_or(SHAPE)?)
        }
        _ => return Err(SHAPE),
    };
    let clock_end = time.find(['Z', 'z', '+', '-']).unwrap_or(time.len());
    let (clock, offset) = time.split_at(clock_end);
    let offset = match offset {
        "" if zone.is_none_or(is_utc) => 0,
        "" => return Err("a time without an offset needs the collection's time zone to be UTC"),
        "Z" | "z" => 0,
        signed => offset_seconds(signed).ok_or(SHAPE)?,
    };
    let (clock, micros) = match clock.split_once('.') {
        None => (clock, 0),
        Some((clock, fraction)) => (clock, fraction_micros(fraction).ok_or(SHAPE)?),
    };
    let mut clock = clock.split(':');
    let (hour, minute, second) = match (clock.next(), clock.next(), clock.next(), clock.next()) {
        (Some(hour), Some(minute), Some(second), None) => {
            (number(hour).ok_or(SHAPE)?, number(minute).ok_or(SHAPE)?, number(second).ok_or(SHAPE)?)
        }
        _ => return Err(SHAPE),
    };
    let in_range = year >= 1
        && (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !in_range {
        return Err("no such date or time");
    }
    // At most year 9999: every product stays far below i64.
    let seconds = days_before(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Ok(seconds * MICROS_PER_SECOND + micros)
}

fn is_utc(zone: &str) -> bool {
    matches!(zone, "UTC" | "Etc/UTC" | "GMT" | "Etc/GMT" | "Zulu" | "Etc/Zulu" | "Universal" | "UCT")
}

/// Up to four digits, nothing else.
fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// `+08:00`, `-0330` or `+08`, in seconds.
fn offset_seconds(text: &str) -> Option<i64> {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits: String = text.get(1..)?.split(':').collect();
    let (hours, minutes) = match digits.len() {
        2 => (number(&digits)?, 0),
        4 => (number(digits.get(..2)?)?, number(digits.get(2..)?)?),
        _ => return None,
    };
    (hours <= 14 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// The digits after the decimal point; what is finer than a microsecond is cut off.
fn fraction_micros(digits: &str) -> Option<i64> {
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{digits:0<6}").get(..6)?.parse().ok()
}

fn is_leap(year: i64) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to this date of the Gregorian calendar.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let past = year - 1;
    let until_year = past * 365 + past / 4 - past / 100 + past / 400;
    let until_month: i64 = (1..month).map(|earlier| days_in(year, earlier)).sum();
    const UNTIL_1970: i64 = 719_162;
    until_year + until_month + day - 1 - UNTIL_1970
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_by_example() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-02 00:00:01", 86_401),
            ("2000-02-29T12:00:00+00:00", 951_825_600),
            ("2025-01-01T00:00:00+08:00", 1_735_660_800),
            ("2025-01-01T00:00:00-0330", 1_735_702_200),
            ("1969-12-31T23:59:59z", -1),
            ("0001-01-01T00:00:00Z", -62_135_596_800),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            assert_eq!(parse(text, None), Ok(seconds * MICROS_PER_SECOND), "{text}");
        }
        assert_eq!(parse("1970-01-01T00:00:00.000001999Z", None), Ok(1));
        assert_eq!(parse("1970-01-01T00:00:00.5Z", Some("Asia/Shanghai")), Ok(500_000));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [
            "",
            "2025",
            "2025-01-01",
            "2025-13-01T00:00:00Z",
            "2025-02-29T00:00:00Z",
            "2025-01-01T24:00:00Z",
            "2025-01-01T00:00Z",
            "2025-01-01T00:00:00+99:00",
            "2025-01-01T00:00:00.Z",
            "25-01-01T00:00:00Z",
            "2025-01-01T00:00:00+é",
        ] {
            assert!(parse(bad, None).is_err(), "{bad}");
        }
        assert!(parse("2025-01-01T00:00:00", Some("Asia/Shanghai")).is_err());
        parse("2025-01-01T00:00:00", Some("UTC")).unwrap();
    }

    #[test]
    fn zones_are_ianas() {
        assert!(is_zone("UTC") && is_zone("Asia/Shanghai") && is_zone("America/Argentina/Buenos_Aires"));
        assert!(!is_zone("") && !is_zone("Mars/Olympus") && !is_zone("asia/shanghai"));
    }
}
