//! `--mount`: one line of comma-separated `key=value` fields, read into Docker's `Mount`.
//!
//! Quoting is that of a CSV line, so that a value may hold commas:
//! `type=volume,dst=/b,"volume-opt=o=addr=1.2.3.4,rw"`.

use crate::config::{BindOptions, DriverConfig, ImageOptions, Mount, TmpfsOptions, VolumeOptions};
use crate::error::ParseError;
use crate::mount::absolute_source;
use crate::size::parse_ram_bytes;

/// Parses a `--mount` value; `cwd` is what a source that starts with `.` is relative to.
///
/// # Errors
/// Docker's text for whatever is wrong.
pub fn parse_mount_flag(raw: &str, cwd: &str) -> Result<Mount, ParseError> {
    let fields = split_csv(raw)?;
    let mut mount = Mount { kind: "volume".to_owned(), ..Mount::default() };
    let mut recursion = "";
    for field in &fields {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field.as_str(), None),
        };
        if key.trim() != key {
            return Err(ParseError::new(format!(
                "invalid option '{key}' in '{field}': option should not have whitespace"
            )));
        }
        let key = key.to_ascii_lowercase();
        if let Some(flag) = bool_field(&mut mount, &key) {
            *flag = parse_bool(&key, value)?;
            continue;
        }
        if key == "bind-nonrecursive" {
            return Err(ParseError::new(
                "bind-nonrecursive is deprecated, use bind-recursive=disabled instead",
            ));
        }
        let value = value.ok_or_else(|| {
            ParseError::new(format!("invalid field '{field}' must be a key=value pair"))
        })?;
        if value.is_empty() {
            return Err(ParseError::new(format!("invalid value for '{key}': value is empty")));
        }
        if value.trim() != value {
            return Err(ParseError::new(format!(
                "invalid value for '{key}' in '{field}': value should not have whitespace"
            )));
        }
        if key == "bind-recursive" {
            recursion = parse_recursion(value)?;
            mount.bind_options.get_or_insert_default();
        } else {
            set_field(&mut mount, &key, value, field, cwd)?;
        }
    }
    apply_recursion(&mut mount, recursion)?;
    check_options(&mount)?;
    Ok(drop_empty_options(mount))
}

/// The field of a key that may stand without a value.
fn bool_field<'a>(mount: &'a mut Mount, key: &str) -> Option<&'a mut bool> {
    match key {
        "readonly" | "ro" => Some(&mut mount.read_only),
        "volume-nocopy" => Some(&mut mount.volume_options.get_or_insert_default().no_copy),
        "bind-create-src" => {
            Some(&mut mount.bind_options.get_or_insert_default().create_mountpoint)
        }
        _ => None,
    }
}

fn parse_bool(key: &str, value: Option<&str>) -> Result<bool, ParseError> {
    match value {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some("") => Err(ParseError::new(format!("invalid value for '{key}': value is empty"))),
        Some(other) => Err(ParseError::new(format!(
            "invalid value for '{key}': invalid boolean value (\"{other}\"): must be one of \"true\", \"1\", \
             \"false\", or \"0\" (default \"true\")"
        ))),
    }
}

fn set_field(
    mount: &mut Mount,
    key: &str,
    value: &str,
    field: &str,
    cwd: &str,
) -> Result<(), ParseError> {
    let owned = value.to_owned();
    match key {
        "type" => mount.kind = value.to_ascii_lowercase(),
        "source" | "src" => mount.source = absolute_source(value, cwd),
        "target" | "dst" | "destination" => mount.target = owned,
        "consistency" => mount.consistency = value.to_ascii_lowercase(),
        "bind-propagation" => {
            mount.bind_options.get_or_insert_default().propagation = value.to_ascii_lowercase();
        }
        "volume-subpath" => mount.volume_options.get_or_insert_default().subpath = owned,
        "volume-label" => {
            let labels =
                mount.volume_options.get_or_insert_default().labels.get_or_insert_default();
            let (name, text) = value.split_once('=').unwrap_or((value, ""));
            labels.insert(name.to_owned(), text.to_owned());
        }
        "volume-driver" => driver_config(mount).name = owned,
        "volume-opt" => {
            let (name, text) = value.split_once('=').unwrap_or((value, ""));
            driver_config(mount)
                .options
                .get_or_insert_default()
                .insert(name.to_owned(), text.to_owned());
        }
        "image-subpath" => {
            mount.image_options.get_or_insert_with(ImageOptions::default).subpath = owned;
        }
        "tmpfs-size" => {
            mount.tmpfs_options.get_or_insert_with(TmpfsOptions::default).size_bytes =
                parse_ram_bytes(value).map_err(|_| invalid_value(key, value))?;
        }
        "tmpfs-mode" => {
            mount.tmpfs_options.get_or_insert_with(TmpfsOptions::default).mode =
                u32::from_str_radix(value, 8).map_err(|_| invalid_value(key, value))?;
        }
        _ => return Err(ParseError::new(format!("unknown option '{key}' in '{field}'"))),
    }
    Ok(())
}

