//! Links in Markdown files lead somewhere: to a file of the tree, or to a heading of the same file.

use std::path::{Component, Path, PathBuf};

use super::Finding;

/// Checks the links of one Markdown file; `exists` answers for a path from the workspace's root.
pub(super) fn check(path: &Path, text: &str, exists: &dyn Fn(&Path) -> bool) -> Vec<Finding> {
    let headings: Vec<String> = text.lines().filter_map(heading).collect();
    let mut found = Vec::new();
    for (line, target) in links(text) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (file, anchor) = target.split_once('#').unwrap_or((target.as_str(), ""));
        let message = if !file.is_empty() {
            let base = path.parent().unwrap_or(Path::new(""));
            match normalise(&base.join(file)) {
                Some(place) if exists(&place) => None,
                _ => Some(format!("the link `{target}` leads nowhere")),
            }
        } else if !headings.iter().any(|heading| heading == anchor) {
            Some(format!("no heading of this file is `#{anchor}`"))
        } else {
            None
        };
        found.extend(message.map(|message| Finding { file: path.to_path_buf(), line, message }));
    }
    found
}

/// Targets of inline links with their lines, outside code blocks and code spans.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        // Every second piece between backquotes is code.
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for piece in prose.split("](").skip(1) {
            if let Some((target, _)) = piece.split_once(')') {
                found.push((index + 1, target.trim().to_owned()));
            }
        }
    }
    found
}

/// Anchor of a heading line, as code hosts make it.
fn heading(line: &str) -> Option<String> {
    let title = line.strip_prefix('#')?.trim_start_matches('#').trim();
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    Some(kept.collect::<String>().to_lowercase().replace(' ', "-"))
}

/// Resolves `.` and `..` by name; `None` for a path that leaves the tree.
fn normalise(path: &Path) -> Option<PathBuf> {
    let mut place = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => place.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !place.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        let exists = |place: &Path| {
            ["README.md", "docs/compat.md", "docs"].iter().any(|known| place == Path::new(known))
        };
        check(Path::new(path), text, &exists).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn follows_links_from_the_files_own_folder() {
        assert_eq!(lines("README.md", "[a](docs/compat.md) [b](docs/)\n[c](compat.md)\n"), [2]);
        assert_eq!(
            lines("docs/README.md", "[a](compat.md#x)\n[b](../README.md)\n[c](../../README.md)\n"),
            [3]
        );
    }

    #[test]
    fn skips_addresses_and_code() {
        let text = "[a](https://example.org/x) `[b](none)`\n```\n[c](none)\n```\n[d](none)\n";
        assert_eq!(lines("README.md", text), [5]);
    }

    #[test]
    fn finds_headings() {
        assert_eq!(
            lines("README.md", "## The `house`, rows\n[a](#the-house-rows)\n[b](#roof)\n"),
            [3]
        );
    }
}
