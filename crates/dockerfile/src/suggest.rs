//! "did you mean …?": the nearest of a few known names.

/// Whether names differ by case.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    /// They do.
    Sensitive,
    /// They don't; the suggestion takes the case of what was written.
    Ignored,
}

/// A name further away than this is no suggestion.
const MAX_DISTANCE: usize = 2;
/// Longer words are compared with nothing: the work is quadratic.
const MAX_LEN: usize = 200;

/// Appends ` (did you mean X?)` where one of the names is near.
pub(crate) fn with_suggestion<'a>(
    text: String,
    written: &str,
    names: impl IntoIterator<Item = &'a str>,
    case: Case,
) -> String {
    match nearest(written, names, case) {
        Some(name) => format!("{text} (did you mean {name}?)"),
        None => text,
    }
}

/// The nearest of the names; none where one of them is what was written.
pub(crate) fn nearest<'a>(
    written: &str,
    names: impl IntoIterator<Item = &'a str>,
    case: Case,
) -> Option<String> {
    let fold = |text: &str| match case {
        Case::Sensitive => text.to_owned(),
        Case::Ignored => text.to_lowercase(),
    };
    let wanted = fold(written);
    if wanted.len() > MAX_LEN {
        return None;
    }
    let mut best: Option<(usize, String)> = None;
    for name in names {
        let name = fold(name);
        if name == wanted {
            return None;
        }
        let distance = distance(&wanted, &name);
        if distance <= best.as_ref().map_or(MAX_DISTANCE, |(least, _)| least.saturating_sub(1)) {
            best = Some((distance, name));
        }
    }
    let (_, name) = best?;
    Some(match case {
        Case::Ignored if written == written.to_uppercase() => name.to_uppercase(),
        Case::Ignored | Case::Sensitive => name,
    })
}

/// Levenshtein's distance.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, letter) in left.chars().enumerate() {
        let mut diagonal = line;
        let mut before = line + 1;
        let mut next = vec![before];
        for (above, other) in row.iter().skip(1).zip(&right) {
            let cost = (diagonal + usize::from(*other != letter)).min(above + 1).min(before + 1);
            diagonal = *above;
            before = cost;
            next.push(cost);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_in_the_case_of_the_word() {
        let names = ["run", "copy", "cmd", "env"];
        for (word, expected) in [
            ("RUNN", Some("RUN")),
            ("coppy", Some("copy")),
            ("EN", Some("ENV")),
            ("RUN", None),
            ("FROBNICATE", None),
        ] {
            assert_eq!(nearest(word, names, Case::Ignored).as_deref(), expected, "{word}");
        }
        assert_eq!(
            with_suggestion(
                "unknown flag: --form".into(),
                "form",
                ["from", "chown"],
                Case::Sensitive
            ),
            "unknown flag: --form (did you mean from?)"
        );
    }

    #[test]
    fn distances() {
        for (left, right, expected) in
            [("", "", 0), ("a", "", 1), ("", "abc", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(left, right), expected, "{left} {right}");
        }
    }
}
