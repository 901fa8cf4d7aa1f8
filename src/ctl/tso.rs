//! `roostctl tso now|decode`. A timestamp is 64 bits: milliseconds since 1970 shifted left by 18, then a logical
//! counter.

use clap::Subcommand;
use serde::Serialize;

use super::Context;
use super::exit::Failure;
use super::output::{Report, facts};
use crate::pb::admin::TsoNowRequest;

/// Bits of the logical counter; Milvus' clients decode by the same number.
const LOGICAL_BITS: u32 = 18;

const JSON: &str = "\
JSON: {\"timestamp\": n, \"physical_ms\": n, \"logical\": n, \"utc\": \"2026-01-02T03:04:05.678Z\"}
A timestamp exceeds 2^53: read it with a parser that keeps 64-bit integers.";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take one timestamp from the oracle
    #[command(after_help = JSON)]
    Now,
    /// Take a timestamp apart; needs no cluster
    #[command(after_help = JSON)]
    Decode {
        /// Decimal, or hexadecimal with 0x
        #[arg(value_name = "TIMESTAMP", value_parser = parse_timestamp)]
        timestamp: u64,
    },
}

pub async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let timestamp = match command {
        Command::Decode { timestamp } => timestamp,
        Command::Now => {
            let rpc = context
                .dialer
                .on_leader(TsoNowRequest {}, |mut client, request| async move { client.tso_now(request).await });
            rpc.await?.timestamp
        }
    };
    context.output.print(&Timestamp::from(timestamp))
}

fn parse_timestamp(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if !digits.starts_with('+') => u64::from_str_radix(digits, 16),
        _ => text.parse(),
    };
    parsed.map_err(|error| format!("not a 64-bit timestamp: {error}"))
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Timestamp {
    timestamp: u64,
    physical_ms: u64,
    logical: u64,
    utc: String,
}

impl From<u64> for Timestamp {
    fn from(timestamp: u64) -> Self {
        let physical_ms = timestamp >> LOGICAL_BITS;
        let logical = timestamp & ((1 << LOGICAL_BITS) - 1);
        Timestamp { timestamp, physical_ms, logical, utc: given_at(timestamp) }
    }
}

impl Report for Timestamp {
    fn table(&self) -> String {
        facts(&[
            ("timestamp", self.timestamp.to_string()),
            ("physical_ms", self.physical_ms.to_string()),
            ("logical", self.logical.to_string()),
            ("utc", self.utc.clone()),
        ])
    }
}

/// When a timestamp was given, as ISO 8601.
pub fn given_at(timestamp: u64) -> String {
    utc(timestamp >> LOGICAL_BITS)
}

/// ISO 8601 of milliseconds since 1970.
fn utc(unix_ms: u64) -> String {
    let (days, ms_of_day) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let (year, month, day) = civil(days);
    let (hour, minute) = (ms_of_day / 3_600_000, ms_of_day / 60_000 % 60);
    let (second, ms) = (ms_of_day / 1000 % 60, ms_of_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Year, month and day in the Gregorian calendar, of a count of days since 1970-01-01.
///
/// Years are counted from March, so that the leap day is the last day of a year and months have a regular pattern.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // 0000-03-01 to 1970-01-01
    let (era, day_of_era) = (days / 146_097, days % 146_097); // an era is 400 years
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_comes_apart() {
        let physical_ms = 1_767_323_045_678; // 2026-01-02T03:04:05.678Z
        let decoded = Timestamp::from(physical_ms << 18 | 42);
        assert_eq!((decoded.physical_ms, decoded.logical), (physical_ms, 42));
        assert_eq!(decoded.utc, "2026-01-02T03:04:05.678Z");
        assert!(serde_json::to_string(&decoded).unwrap().starts_with(r#"{"timestamp":463293132"#));
    }

    #[test]
    fn the_ends_of_the_range() {
        assert_eq!(Timestamp::from(0).utc, "1970-01-01T00:00:00.000Z");
        let last = Timestamp::from(u64::MAX);
        assert_eq!((last.physical_ms, last.logical), ((1 << 46) - 1, (1 << 18) - 1));
        assert_eq!(last.utc, "4199-11-24T01:22:57.663Z");
    }

    #[test]
    fn leap_days_and_ends_of_years() {
        let day = 86_400_000;
        assert_eq!(utc(11_016 * day), "2000-02-29T00:00:00.000Z");
        assert_eq!(utc(11_017 * day - 1), "2000-02-29T23:59:59.999Z");
        assert_eq!(utc(19_722 * day), "2023-12-31T00:00:00.000Z");
        assert_eq!(utc(47_540 * day), "2100-02-28T00:00:00.000Z");
        assert_eq!(utc(47_541 * day), "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn decimal_and_hexadecimal() {
        assert_eq!(parse_timestamp("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(parse_timestamp("0xff"), Ok(255));
        for bad in ["", "-1", "0x", "0x+1", "18446744073709551616", "1e3"] {
            assert!(parse_timestamp(bad).is_err(), "{bad}");
        }
    }
}
