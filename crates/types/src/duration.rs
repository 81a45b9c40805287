//! Durations and moments in text: Go's `1h30m`, "2 hours ago", and `--since`/`--until` values.
//!
//! A duration is a signed number of nanoseconds, as in Docker's JSON. Time is passed in, never read.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use crate::error::ParseError;

const SECOND: i64 = 1_000_000_000;
/// Units of Go's durations in nanoseconds, longest name first where one begins another.
const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3600 * SECOND),
];

/// Parses a Go duration (`300ms`, `-1.5h`, `2h45m`, `0`) into nanoseconds.
///
/// # Errors
/// `time: invalid duration "x"`, `time: missing unit in duration "5"`, `time: unknown unit …`.
pub fn parse_duration(text: &str) -> Result<i64, ParseError> {
    let invalid = || ParseError::new(format!("time: invalid duration \"{text}\""));
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let number_len =
            rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, after) = rest.split_at(number_len);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        let unit_len = after
            .find(|letter: char| letter.is_ascii_digit() || letter == '.')
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_len);
        if unit.is_empty() {
            return Err(ParseError::new(format!("time: missing unit in duration \"{text}\"")));
        }
        let Some(&(_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(ParseError::new(format!(
                "time: unknown unit \"{unit}\" in duration \"{text}\""
            )));
        };
        total = scaled(whole, fraction, scale)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(invalid)?;
        rest = next;
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| invalid())
}

/// `whole.fraction * scale`, rounded down to whole nanoseconds.
fn scaled(whole: &str, fraction: &str, scale: i64) -> Option<i128> {
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut sum = whole.checked_mul(i128::from(scale))?;
    let mut digit_value = i128::from(scale);
    // Digits beyond 10^-18 cannot change a nanosecond of an hour.
    let (mut numerator, mut denominator) = (0_i128, 1_i128);
    for digit in fraction.bytes().take(18) {
        numerator = numerator * 10 + i128::from(digit - b'0');
        denominator *= 10;
    }
    digit_value = digit_value.checked_mul(numerator)? / denominator;
    sum = sum.checked_add(digit_value)?;
    (sum <= i128::from(i64::MAX) + 1).then_some(sum)
}

/// Writes nanoseconds as Go does: `1h30m0s`, `1.5s`, `300ms`, `0s`.
#[must_use]
pub fn format_duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    let second = SECOND.unsigned_abs();
    if total == 0 {
        return "0s".to_owned();
    }
    if total < second {
        let (unit, scale) = match total {
            0..1_000 => ("ns", 1),
            1_000..1_000_000 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{sign}{}{unit}", decimal(total, scale));
    }
    let seconds = total / second;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let tail = decimal(total % (60 * second), second);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{tail}s"),
        (0, _) => format!("{sign}{minutes}m{tail}s"),
        _ => format!("{sign}{hours}h{minutes}m{tail}s"),
    }
}

/// `value / scale` without trailing zeros; `scale` is a power of ten.
fn decimal(value: u64, scale: u64) -> String {
    let places = scale.ilog10() as usize;
    let (whole, part) = (value / scale, value % scale);
    if part == 0 {
        return whole.to_string();
    }
    format!("{whole}.{}", format!("{part:0places$}").trim_end_matches('0'))
}

