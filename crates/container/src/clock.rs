//! The present time in the two forms that records use.

use jiff::Timestamp;

/// Now, as RFC 3339 text in UTC with nanoseconds.
#[must_use]
pub fn now_text() -> String {
    text(Timestamp::now())
}

/// Now, in nanoseconds since 1970.
#[must_use]
pub fn now_ns() -> i64 {
    nanoseconds(Timestamp::now())
}

/// A time as RFC 3339 text in UTC, always with nine digits, so that texts sort as times do.
pub(crate) fn text(time: Timestamp) -> String {
    format!("{time:.9}")
}

/// A time in nanoseconds since 1970.
pub(crate) fn nanoseconds(time: Timestamp) -> i64 {
    // 64 bits of nanoseconds last until the year 2262.
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

/// What Docker shows for a time that never came.
pub(crate) const NEVER: &str = "0001-01-01T00:00:00Z";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_nine_digits() {
        let time: Timestamp = "2026-11-21T01:02:03.5Z".parse().expect("valid");
        assert_eq!(text(time), "2026-11-21T01:02:03.500000000Z");
        assert_eq!(nanoseconds(time), 1_795_222_923_500_000_000);
    }
}
