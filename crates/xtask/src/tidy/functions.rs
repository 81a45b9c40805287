//! Length of functions: at most 70 lines from `fn` to the closing brace, tests excepted.

use super::source::{Source, line_of, words};

/// Lines that a function may have, signature and braces included.
pub(super) const MAX_FUNCTION_LINES: usize = 70;

/// Name, first line and length of each function that is too long.
pub(super) fn too_long(source: &Source) -> Vec<(String, usize, usize)> {
    let tests = source.test_items();
    words(&source.code, "fn")
        .filter(|position| !tests.iter().any(|range| range.contains(position)))
        .filter_map(|position| measure(source, position))
        .filter(|(_, _, lines)| *lines > MAX_FUNCTION_LINES)
        .collect()
}

/// Name, first line and length of the function whose `fn` stands at `position`; `None` for a
/// function type and for a declaration without a body.
fn measure(source: &Source, position: usize) -> Option<(String, usize, usize)> {
    let code = &source.code;
    let rest = code[position + 2..].trim_start();
    let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    if name.is_empty() {
        return None;
    }
    let end = source.item_end(position);
    if !code[..end].ends_with('}') {
        return None;
    }
    let first = line_of(code, position);
    Some((name, first, line_of(code, end) - first + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, lines: usize) -> String {
        let body = "    let text = \"}\"; // }\n".repeat(lines - 2);
        format!("fn {name}(of: fn(u8) -> u8) {{\n{body}}}\n")
    }

    #[test]
    fn measures_bodies_with_braces_in_strings_and_comments() {
        let text = format!("{}{}", function("fits", 70), function("long", 71));
        assert_eq!(too_long(&Source::new(&text)), [("long".to_owned(), 71, 71)]);
    }

    #[test]
    fn leaves_tests_and_declarations_alone() {
        let long = function("long", 90);
        let text = format!("trait T {{ fn a(&self); }}\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
        assert_eq!(too_long(&Source::new(&text)), []);
    }
}
