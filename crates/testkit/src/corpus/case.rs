//! The format of the corpus's case files.
//!
//! ```text
//! # A comment.
//! === title of a case
//! build: --build-arg A=1 .      what stands behind `docker build`; `.` when there is no such line
//! setup: chmod 4755 f           a shell line before the build, in the context; may be repeated
//! env: NAME=value               in the environment of both; may be repeated
//! show: mtime                   times of files count
//! show: created                 times of the configuration count
//! result: local                 the build writes `../out`, a folder, instead of an image; or `tar`
//! classic: REASON               why the classic builder's result differs or is not asked for
//! differs: ROW                  the row of `docs/compat.md` that says why ours differs
//! --- Dockerfile                a file of the context, up to the next such line
//! FROM busybox
//! --- ../www/f                  a file beside the context; `../www` is served by HTTP
//! --- dir/ 0700                 a directory
//! --- script 0755               a mode that is not 0644
//! --- link -> target            a symbolic link
//! ```

/// A file of the folder that a case is played in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path from the context.
    pub path: String,
    /// Mode, when it is said.
    pub mode: Option<u32>,
    /// What it is.
    pub kind: EntryKind,
}

/// What an [`Entry`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file with this content.
    File(String),
    /// A directory.
    Directory,
    /// A symbolic link to this target.
    Link(String),
}

/// Where the result of a build lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// In the image that the build has tagged.
    #[default]
    Image,
    /// In the folder `../out`.
    Folder,
    /// In the archive `../out`.
    Archive,
    /// Only what the build says counts.
    Nowhere,
}

/// One build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Case {
    /// What stands behind `===`.
    pub title: String,
    /// The line of its file that it begins at, counted from 1.
    pub number: usize,
    /// Words of `docker build`, for the shell.
    pub build: Option<String>,
    /// Shell lines before it.
    pub setup: Vec<String>,
    /// Variables of the environment.
    pub env: Vec<(String, String)>,
    /// Whether times of files count.
    pub mtime: bool,
    /// Whether times of the configuration count.
    pub created: bool,
    /// Where the result is.
    pub place: Place,
    /// Why the classic builder differs.
    pub classic: Option<String>,
    /// The row of `docs/compat.md` that says why ours differs.
    pub differs: Option<String>,
    /// Files, in order.
    pub entries: Vec<Entry>,
}

/// Reads a case file.
///
/// # Errors
/// The first line that makes no sense, with its number.
pub fn parse(text: &str) -> Result<Vec<Case>, String> {
    let mut cases: Vec<Case> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let wrong = |why: &str| format!("line {number}: {why}: {line}");
        if let Some(title) = line.strip_prefix("=== ") {
            if cases.iter().any(|case| case.title == title) {
                return Err(wrong("a second case with one title"));
            }
            cases.push(Case { title: title.to_owned(), number, ..Case::default() });
            continue;
        }
        let Some(case) = cases.last_mut() else {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            return Err(wrong("no case has begun"));
        };
        if let Some(header) = line.strip_prefix("--- ") {
            case.entries.push(entry(header).map_err(|why| wrong(&why))?);
        } else if let Some(last) = case.entries.last_mut() {
            match &mut last.kind {
                EntryKind::File(content) => {
                    content.push_str(line);
                    content.push('\n');
                }
                _ if line.is_empty() => {}
                _ => return Err(wrong("it has no content")),
            }
        } else if !line.is_empty() && !line.starts_with('#') {
            case.setting(line).map_err(|why| wrong(&why))?;
        }
    }
    for entry in cases.iter_mut().flat_map(|case| &mut case.entries) {
        // The empty line before the next case.
        if let EntryKind::File(content) = &mut entry.kind
            && let Some(shorter) = content.strip_suffix("\n\n")
        {
            *content = format!("{shorter}\n");
        }
    }
    Ok(cases)
}

impl Case {
    fn setting(&mut self, line: &str) -> Result<(), String> {
        let (key, value) = line.split_once(": ").ok_or("want `KEY: VALUE`")?;
        let value = value.to_owned();
        match key {
            "build" => self.build = Some(value),
            "setup" => self.setup.push(value),
            "env" => {
                let (name, value) = value.split_once('=').ok_or("want NAME=value")?;
                self.env.push((name.to_owned(), value.to_owned()));
            }
            "show" if value == "mtime" => self.mtime = true,
            "show" if value == "created" => self.created = true,
            "result" => {
                self.place = match value.as_str() {
                    "local" => Place::Folder,
                    "tar" => Place::Archive,
                    "none" => Place::Nowhere,
                    _ => return Err("want local, tar or none".to_owned()),
                }
            }
            "classic" => self.classic = Some(value),
            "differs" => self.differs = Some(value),
            _ => return Err(format!("there is no setting `{key}`")),
        }
        Ok(())
    }
}

fn entry(header: &str) -> Result<Entry, String> {
    if let Some((path, target)) = header.split_once(" -> ") {
        let kind = EntryKind::Link(target.to_owned());
        return Ok(Entry { path: path.to_owned(), mode: None, kind });
    }
    let (path, mode) = match header.rsplit_once(' ') {
        Some((path, digits)) if digits.starts_with('0') => {
            let mode = u32::from_str_radix(digits, 8).map_err(|_| "want a mode in octal")?;
            (path, Some(mode))
        }
        _ => (header, None),
    };
    Ok(match path.strip_suffix('/') {
        Some(path) => Entry { path: path.to_owned(), mode, kind: EntryKind::Directory },
        None => Entry { path: path.to_owned(), mode, kind: EntryKind::File(String::new()) },
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_case() {
        let text = "# about\n\n=== one\nbuild: -q .\nsetup: a\nsetup: b\nshow: mtime\n--- Dockerfile\nFROM scratch\n\n--- d/ 0700\n--- l -> t\n--- s 0755\nx\n\n=== two\ndiffers: Row\n--- Dockerfile\n";
        let cases = parse(text).unwrap();
        assert_eq!(cases.len(), 2);
        let one = &cases[0];
        assert_eq!((one.build.as_deref(), one.setup.len(), one.mtime), (Some("-q ."), 2, true));
        let kinds: Vec<_> = one.entries.iter().map(|entry| (&*entry.path, entry.mode)).collect();
        assert_eq!(
            kinds,
            [("Dockerfile", None), ("d", Some(0o700)), ("l", None), ("s", Some(0o755))]
        );
        assert_eq!(one.entries[0].kind, EntryKind::File("FROM scratch\n".to_owned()));
        assert_eq!(one.entries[3].kind, EntryKind::File("x\n".to_owned()));
        assert_eq!(cases[1].entries[0].kind, EntryKind::File(String::new()));
        assert_eq!(cases[1].differs.as_deref(), Some("Row"));
    }

    #[test]
    fn says_which_line_is_wrong() {
        for (text, why) in [
            ("x\n", "line 1: no case has begun"),
            ("=== a\n=== a\n", "line 2: a second case"),
            ("=== a\nodd: x\n", "line 2: there is no setting `odd`"),
            ("=== a\n--- d/\nx\n", "line 3: it has no content"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
    }
}
