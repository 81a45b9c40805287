//! `RUN --mount=…`: its fields, its rules and its texts.
//!
//! Fields may hold variables, so they are judged when the instruction is expanded; only `from` is
//! looked at before, since the stages that a build needs must be known by then.

use crate::error::Error;
use crate::quote::go_quoted;
use crate::suggest::{Case, with_suggestion};

/// A `--mount` flag before expansion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountFlag {
    /// The text after `--mount=`.
    pub text: String,
    /// The stage, image or context of its `from` field.
    pub from: Option<String>,
}

/// The type of a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MountType {
    /// A directory of the context, a stage or an image.
    #[default]
    Bind,
    /// A directory that later builds find again.
    Cache,
    /// An empty directory in memory.
    Tmpfs,
    /// A secret of the caller.
    Secret,
    /// The caller's ssh agent.
    Ssh,
}

impl MountType {
    /// The name as written in `type=`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "bind" => Some(Self::Bind),
            "cache" => Some(Self::Cache),
            "tmpfs" => Some(Self::Tmpfs),
            "secret" => Some(Self::Secret),
            "ssh" => Some(Self::Ssh),
            _ => None,
        }
    }
}

/// How steps share a cache mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Several steps at once.
    Shared,
    /// Each step that runs at the same time gets its own.
    Private,
    /// One step after the other.
    Locked,
}

/// An expanded and checked mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// `type`.
    pub kind: MountType,
    /// `from`, empty for the build context (bind) or an empty directory (cache).
    pub from: String,
    /// `source`.
    pub source: String,
    /// `target`, possibly relative to the working directory.
    pub target: String,
    /// Whether it can't be written; the default of the type unless given.
    pub read_only: bool,
    /// `size` of a tmpfs in bytes, 0 for the default.
    pub size_bytes: i64,
    /// `id`.
    pub id: String,
    /// `sharing`, where it was given.
    pub sharing: Option<Sharing>,
    /// `required`.
    pub required: bool,
    /// `env`: the variable that holds the secret.
    pub env: Option<String>,
    /// `mode`.
    pub mode: Option<u32>,
    /// `uid`.
    pub uid: Option<u32>,
    /// `gid`.
    pub gid: Option<u32>,
}

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

impl MountFlag {
    /// Looks at a flag's text as far as it can be before expansion.
    ///
    /// # Errors
    /// The text is no list of fields, or `from` holds a variable.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let mut from = None;
        for field in fields(text, "mounts")? {
            let Some((key, value)) = field.split_once('=') else { continue };
            if key.to_lowercase() != "from" {
                continue;
            }
            if value.find('$').is_some_and(|at| at + 1 != value.len()) {
                return Err(Error::new(
                    "'from' doesn't support variable expansion, define alias stage instead",
                )
                .at_word(&field));
            }
            from = Some(value.to_owned());
        }
        Ok(Self { text: text.to_owned(), from: from.filter(|from| !from.is_empty()) })
    }

    /// Reads the flag with `expand` applied to every value.
    ///
    /// # Errors
    /// Every rule of the reference's table of `RUN --mount`, with BuildKit's texts.
    pub fn resolve(
        &self,
        expand: &mut dyn FnMut(&str) -> Result<String, Error>,
    ) -> Result<Mount, Error> {
        let mut mount = Mount::default();
        let mut read_only = None;
        for field in fields(&self.text, "mounts")? {
            let set = match field.split_once('=') {
                None => bare_field(&mut mount, &mut read_only, &field),
                Some((key, value)) => {
                    let value = expand(value)?;
                    keyed_field(&mut mount, &mut read_only, &key.to_lowercase(), &value, &field)
                }
            };
            set.map_err(|error| error.at_word(&field))?;
        }
        finish(mount, read_only)
    }
}

/// Splits the fields of a flag.
pub(crate) fn fields(text: &str, what: &str) -> Result<Vec<String>, Error> {
    csv_fields(text).map_err(|error| error.within(&format!("failed to parse csv {what}: ")))
}

/// Splits a line of comma-separated fields, which may be quoted, the way BuildKit does.
///
/// # Errors
/// Quotes in the wrong places, and an empty line.
pub fn csv_fields(text: &str) -> Result<Vec<String>, Error> {
    let failed = |why: &str| Error::new(why);
    let line = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    if line.is_empty() {
        return Err(failed("EOF"));
    }
    let mut out = Vec::new();
    let mut rest = line;
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let (field, after) =
                rest.split_once(',').map_or((rest, None), |(field, after)| (field, Some(after)));
            if let Some(at) = field.find('"') {
                let column = line.len() - rest.len() + at + 1;
                return Err(failed(&format!(
                    "parse error on line 1, column {column}: bare \" in non-quoted field"
                )));
            }
            out.push(field.to_owned());
            let Some(after) = after else { return Ok(out) };
            rest = after;
            continue;
        };
        let mut field = String::new();
        let mut tail = quoted;
        loop {
            let Some((part, after)) = tail.split_once('"') else {
                let column = line.len() - tail.len() + 1;
                return Err(failed(&format!(
                    "parse error on line 1, column {column}: extraneous or missing \" in quoted-field"
                )));
            };
            field.push_str(part);
            if let Some(more) = after.strip_prefix('"') {
                field.push('"');
                tail = more;
                continue;
            }
            out.push(std::mem::take(&mut field));
            if after.is_empty() {
                return Ok(out);
            }
            let Some(next) = after.strip_prefix(',') else {
                let column = line.len() - after.len();
                return Err(failed(&format!(
                    "parse error on line 1, column {column}: extraneous or missing \" in quoted-field"
                )));
            };
            rest = next;
            break;
        }
    }
}

