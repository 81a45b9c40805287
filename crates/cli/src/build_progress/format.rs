//! Numbers and lines as BuildKit writes them.

use std::time::Duration;

/// Bytes: `312B`, `3.62MB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1000 {
        return format!("{count}B");
    }
    let mut value = count as f64 / 1000.0;
    let mut units = UNITS.iter();
    let mut unit = units.next().unwrap_or(&"kB");
    while value >= 999.995 {
        let Some(next) = units.next() else { break };
        value /= 1000.0;
        unit = next;
    }
    format!("{value:.2}{unit}")
}

/// A part and how far it is: `extracting sha256:… 3.62MB / 9.00MB`, `transferring context: 31B`.
pub(crate) fn part(id: &str, current: u64, total: u64) -> (String, String) {
    if id.starts_with("transferring ") && !id.ends_with(':') {
        return (format!("{id}:"), bytes(current));
    }
    (id.to_owned(), progress(current, total))
}

/// How far a part is: ` 3.62MB / 9.00MB`, ` 312B`, or nothing.
pub(crate) fn progress(current: u64, total: u64) -> String {
    if total != 0 {
        format!("{} / {}", bytes(current), bytes(total))
    } else if current != 0 {
        bytes(current)
    } else {
        String::new()
    }
}

/// The time in front of a line of output: the longer, the less exact.
pub(crate) fn log_time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let decimals = if seconds < 10.0 {
        3
    } else if seconds < 100.0 {
        2
    } else {
        1
    };
    format!("{seconds:.decimals$}")
}

/// A text, blanks, and another text at the right end of `width` columns.
pub(crate) fn align(left: &str, right: &str, width: usize) -> String {
    let room = width.saturating_sub(right.chars().count() + 1);
    format!("{left:<room$} {right}")
}

/// The first columns of a text.
pub(crate) fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

/// Output as it may be shown in one line of a terminal: without control characters, and of what was
/// overwritten by carriage returns only the last.
pub(crate) fn clean(line: &str) -> String {
    let line = line.trim_end_matches('\r');
    let last = line.rsplit('\r').next().unwrap_or(line);
    let mut out = String::with_capacity(last.len());
    let mut letters = last.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' => {
                // A sequence `ESC [ … letter`, or `ESC` and one letter.
                if letters.next_if_eq(&'[').is_some() {
                    while letters.next_if(|next| !('@'..='~').contains(next)).is_some() {}
                }
                letters.next();
            }
            '\t' => out.push_str("    "),
            control if control.is_control() => {}
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (count, text) in
            [(0, "0B"), (999, "999B"), (1000, "1.00kB"), (3_620_000, "3.62MB"), (999_999, "1.00MB")]
        {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(progress(5, 0), "5B");
        assert_eq!(progress(0, 0), "");
        assert_eq!(progress(0, 2000), "0B / 2.00kB");
        for (ms, text) in [(123, "0.123"), (12_345, "12.35"), (123_456, "123.5")] {
            assert_eq!(log_time(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn lines() {
        assert_eq!(align("ab", "1s", 8), "ab    1s");
        assert_eq!(align("abcdefgh", "1s", 4), "abcdefgh 1s");
        assert_eq!(clean("10%\r20%\r"), "20%");
        assert_eq!(clean("\u{1b}[31mred\u{1b}[0m\tx\u{7}"), "red    x");
    }
}
