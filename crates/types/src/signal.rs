//! Signals by name and number, as `kill -s` and `STOPSIGNAL` take them.

use std::fmt;
use std::str::FromStr;

use crate::error::ParseError;

/// First real-time signal that programs may use; the C library keeps 32 and 33 for itself.
const RTMIN: i32 = 34;
/// Last real-time signal of Linux.
const RTMAX: i32 = 64;

/// Names without `SIG`; the first name of a number is the one that is shown.
const NAMES: [(&str, i32); 35] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("UNUSED", 31),
];

/// A signal of Linux, 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(i32);

impl Signal {
    /// `SIGKILL`, what `kill` sends unless told otherwise.
    pub const KILL: Self = Self(9);
    /// `SIGTERM`, what `stop` sends unless told otherwise.
    pub const TERM: Self = Self(15);

    /// The number.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }
}

impl FromStr for Signal {
    type Err = ParseError;

    /// Takes a number or a name in any case with or without `SIG`, also `RTMIN+3` and `RTMAX-2`.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let invalid = || ParseError::new(format!("invalid signal: {text}"));
        if let Ok(number) = text.parse::<i32>() {
            return if (1..=RTMAX).contains(&number) { Ok(Self(number)) } else { Err(invalid()) };
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Ok(Self(*number));
        }
        real_time(name).map(Self).ok_or_else(invalid)
    }
}

/// `RTMIN`, `RTMIN+n`, `RTMAX`, `RTMAX-n`.
fn real_time(name: &str) -> Option<i32> {
    let number = |digits: &str| -> Option<i32> {
        (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| digits.parse().ok())?
    };
    let found = match (name, name.strip_prefix("RTMIN+"), name.strip_prefix("RTMAX-")) {
        ("RTMIN", ..) => RTMIN,
        ("RTMAX", ..) => RTMAX,
        (_, Some(digits), _) => RTMIN.checked_add(number(digits)?)?,
        (_, _, Some(digits)) => RTMAX.checked_sub(number(digits)?)?,
        _ => return None,
    };
    (RTMIN..=RTMAX).contains(&found).then_some(found)
}

impl fmt::Display for Signal {
    /// Writes the name with `SIG`, for instance `SIGTERM` or `SIGRTMIN+3`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => write!(formatter, "SIG{name}"),
            None if self.0 == RTMIN => formatter.write_str("SIGRTMIN"),
            None if self.0 > RTMIN => write!(formatter, "SIGRTMIN+{}", self.0 - RTMIN),
            None => write!(formatter, "{}", self.0),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, want) in [
            ("9", 9),
            ("64", 64),
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigterm", 15),
            ("cld", 17),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-14", 50),
            ("RTMAX", 64),
        ] {
            assert_eq!(text.parse::<Signal>().unwrap().number(), want, "{text}");
        }
        for bad in
            ["", "0", "65", "-9", "FOO", "SIG", "SIGSIGTERM", "RTMIN+31", "RTMIN+-1", "RTMAX-99"]
        {
            assert_eq!(
                bad.parse::<Signal>().unwrap_err().to_string(),
                format!("invalid signal: {bad}")
            );
        }
    }

    proptest! {
        #[test]
        fn shown_signals_are_read_again(number in 1_i32..=64) {
            let signal: Signal = number.to_string().parse().unwrap();
            prop_assert_eq!(signal.to_string().parse::<Signal>().unwrap(), signal);
        }

        #[test]
        fn never_panics(text in "\\PC{0,20}", real_time in "RTM(IN|AX)[+-][0-9]{0,14}") {
            let _ = text.parse::<Signal>();
            let _ = real_time.parse::<Signal>();
        }
    }
}
