//! Go's `fmt`: `print`, `println` and `printf` over template values.

use crate::value::Value;

/// Widest field and highest precision: a template must not be able to ask for gigabytes.
const WIDTH_MAX: usize = 4096;

/// `print`: a space between two operands of which neither is a text.
pub(crate) fn print(values: &[Value]) -> String {
    let mut out = String::new();
    for (at, value) in values.iter().enumerate() {
        let is_text = |value: &Value| value.as_text().is_some();
        let before = at.checked_sub(1).and_then(|before| values.get(before));
        if before.is_some_and(|before| !is_text(before) && !is_text(value)) {
            out.push(' ');
        }
        out.push_str(&value.go_text());
    }
    out
}

/// `println`: a space between all operands, a new line at the end.
pub(crate) fn println(values: &[Value]) -> String {
    values.iter().map(Value::go_text).collect::<Vec<_>>().join(" ") + "\n"
}

/// Flags, width and precision of a verb.
#[derive(Default)]
struct Spec {
    left: bool,
    zero: bool,
    plus: bool,
    space: bool,
    width: usize,
    precision: Option<usize>,
}

/// `printf`.
pub(crate) fn printf(format: &str, values: &[Value]) -> String {
    let mut out = String::new();
    let mut letters = format.chars().peekable();
    let mut values_left = values.iter();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = letters.next_if(|letter| "-0+# ".contains(*letter)) {
            match flag {
                '-' => spec.left = true,
                '0' => spec.zero = true,
                '+' => spec.plus = true,
                ' ' => spec.space = true,
                // `#` asks for Go's own notation, which few values have here.
                _ => {}
            }
        }
        let mut number = |letters: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            if letters.next_if_eq(&'*').is_some() {
                return match values_left.next() {
                    Some(Value::Int(width)) => usize::try_from(*width).unwrap_or(0).min(WIDTH_MAX),
                    _ => 0,
                };
            }
            let mut number = 0_usize;
            while let Some(digit) = letters.next_if(char::is_ascii_digit) {
                let digit = digit.to_digit(10).unwrap_or(0) as usize;
                number = number.saturating_mul(10).saturating_add(digit);
            }
            number.min(WIDTH_MAX)
        };
        spec.width = number(&mut letters);
        if letters.next_if_eq(&'.').is_some() {
            spec.precision = Some(number(&mut letters));
        }
        match letters.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match values_left.next() {
                None => out.push_str(&format!("%!{verb}(MISSING)")),
                Some(value) => out.push_str(&formatted(verb, value, &spec)),
            },
        }
    }
    let extra: Vec<String> =
        values_left.map(|value| format!("{}={}", value.type_name(), value.go_text())).collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

fn formatted(verb: char, value: &Value, spec: &Spec) -> String {
    // Verbs for texts and numbers go into lists.
    if let Value::List(list) = value
        && !matches!(verb, 'T' | 'v')
    {
        let items: Vec<String> =
            list.items.iter().map(|item| formatted(verb, item, spec)).collect();
        return format!("[{}]", items.join(" "));
    }
    if let Some(text) = number(verb, value, spec) {
        return text;
    }
    match (verb, value) {
        ('T', value) => padded(value.type_name(), spec),
        ('t' | 'v', Value::Bool(flag)) => padded(&flag.to_string(), spec),
        ('q', value) if value.as_text().is_some() => {
            padded(&quoted(value.as_text().unwrap_or_default()), spec)
        }
        ('x' | 'X', value) if value.as_text().is_some() => {
            let bytes = value.as_text().unwrap_or_default().bytes();
            let digits: String = match verb {
                'x' => bytes.map(|byte| format!("{byte:02x}")).collect(),
                _ => bytes.map(|byte| format!("{byte:02X}")).collect(),
            };
            padded(&digits, spec)
        }
        ('s' | 'v', value) if value.as_text().is_some() => {
            let text = value.as_text().unwrap_or_default();
            match spec.precision {
                Some(most) => padded(&text.chars().take(most).collect::<String>(), spec),
                None => padded(text, spec),
            }
        }
        ('v' | 's', Value::Map(_) | Value::Struct(_) | Value::List(_)) => {
            padded(&value.go_text(), spec)
        }
        ('v', Value::Nil | Value::NilPointer(_)) => padded("<nil>", spec),
        (verb, Value::Nil | Value::NilPointer(_)) => format!("%!{verb}(<nil>)"),
        (verb, value) => format!("%!{verb}({}={})", value.type_name(), value.go_text()),
    }
}

