//! Times and time zones in a schema. A time without an offset is meant by the collection's clock, whose history comes
//! with the binary: the proposer turns it into an instant once, and only that is stored.

use chrono::{Duration, NaiveDate, NaiveDateTime, Offset, TimeZone};
use chrono_tz::Tz;

const MICROS_PER_SECOND: i64 = 1_000_000;

/// Whether IANA knows this time zone.
pub(super) fn is_zone(name: &str) -> bool {
    name.parse::<Tz>().is_ok()
}

/// Microseconds since 1970 of `2025-01-31T12:30:00.5+08:00`. The T may be a blank and the offset `Z`, `+08` or absent.
/// Without an offset the time is in `zone`, or in UTC if there is none.
pub(super) fn parse(text: &str, zone: Option<&str>) -> Result<i64, &'static str> {
    const SHAPE: &str = "expected YYYY-MM-DDTHH:MM:SS with an optional fraction and offset";
    const NO_TIME: &str = "no such date or time";
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
    let local = NaiveDate::from_ymd_opt(i32::from(year), month.into(), day.into())
        .filter(|_| year >= 1)
        .and_then(|date| date.and_hms_opt(hour.into(), minute.into(), second.into()))
        .ok_or(NO_TIME)?;
    let offset = match offset {
        "" => zone.map_or(Ok(0), |zone| zone_offset(zone, local).ok_or("the collection's time zone is unknown"))?,
        "Z" | "z" => 0,
        signed => offset_seconds(signed).ok_or(SHAPE)?,
    };
    // At most year 9999: every product stays far below i64.
    Ok((local.and_utc().timestamp() - offset) * MICROS_PER_SECOND + micros)
}

/// Seconds east of UTC that clocks of the zone are when they show this time. Where they show it twice, the first one is
/// meant; what they leave out when they are put forward is read as if they had not been.
fn zone_offset(zone: &str, local: NaiveDateTime) -> Option<i64> {
    let zone: Tz = zone.parse().ok()?;
    let found = zone.offset_from_local_datetime(&local).earliest();
    let offset = match found {
        Some(offset) => offset,
        None => zone.offset_from_local_datetime(&local.checked_sub_signed(Duration::days(1))?).earliest()?,
    };
    Some(offset.fix().local_minus_utc().into())
}

/// Up to four digits, nothing else.
fn number(text: &str) -> Option<u16> {
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
    (hours <= 14 && minutes < 60).then(|| sign * (i64::from(hours) * 3600 + i64::from(minutes) * 60))
}

/// The digits after the decimal point; what is finer than a microsecond is cut off.
fn fraction_micros(digits: &str) -> Option<i64> {
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{digits:0<6}").get(..6)?.parse().ok()
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
    }

    #[test]
    fn a_time_without_an_offset_is_of_the_collections_clock() {
        for (zone, local, utc) in [
            ("UTC", "2025-01-01T00:00:00", "2025-01-01T00:00:00Z"),
            ("Asia/Shanghai", "2025-01-01T00:00:00", "2024-12-31T16:00:00Z"),
            ("America/New_York", "2025-01-15 12:00:00", "2025-01-15T17:00:00Z"),
            ("America/New_York", "2025-07-15 12:00:00", "2025-07-15T16:00:00Z"),
            // Twice on this day: the first of them is summer time.
            ("Europe/Berlin", "2025-10-26T02:30:00", "2025-10-26T00:30:00Z"),
            // Not at all on this day: an hour later by the clocks.
            ("Europe/Berlin", "2025-03-30T02:30:00", "2025-03-30T01:30:00Z"),
            ("Asia/Kathmandu", "9999-12-31T23:59:59", "9999-12-31T18:14:59Z"),
        ] {
            assert_eq!(parse(local, Some(zone)), parse(utc, None), "{local} in {zone}");
            assert!(parse(utc, None).is_ok(), "{utc}");
        }
        assert!(parse("2025-01-01T00:00:00", Some("Mars/Olympus")).is_err());
        assert_eq!(parse("0001-01-01T00:00:00", Some("Etc/GMT-14")).map(|at| at < 0), Ok(true));
    }

    #[test]
    fn zones_are_ianas() {
        assert!(is_zone("UTC") && is_zone("Asia/Shanghai") && is_zone("America/Argentina/Buenos_Aires"));
        assert!(!is_zone("") && !is_zone("Mars/Olympus") && !is_zone("asia/shanghai"));
    }
}