/// A duration in words, as Docker's tables have it: `About a minute`, `3 weeks`.
#[must_use]
pub fn human_duration(nanoseconds: i64) -> String {
    let seconds = nanoseconds / SECOND;
    let minutes = seconds / 60;
    // Hours are rounded, everything else is cut off.
    let hours = (nanoseconds.saturating_add(1800 * SECOND)) / (3600 * SECOND);
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// How long before `now` something was: `5 minutes ago`.
#[must_use]
pub fn human_ago(then: Timestamp, now: Timestamp) -> String {
    format!("{} ago", human_duration(nanoseconds_between(then, now)))
}

/// Nanoseconds from `then` to `now`, at the limits of an `i64` if it is more.
#[must_use]
pub fn nanoseconds_between(then: Timestamp, now: Timestamp) -> i64 {
    let difference = now.as_nanosecond() - then.as_nanosecond();
    i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
}

/// Parses a `--since`/`--until` value: a Go duration before `now`, Unix seconds with a fraction, or an
/// RFC 3339 time of which the end may be left out (`2026-11-21`, `2026-11-21T10:00`).
///
/// A time without an offset is in `zone`, as in Docker.
///
/// # Errors
/// ``invalid value for `x` ``, with the forms that are understood.
pub fn parse_moment(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, ParseError> {
    let invalid =
        || ParseError::new(format!("failed to parse value as time or duration: \"{text}\""));
    if let Ok(before) = parse_duration(text) {
        let moment = now.as_nanosecond() - i128::from(before);
        return Timestamp::from_nanosecond(moment).map_err(|_| invalid());
    }
    if let Some(moment) = parse_unix(text) {
        return Ok(moment);
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    let civil = text
        .parse::<DateTime>()
        .or_else(|_| {
            text.parse::<Date>().map(|date| date.to_datetime(jiff::civil::Time::midnight()))
        })
        .map_err(|_| invalid())?;
    zone.to_timestamp(civil).map_err(|_| invalid())
}

/// `seconds[.fraction]` since 1970.
fn parse_unix(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // Four digits are a year to RFC 3339, but Docker reads every number as seconds.
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let padded: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    Timestamp::new(whole.parse().ok()?, padded.parse().ok()?).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_go_s() {
        for (text, want) in [
            ("0", 0),
            ("5s", 5 * SECOND),
            ("+5s", 5 * SECOND),
            ("-1.5h", -5400 * SECOND),
            ("1h2m3s", 3723 * SECOND),
            ("1.000000001s", SECOND + 1),
            (".5ms", 500_000),
            ("5.s", 5 * SECOND),
            ("3us4µs5μs6ns", 12_006),
            ("39h9m14.425s", 140_954_425_000_000),
        ] {
            assert_eq!(parse_duration(text), Ok(want), "{text}");
        }
        for (text, want) in [
            ("", "time: invalid duration \"\""),
            ("-", "time: invalid duration \"-\""),
            (".s", "time: invalid duration \".s\""),
            ("x", "time: invalid duration \"x\""),
            ("5", "time: missing unit in duration \"5\""),
            ("5d", "time: unknown unit \"d\" in duration \"5d\""),
            ("9999999999h", "time: invalid duration \"9999999999h\""),
        ] {
            assert_eq!(parse_duration(text).unwrap_err().to_string(), want);
        }
    }

    #[test]
    fn durations_are_written_as_go_does() {
        for (nanoseconds, want) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (90 * SECOND, "1m30s"),
            (3600 * SECOND, "1h0m0s"),
            (-90 * SECOND, "-1m30s"),
            (i64::MAX, "2562047h47m16.854775807s"),
        ] {
            assert_eq!(format_duration(nanoseconds), want);
        }
    }

    #[test]
    fn words_are_docker_s() {
        let (minute, hour) = (60, 3600);
        let day = 24 * hour;
        for (seconds, want) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (45, "45 seconds"),
            (minute, "About a minute"),
            (3 * minute + 40, "3 minutes"),
            (hour, "About an hour"),
            (hour + 45 * minute, "2 hours"),
            (47 * hour, "47 hours"),
            (2 * day, "2 days"),
            (14 * day, "2 weeks"),
            (60 * day, "2 months"),
            (2 * 365 * day, "2 years"),
        ] {
            assert_eq!(human_duration(seconds * SECOND), want, "{seconds}");
        }
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        assert_eq!(human_ago("2026-11-21T09:58:30Z".parse().unwrap(), now), "About a minute ago");
    }

    #[test]
    fn moments_are_durations_seconds_or_times() {
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        for (text, want) in [
            ("10m", "2026-11-21T09:50:00Z"),
            ("0", "2026-11-21T10:00:00Z"),
            ("1", "1970-01-01T00:00:01Z"),
            ("1136073600.000000001", "2006-01-01T00:00:00.000000001Z"),
            ("2026-01-02", "2026-01-02T00:00:00Z"),
            ("2026-01-02T03:04", "2026-01-02T03:04:00Z"),
            ("2026-01-02T03:04:05.6+01:00", "2026-01-02T02:04:05.6Z"),
        ] {
            assert_eq!(
                parse_moment(text, now, &TimeZone::UTC).unwrap().to_string(),
                want,
                "{text}"
            );
        }
        assert_eq!(
            parse_moment("soon", now, &TimeZone::UTC).unwrap_err().to_string(),
            "failed to parse value as time or duration: \"soon\""
        );
    }

    proptest! {
        #[test]
        fn durations_round_trip(nanoseconds in any::<i64>()) {
            prop_assume!(nanoseconds != i64::MIN);
            prop_assert_eq!(parse_duration(&format_duration(nanoseconds)), Ok(nanoseconds));
        }

        #[test]
        fn never_panics(text in "\\PC{0,30}", digits in "[0-9.hmsnuµ+-]{0,40}", nanoseconds in any::<i64>()) {
            for text in [text, digits] {
                let _ = parse_duration(&text);
                let _ = parse_moment(&text, Timestamp::UNIX_EPOCH, &TimeZone::UTC);
            }
            let _ = human_duration(nanoseconds);
            let _ = format_duration(nanoseconds);
        }
    }
}
