//! The rules by which two answers count as the same.
//!
//! What changes with every run is replaced by a word in angle brackets; what `docs/compat.md` says
//! about every refusal (one line, no word on `--help`) is taken off Docker's. The rules give the
//! same when they are applied twice, so that goldens, which are stored after them, pass through
//! them again.

use std::path::Path;
use std::sync::OnceLock;

use regex::Regex;

use super::case::Answer;

/// The rules for one play: places of this machine, and what is the same everywhere.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    places: Vec<(String, &'static str)>,
    sizes: Vec<(String, &'static str)>,
}

impl Rules {
    /// Replaces a path of this machine; the first one that fits wins.
    #[must_use]
    pub fn place(mut self, path: &Path, word: &'static str) -> Self {
        self.places.push((path.display().to_string(), word));
        self
    }

    /// Replaces the size of the image, which differs from one build of its program to the next: in
    /// bytes, and as Docker writes it with three and with four digits. The words are as wide.
    #[must_use]
    pub fn image_size(mut self, bytes: u64) -> Self {
        self.sizes = vec![
            (bytes.to_string(), "<bytes>"),
            (megabytes(bytes, 4), "<size4>"),
            (megabytes(bytes, 3), "<size>"),
        ];
        self
    }

    /// An answer without what changes with every run.
    #[must_use]
    pub fn answer(&self, raw: &Answer) -> Answer {
        Answer {
            stdout: self.text(&raw.stdout),
            stderr: refusal(&self.text(&raw.stderr)),
            code: raw.code,
        }
    }

    fn text(&self, raw: &str) -> String {
        let mut text = raw.replace('\r', "");
        for (path, word) in &self.places {
            text = text.replace(path, word);
        }
        for words in LAYERS {
            text = text.replace(words, "");
        }
        for (pattern, word) in ids() {
            text = pattern.replace_all(&text, *word).into_owned();
        }
        for (size, word) in &self.sizes {
            text = text.replace(size, word);
        }
        // Times have no fixed width, and a table's columns are as wide as their widest cell.
        let mut timed = text.contains("<time>") || text.contains("<ago>");
        for (pattern, word) in times() {
            let next = pattern.replace_all(&text, *word).into_owned();
            timed |= next != text;
            text = next;
        }
        let wide = Regex::new("[^ ] {2,}[^ ]");
        if timed && wide.is_ok_and(|wide| wide.is_match(&text)) {
            text = text.lines().map(|line| squeezed(line) + "\n").collect();
        }
        // Spaces at the end of a line cannot be seen in a file.
        let ended = text.ends_with('\n');
        let mut lines: String =
            text.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
        if !ended {
            lines.pop();
        }
        lines
    }
}