/// A field without `=`.
fn bare_field(mount: &mut Mount, read_only: &mut Option<bool>, field: &str) -> Result<(), Error> {
    match field.to_lowercase().as_str() {
        "readonly" | "ro" => *read_only = Some(true),
        "readwrite" | "rw" => *read_only = Some(false),
        "required" => {
            required_allowed(mount, "required")?;
            mount.required = true;
        }
        _ => {
            return Err(Error::new(format!("invalid field '{field}' must be a key=value pair")));
        }
    }
    Ok(())
}

fn required_allowed(mount: &Mount, key: &str) -> Result<(), Error> {
    if matches!(mount.kind, MountType::Secret | MountType::Ssh) {
        return Ok(());
    }
    Err(unexpected_for(key, mount.kind))
}

fn unexpected_for(key: &str, kind: MountType) -> Error {
    Error::new(format!("unexpected key '{key}' for mount type '{}'", kind.name()))
}

/// A field `key=value`, its value expanded.
fn keyed_field(
    mount: &mut Mount,
    read_only: &mut Option<bool>,
    key: &str,
    value: &str,
    field: &str,
) -> Result<(), Error> {
    let invalid = || Error::new(format!("invalid value for {key}: {value}"));
    match key {
        "type" => {
            mount.kind = MountType::parse(&value.to_lowercase()).ok_or_else(|| {
                let names = ["bind", "cache", "tmpfs", "secret", "ssh"];
                let text = format!("unsupported mount type {}", go_quoted(value));
                Error::new(with_suggestion(text, value, names, Case::Sensitive))
            })?;
        }
        "from" => value.clone_into(&mut mount.from),
        "source" | "src" => value.clone_into(&mut mount.source),
        "target" | "dst" | "destination" => value.clone_into(&mut mount.target),
        "readonly" | "ro" => *read_only = Some(go_bool(value).ok_or_else(invalid)?),
        "readwrite" | "rw" => *read_only = Some(!go_bool(value).ok_or_else(invalid)?),
        "required" => {
            required_allowed(mount, key)?;
            mount.required = go_bool(value).ok_or_else(invalid)?;
        }
        "size" => {
            if mount.kind != MountType::Tmpfs {
                return Err(unexpected_for(key, mount.kind));
            }
            mount.size_bytes = orlop_types::size::parse_ram_bytes(value).map_err(|_| invalid())?;
        }
        "id" => value.clone_into(&mut mount.id),
        "sharing" => {
            mount.sharing = Some(match value.to_lowercase().as_str() {
                "shared" => Sharing::Shared,
                "private" => Sharing::Private,
                "locked" => Sharing::Locked,
                _ => {
                    let names = ["shared", "private", "locked"];
                    let text = format!("unsupported sharing value {}", go_quoted(value));
                    return Err(Error::new(with_suggestion(text, value, names, Case::Sensitive)));
                }
            });
        }
        "mode" => mount.mode = Some(number(value, 8, key)?),
        "uid" => mount.uid = Some(number(value, 10, key)?),
        "gid" => mount.gid = Some(number(value, 10, key)?),
        "env" => mount.env = Some(value.to_owned()),
        _ => {
            let text = format!("unexpected key '{key}' in '{field}'");
            return Err(Error::new(with_suggestion(text, key, KEYS, Case::Sensitive)));
        }
    }
    Ok(())
}

fn number(value: &str, radix: u32, key: &str) -> Result<u32, Error> {
    let digits_only = value.bytes().all(|byte| byte.is_ascii_digit());
    u32::from_str_radix(value, radix)
        .ok()
        .filter(|_| digits_only)
        .ok_or_else(|| Error::new(format!("invalid value {value} for {key}")))
}

/// Go's `strconv.ParseBool`.
pub(crate) fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The rules that need all fields.
fn finish(mut mount: Mount, read_only: Option<bool>) -> Result<Mount, Error> {
    let kind = mount.kind;
    if !matches!(kind, MountType::Secret | MountType::Ssh | MountType::Cache) {
        let given = [
            ("mode", mount.mode.is_some()),
            ("uid", mount.uid.is_some()),
            ("gid", mount.gid.is_some()),
        ];
        if let Some((key, _)) = given.iter().find(|(_, given)| *given) {
            return Err(Error::new(format!(
                "{key} not allowed for \"{}\" type mounts",
                kind.name()
            )));
        }
    }
    mount.read_only = read_only.unwrap_or(!matches!(kind, MountType::Cache | MountType::Tmpfs));
    if kind == MountType::Secret {
        if !mount.from.is_empty() {
            return Err(Error::new("secret mount should not have a from"));
        }
        if mount.sharing.is_some() {
            return Err(Error::new("secret mount should not define sharing"));
        }
        if mount.source.is_empty() && mount.target.is_empty() && mount.id.is_empty() {
            return Err(Error::new("invalid secret mount. one of source, target required"));
        }
        if !mount.source.is_empty() && !mount.id.is_empty() {
            return Err(Error::new("both source and id can't be set"));
        }
    }
    if mount.sharing.is_some() && kind != MountType::Cache {
        return Err(Error::new(format!("invalid cache sharing set for {} mount", kind.name())));
    }
    Ok(mount)
}

#[cfg(test)]
#[path = "mount_tests.rs"]
mod tests;