/// A number by a verb for numbers.
fn number(verb: char, value: &Value, spec: &Spec) -> Option<String> {
    let sign = |negative: bool| match (negative, spec.plus, spec.space) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        (false, false, false) => "",
    };
    let integer = |number: i64, digits: String| {
        let digits = format!("{digits:0>width$}", width = spec.precision.unwrap_or(0));
        numeric(sign(number < 0), &digits, spec)
    };
    Some(match (verb, value) {
        ('d' | 'v', Value::Int(number)) => integer(*number, number.unsigned_abs().to_string()),
        ('x', Value::Int(number)) => integer(*number, format!("{:x}", number.unsigned_abs())),
        ('X', Value::Int(number)) => integer(*number, format!("{:X}", number.unsigned_abs())),
        ('o', Value::Int(number)) => integer(*number, format!("{:o}", number.unsigned_abs())),
        ('b', Value::Int(number)) => integer(*number, format!("{:b}", number.unsigned_abs())),
        ('c', Value::Int(number)) => {
            let letter = u32::try_from(*number).ok().and_then(char::from_u32).unwrap_or('\u{FFFD}');
            padded(&letter.to_string(), spec)
        }
        ('f' | 'F', Value::Float(number)) => {
            let digits = format!("{:.*}", spec.precision.unwrap_or(6), number.abs());
            numeric(sign(number.is_sign_negative()), &digits, spec)
        }
        ('e', Value::Float(number)) => {
            let digits = format!("{:.*e}", spec.precision.unwrap_or(6), number.abs());
            let (digits, power) = digits.split_once('e').unwrap_or((&digits, "0"));
            let (up, power) = power.strip_prefix('-').map_or(('+', power), |power| ('-', power));
            let digits = format!("{digits}e{up}{power:0>2}");
            numeric(sign(number.is_sign_negative()), &digits, spec)
        }
        ('g' | 'v', Value::Float(number)) => {
            numeric(sign(number.is_sign_negative()), &Value::Float(number.abs()).go_text(), spec)
        }
        _ => return None,
    })
}

/// A number: zeros go between its sign and its digits.
fn numeric(sign: &str, digits: &str, spec: &Spec) -> String {
    let room = spec.width.saturating_sub(sign.len());
    if spec.zero && !spec.left && spec.precision.is_none() {
        return format!("{sign}{digits:0>room$}");
    }
    padded(&format!("{sign}{digits}"), spec)
}

fn padded(text: &str, spec: &Spec) -> String {
    let width = spec.width;
    match (spec.left, spec.zero) {
        (true, _) => format!("{text:<width$}"),
        (false, true) => format!("{text:0>width$}"),
        (false, false) => format!("{text:>width$}"),
    }
}

/// A text in quotes, as Go writes it.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            letter if letter.is_control() && u32::from(letter) < 0x80 => {
                out.push_str(&format!("\\x{:02x}", u32::from(letter)));
            }
            letter if letter.is_control() => {
                out.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_flags_and_mistakes() {
        let text = |text: &str| Value::text(text);
        for (format, values, want) in [
            ("%s|%v|%q", vec![text("a"), text("b"), text("c\"d")], "a|b|\"c\\\"d\""),
            ("%5d|%-5d|%05d|%+d", [42; 4].map(Value::Int).to_vec(), "   42|42   |00042|+42"),
            ("%x %X %o %b", [255; 4].map(Value::Int).to_vec(), "ff FF 377 11111111"),
            ("%8s|%-8s|%.2s", ["abc"; 3].map(text).to_vec(), "     abc|abc     |ab"),
            ("%.2f %f %v", [1.5; 3].map(Value::Float).to_vec(), "1.50 1.500000 1.5"),
            ("%t %v", vec![Value::Bool(true), Value::Bool(false)], "true false"),
            ("%d", vec![text("a")], "%!d(string=a)"),
            ("%s", vec![Value::Int(3)], "%!s(int=3)"),
            ("%s %s", vec![text("a")], "a %!s(MISSING)"),
            ("a", vec![Value::Int(1)], "a%!(EXTRA int=1)"),
            ("100%%", vec![], "100%"),
            ("%", vec![], "%!(NOVERB)"),
            ("%T %v", vec![text("a"), Value::Nil], "string <nil>"),
            ("%*d", vec![Value::Int(4), Value::Int(7)], "   7"),
            ("%99999999d", vec![Value::Int(7)], &format!("{:>4096}", 7)),
            ("%x", vec![text("hi")], "6869"),
        ] {
            assert_eq!(printf(format, &values), want, "{format}");
        }
    }
}
