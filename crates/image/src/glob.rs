//! Shell patterns on paths: `*` and `?` stay within one component, `[a-c]`, `[^x]`, `\x`.

/// Whether the whole text matches; a malformed pattern matches nothing.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut position) = (0, 0);
    // Where to go on when the text after the last `*` turns out not to match.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&'*') {
            at += 1;
            retry = Some((at, position));
            continue;
        }
        if position == text.len() && at == pattern.len() {
            return true;
        }
        let step = text.get(position).and_then(|letter| one(&pattern, at, *letter));
        if let Some(next) = step {
            at = next;
            position += 1;
            continue;
        }
        match retry {
            Some((after_star, from)) if text.get(from).is_some_and(|letter| *letter != '/') => {
                at = after_star;
                position = from + 1;
                retry = Some((after_star, position));
            }
            _ => return false,
        }
    }
}

/// Where the pattern goes on if its element at `at` matches the letter.
fn one(pattern: &[char], at: usize, letter: char) -> Option<usize> {
    match *pattern.get(at)? {
        '?' => (letter != '/').then_some(at + 1),
        '[' => class(pattern, at + 1, letter),
        '\\' => (*pattern.get(at + 1)? == letter).then_some(at + 2),
        exact => (exact == letter).then_some(at + 1),
    }
}

fn class(pattern: &[char], mut at: usize, letter: char) -> Option<usize> {
    let negated = pattern.get(at) == Some(&'^');
    at += usize::from(negated);
    let mut found = false;
    let mut first = true;
    loop {
        if pattern.get(at) == Some(&']') && !first {
            return (found != negated && letter != '/').then_some(at + 1);
        }
        first = false;
        let low = literal(pattern, &mut at)?;
        let high = if pattern.get(at) == Some(&'-') {
            at += 1;
            literal(pattern, &mut at)?
        } else {
            low
        };
        found |= (low..=high).contains(&letter);
    }
}

fn literal(pattern: &[char], at: &mut usize) -> Option<char> {
    if pattern.get(*at) == Some(&'\\') {
        *at += 1;
    }
    let letter = *pattern.get(*at)?;
    *at += 1;
    Some(letter)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_components() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "", true),
            ("*", "postgres", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("*:1?", "db:17", true),
            ("*:1?", "db:1", false),
            ("po*es", "postgres", true),
            ("po*ex", "postgres", false),
            ("a*b*c", "a-b-b-c", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("[", "[", false),
            ("[a", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