fn invalid_value(key: &str, value: &str) -> ParseError {
    ParseError::new(format!("invalid value for {key}: {value}"))
}

fn driver_config(mount: &mut Mount) -> &mut DriverConfig {
    mount.volume_options.get_or_insert_default().driver_config.get_or_insert_default()
}

fn parse_recursion(value: &str) -> Result<&'static str, ParseError> {
    ["enabled", "disabled", "writable", "readonly"].into_iter().find(|word| *word == value).ok_or_else(|| {
        ParseError::new(format!(
            "invalid value for bind-recursive: {value} (must be \"enabled\", \"disabled\", \"writable\", or \
             \"readonly\")"
        ))
    })
}

/// Turns `bind-recursive` into fields; it depends on other keys, which may come after it.
fn apply_recursion(mount: &mut Mount, recursion: &str) -> Result<(), ParseError> {
    let read_only = mount.read_only;
    let Some(options) = &mut mount.bind_options else { return Ok(()) };
    let requires = |what: &str| {
        Err(ParseError::new(format!(
            "option 'bind-recursive={recursion}' requires '{what}' to be specified in conjunction"
        )))
    };
    match recursion {
        "disabled" => options.non_recursive = true,
        "writable" | "readonly" if !read_only => return requires("readonly"),
        "writable" => options.read_only_non_recursive = true,
        "readonly" if options.propagation != "rprivate" => {
            return requires("bind-propagation=rprivate");
        }
        "readonly" => options.read_only_force_recursive = true,
        _ => {}
    }
    Ok(())
}

fn check_options(mount: &Mount) -> Result<(), ParseError> {
    if mount.target.is_empty() {
        return Err(ParseError::new("target is required"));
    }
    for (kind, given) in [
        ("volume", mount.volume_options.is_some()),
        ("bind", mount.bind_options.is_some()),
        ("tmpfs", mount.tmpfs_options.is_some()),
        ("image", mount.image_options.is_some()),
    ] {
        if given && mount.kind != kind {
            return Err(ParseError::new(format!(
                "cannot mix '{kind}-*' options with mount type '{}'",
                mount.kind
            )));
        }
    }
    Ok(())
}

/// Options that say nothing (`bind-recursive=enabled`) are left out, so that they stay out of `inspect`.
fn drop_empty_options(mut mount: Mount) -> Mount {
    mount.bind_options = mount.bind_options.filter(|options| *options != BindOptions::default());
    mount.volume_options =
        mount.volume_options.filter(|options| *options != VolumeOptions::default());
    mount
}

/// Splits one CSV line: fields between commas; a quoted field may hold commas, `""` is a quote.
pub(crate) fn split_csv(line: &str) -> Result<Vec<String>, ParseError> {
    let wrong = |rest: &str, why: &str| {
        let column = line.len() - rest.len() + 1;
        Err(ParseError::new(format!("parse error on line 1, column {column}: {why}")))
    };
    if line.is_empty() {
        return Err(ParseError::new("value is empty"));
    }
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut field = String::new();
            rest = quoted;
            loop {
                let Some((text, after)) = rest.split_once('"') else {
                    return wrong("", "extraneous or missing \" in quoted-field");
                };
                field.push_str(text);
                match after.strip_prefix('"') {
                    Some(more) => {
                        field.push('"');
                        rest = more;
                    }
                    None => {
                        rest = after;
                        break;
                    }
                }
            }
            fields.push(field);
            if rest.is_empty() {
                return Ok(fields);
            }
            let Some(next) = rest.strip_prefix(',') else {
                return wrong(rest, "extraneous or missing \" in quoted-field");
            };
            rest = next;
        } else {
            let (field, next) = match rest.split_once(',') {
                Some((field, next)) => (field, Some(next)),
                None => (rest, None),
            };
            if let Some(at) = field.find('"') {
                return wrong(&rest[at..], "bare \" in non-quoted-field");
            }
            fields.push(field.to_owned());
            match next {
                Some(next) => rest = next,
                None => return Ok(fields),
            }
        }
    }
}