/// A size of some megabytes with this many digits.
fn megabytes(bytes: u64, digits: usize) -> String {
    // Exact enough: an image has far less than 2^53 bytes.
    #[allow(clippy::cast_precision_loss)]
    let number = bytes as f64 / 1e6;
    let whole = format!("{number:.0}").len();
    let text = format!("{number:.*}", digits.saturating_sub(whole));
    format!("{}MB", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A line with each run of inner spaces made two; the indentation stays.
fn squeezed(line: &str) -> String {
    let body = line.trim_start_matches(' ');
    let (indent, _) = line.split_at(line.len() - body.len());
    let mut words = Vec::new();
    for part in body.split("  ") {
        let part = part.trim();
        if !part.is_empty() {
            words.push(part);
        }
    }
    format!("{indent}{}", words.join("  "))
}

type Replacements = Vec<(Regex, &'static str)>;

fn compiled(rules: &[(&str, &'static str)]) -> Replacements {
    let regex = |pattern| Regex::new(pattern).expect("the patterns below are valid");
    rules.iter().map(|(pattern, word)| (regex(pattern), *word)).collect()
}

/// What Docker's layers of programs say before the reason that a container did not start.
const LAYERS: &[&str] = &[
    "failed to create task for container: ",
    "failed to create shim task: ",
    "OCI runtime create failed: ",
    "runc create failed: ",
    "unable to start container process: ",
];

fn ids() -> &'static Replacements {
    static RULES: OnceLock<Replacements> = OnceLock::new();
    RULES.get_or_init(|| {
        compiled(&[
            (r"sha256:[0-9a-f]{64}\b", "sha256:<id>"),
            (r"\b[0-9a-f]{64}\b", "<id64>"),
            (r"\b[0-9a-f]{12}\b", "<id>"),
            (r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b", "<mac>"),
            // Docker's own ranges: which subnet is free depends on what ran before.
            (r"\b172\.(1[6-9]|2[0-9]|3[01])\.[0-9]{1,3}\.[0-9]{1,3}\b", "<ip>"),
            // The machine's.
            (
                "range of CPUs is from 0.01 to [0-9.]+, as there are only [0-9]+ CPUs",
                "range of CPUs is from 0.01 to <n>, as there are only <n> CPUs",
            ),
            (r"docker-import-[0-9]+", "docker-import-<n>"),
            (r"(CPUs are not available - requested \d+, available:) [0-9,-]+", "$1 <cpus>"),
            // A port that the engine chose.
            (r":(3[2-9]|[45][0-9]|6[0-5])[0-9]{3}\b", ":<port>"),
        ])
    })
}

fn times() -> &'static Replacements {
    static RULES: OnceLock<Replacements> = OnceLock::new();
    const SPAN: &str = r"(Less than a second|About a minute|About an hour|[0-9]+ (second|minute|hour|day|week|month|year)s?)";
    RULES.get_or_init(|| {
        compiled(&[
            (
                r"\b(20[0-9]{2}|19[0-9]{2})-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})",
                "<time>",
            ),
            (
                r"\b20[0-9]{2}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)? [+-][0-9]{4} [A-Z]+",
                "<time>",
            ),
            (&format!("{SPAN} ago"), "<ago>"),
            (&format!("Up {SPAN}"), "Up <ago>"),
        ])
    })
}

/// Standard error without the program's name and without what Docker puts after each refusal.
fn refusal(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.trim().is_empty() || after_a_refusal(line) {
            continue;
        }
        let named = line.strip_prefix("docker: ").or_else(|| line.strip_prefix("orlop: "));
        let line = named.map_or(line, without_verb);
        lines.push(line.strip_prefix("Error response from daemon: ").unwrap_or(line));
    }
    joined(&lines).iter().map(|line| format!("{line}\n")).collect()
}

/// Lines with a list of reasons made one: Docker writes each below a line that ends in a colon, we
/// write them behind it.
fn joined(lines: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut opened = false;
    for line in lines {
        match all.last_mut() {
            Some(before) if before.ends_with(':') || opened => {
                before.push_str(if before.ends_with(':') { " " } else { "; " });
                before.push_str(line.strip_prefix("* ").unwrap_or(line));
                opened = true;
            }
            _ => all.push((*line).to_owned()),
        }
    }
    all
}

/// A message of ours without the verb before it, which stands where Docker names its daemon.
fn without_verb(line: &str) -> &str {
    const GROUPS: &[&str] = &["container", "image", "network", "system", "volume"];
    let Some((words, message)) = line.split_once(": ") else { return line };
    let verb = match words.split_once(' ') {
        Some((group, verb)) if GROUPS.contains(&group) => verb,
        _ => words,
    };
    if VERBS.contains(&verb) { message } else { line }
}

/// Every verb that may stand before a message of ours.
const VERBS: &[&str] = &[
    "attach",
    "commit",
    "connect",
    "cp",
    "create",
    "df",
    "diff",
    "disconnect",
    "events",
    "exec",
    "explain",
    "export",
    "history",
    "images",
    "import",
    "info",
    "inspect",
    "kill",
    "load",
    "logs",
    "ls",
    "pause",
    "port",
    "prune",
    "ps",
    "rename",
    "restart",
    "rm",
    "rmi",
    "run",
    "save",
    "start",
    "stats",
    "stop",
    "tag",
    "top",
    "unpause",
    "update",
    "version",
    "wait",
];

/// Whether Docker, or we, say in this line where help is, how the command is used, or again that it
/// failed.
fn after_a_refusal(line: &str) -> bool {
    line.contains(" --help' for more information")
        || line.starts_with("See 'docker")
        || line.starts_with("Usage:  docker ")
        || line.starts_with("\tdocker ")
        || line.starts_with("For more help on how to use Docker")
        || line.starts_with("Error: failed to ")
        || line == "exit status 1"
        // A log line of Docker's client that comes or not, as the copy is cut off sooner or later.
        || line.contains("level=error msg=\"Can't add file ")
        || line.starts_with("hint: ")
        || line.starts_with("usage: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(stdout: &str) -> String {
        let rules = Rules::default().place(Path::new("/t/x/root"), "<root>");
        let raw = Answer { stdout: stdout.to_owned(), ..Answer::default() };
        let once = rules.answer(&raw);
        assert_eq!(rules.answer(&once), once, "applied twice");
        once.stdout
    }

    #[test]
    fn replaces_what_changes_with_every_run() {
        let id = "0123456789ab".repeat(6);
        for (raw, expected) in [
            (&id[..64], "<id64>"),
            (&format!("sha256:{}", &id[..64]), "sha256:<id>"),
            ("0123456789ab c", "<id> c"),
            ("0123456789abc", "0123456789abc"),
            ("2026-11-21T15:00:37.220840648Z x", "<time> x"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("/t/x/root/volumes/v/_data", "<root>/volumes/v/_data"),
            ("172.17.0.2 02:42:ac:11:00:02", "<ip> <mac>"),
            ("a   b", "a   b"),
            (
                "ID     CREATED     STATUS\n1      2 seconds ago   Up About a minute\n",
                "ID  CREATED  STATUS\n1  <ago>  Up <ago>\n",
            ),
            ("  a    Up 3 minutes\n", "  a  Up <ago>\n"),
        ] {
            assert_eq!(normal(raw), expected);
        }
    }

    #[test]
    fn replaces_the_size_of_the_image() {
        let rules = Rules::default().image_size(1_984_338);
        let text = "1984338 1.984MB   1.984MB (100%) 1.98MB 1.98kB";
        assert_eq!(rules.text(text), "<bytes> <size4>   <size4> (100%) <size> 1.98kB");
        assert_eq!(megabytes(2_100_000, 4), "2.1MB");
    }

    #[test]
    fn takes_off_what_stands_around_a_refusal() {
        let docker = "docker: Error response from daemon: no such thing\n\nRun 'docker run --help' for more information\n";
        assert_eq!(refusal(docker), "no such thing\n");
        let count = "docker: 'docker rm' requires at least 1 argument\n\nUsage:  docker rm [OPTIONS] CONTAINER [CONTAINER...]\n\nSee 'docker rm --help' for more information\n";
        assert_eq!(refusal(count), "'docker rm' requires at least 1 argument\n");
        let again = "Error response from daemon: no such thing\nError: failed to start containers: x\nexit status 1\n";
        assert_eq!(refusal(again), "no such thing\n");
        let list = "invalid settings:\n* no subnet\n* no address\n";
        assert_eq!(refusal(list), "invalid settings: no subnet; no address\n");
        assert_eq!(refusal("docker: volume rm: get x: none\n"), "get x: none\n");
        assert_eq!(refusal("docker: create x: too short\n"), "create x: too short\n");
        assert_eq!(refusal("orlop: no such thing\n"), "no such thing\n");
    }
}
