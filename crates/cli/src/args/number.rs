//! Numbers as Docker's flags take them: decimal, `0x`, `0o`, `0b` or a leading zero, with Go's texts.

use std::num::IntErrorKind;

use orlop_types::ParseError;

/// A signed number.
pub(super) fn int64(text: &str) -> Result<i64, ParseError> {
    parse(text, "ParseInt")
}

/// A number of 16 bits.
pub(super) fn uint16(text: &str) -> Result<u16, ParseError> {
    let number: i64 = match parse(text, "ParseUint") {
        Ok(number) if number >= 0 && !text.starts_with(['+', '-']) => number,
        Ok(_) => return Err(wrong(text, "ParseUint", "invalid syntax")),
        Err(error) => return Err(error),
    };
    u16::try_from(number).map_err(|_| wrong(text, "ParseUint", "value out of range"))
}

fn parse(text: &str, function: &str) -> Result<i64, ParseError> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = [("0x", 16), ("0o", 8), ("0b", 2)]
        .into_iter()
        .find_map(|(prefix, radix)| Some((radix, lower.strip_prefix(prefix)?)))
        .or_else(|| Some((8, lower.strip_prefix('0').filter(|rest| !rest.is_empty())?)))
        .unwrap_or((10, &lower));
    // A sign after the sign is none.
    if digits.starts_with(['+', '-']) {
        return Err(wrong(text, function, "invalid syntax"));
    }
    i64::from_str_radix(&format!("{sign}{digits}"), radix).map_err(|error| match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => {
            wrong(text, function, "value out of range")
        }
        _ => wrong(text, function, "invalid syntax"),
    })
}

fn wrong(text: &str, function: &str, reason: &str) -> ParseError {
    ParseError::new(format!("strconv.{function}: parsing \"{text}\": {reason}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for (text, want) in
            [("5", 5), ("-1", -1), ("+7", 7), ("0", 0), ("0x10", 16), ("010", 8), ("-0b11", -3)]
        {
            assert_eq!(int64(text), Ok(want), "{text}");
        }
        for (text, why) in [
            ("x", "invalid syntax"),
            ("", "invalid syntax"),
            ("--1", "invalid syntax"),
            ("1.5", "invalid syntax"),
            ("9223372036854775808", "value out of range"),
        ] {
            let want = format!("strconv.ParseInt: parsing \"{text}\": {why}");
            assert_eq!(int64(text).unwrap_err().to_string(), want);
        }
        assert_eq!(uint16("1000"), Ok(1000));
        for (text, why) in [("-1", "invalid syntax"), ("70000", "value out of range")] {
            let want = format!("strconv.ParseUint: parsing \"{text}\": {why}");
            assert_eq!(uint16(text).unwrap_err().to_string(), want);
        }
    }
}
