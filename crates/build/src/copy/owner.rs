//! `--chown`: users and groups by number, or by name as the target's own files tell it.
//!
//! As BuildKit: a name that those files do not know is root's (not an error); a user's number alone is
//! the group's number as well; a user's name alone brings its group.

use std::path::Path;

use orlop_sys::confined::{Owner, Root};

use crate::{Error, Result};

/// Longest `/etc/passwd` and `/etc/group`.
const FILE_MAX_BYTES: u64 = 10 << 20;

/// A user or group as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Who {
    Number(u32),
    Name(String),
}

impl Who {
    fn parse(text: &str) -> Self {
        match text.parse::<i32>() {
            _ if text == "root" => Self::Number(0),
            Ok(number) => Self::Number(number.cast_unsigned()),
            Err(_) => Self::Name(text.to_owned()),
        }
    }
}

/// Finds an owner; `target` is what the step stands on.
pub(crate) fn resolve(text: &str, target: Option<&Root>) -> Result<Owner> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let missing = || Error::invalid("invalid user index: -1");
    let mut owner = match Who::parse(user) {
        Who::Number(number) => Owner { uid: number, gid: number },
        Who::Name(name) => {
            let target = target.ok_or_else(missing)?;
            let line = find(target, "etc/passwd", &name)?;
            line.map_or(Owner::default(), |fields| Owner {
                uid: number(&fields, 2),
                gid: number(&fields, 3),
            })
        }
    };
    match group.map(Who::parse) {
        Some(Who::Number(number)) => owner.gid = number,
        Some(Who::Name(name)) => {
            let target = target.ok_or_else(missing)?;
            if let Some(fields) = find(target, "etc/group", &name)? {
                owner.gid = number(&fields, 2);
            }
        }
        None => {}
    }
    Ok(owner)
}

fn number(fields: &[String], at: usize) -> u32 {
    fields.get(at).and_then(|field| field.parse().ok()).unwrap_or(0)
}

/// The fields of the line that begins with a name; nothing without the file.
fn find(target: &Root, path: &str, name: &str) -> Result<Option<Vec<String>>> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    let content = match target.read_limited(Path::new(path), FILE_MAX_BYTES) {
        Ok(content) => content,
        Err(error) if matches!(error.io_kind(), NotFound | NotADirectory) => return Ok(None),
        Err(error) if error.io_kind() == std::io::ErrorKind::FileTooLarge => {
            let text = format!("\"/{path}\" exceeds {FILE_MAX_BYTES} bytes");
            return Err(Error::invalid(text));
        }
        Err(error) => return Err(orlop_layer::Error::from(error).into()),
    };
    let text = String::from_utf8_lossy(&content);
    Ok(text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>())
        .find(|fields| fields.first().is_some_and(|field| field == name)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn owners() {
        let directory = tempfile::tempdir().unwrap();
        let etc = directory.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        let passwd = "root:x:0:0::/:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\n";
        std::fs::write(etc.join("passwd"), passwd).unwrap();
        std::fs::write(etc.join("group"), "root:x:0:\nstaff:x:50:app\n").unwrap();
        let root = Root::open(directory.path()).unwrap();
        for (text, uid, gid) in [
            ("1000", 1000, 1000),
            ("1000:7", 1000, 7),
            ("app", 1000, 1001),
            ("app:staff", 1000, 50),
            ("app:7", 1000, 7),
            ("7:staff", 7, 50),
            ("root", 0, 0),
            ("nobody-here", 0, 0),
            ("app:nobody-here", 1000, 1001),
            ("5:nobody-here", 5, 5),
        ] {
            assert_eq!(resolve(text, Some(&root)).unwrap(), Owner { uid, gid }, "{text}");
        }
        assert_eq!(resolve("9:8", None).unwrap(), Owner { uid: 9, gid: 8 });
        for text in ["app", "1:staff"] {
            let error = resolve(text, None).unwrap_err();
            assert_eq!(error.to_string(), "invalid user index: -1");
        }
        let bare = tempfile::tempdir().unwrap();
        let bare = Root::open(bare.path()).unwrap();
        assert_eq!(resolve("app:staff", Some(&bare)).unwrap(), Owner::default());
    }
}
