//! Who a process runs as: `user[:group]` looked up in the container's own `/etc/passwd` and
//! `/etc/group`.
//!
//! Those files belong to the image, so they are hostile: they are opened below the root file system
//! (links resolve inside it), only regular files count, and no more than [`MAX_FILE_BYTES`] are read.
//! The rules and texts are Docker's.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

/// Longest `passwd` or `group` file that is read; 20 000 users fit.
pub const MAX_FILE_BYTES: u64 = 2 << 20;

/// Highest user or group id that Docker takes.
const MAX_ID: i64 = (1 << 31) - 1;

/// A resolved user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerUser {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Further group ids, the primary one first, without repetitions.
    pub groups: Vec<u32>,
    /// Home directory, `/` where none is known.
    pub home: String,
}

/// Why a user or group cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// A name that is not in the file.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    /// A name that is not in the file.
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
    /// A number out of range.
    #[error("uids and gids must be in range 0-2147483647")]
    Range,
    /// The file cannot be read.
    #[error("cannot read `{path}` of the container: {reason}")]
    Unreadable {
        /// Path inside the container.
        path: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// Resolves `spec` (`user[:group]`, empty for root) and `additional` groups below an open root.
pub fn resolve(
    root: impl AsFd,
    spec: &str,
    additional: &[String],
) -> Result<ContainerUser, UserError> {
    let passwd = read_confined(root.as_fd(), "/etc/passwd")?;
    let group = read_confined(root.as_fd(), "/etc/group")?;
    lookup(&passwd, &group, spec, additional)
}

/// Resolves against the text of the two files.
pub fn lookup(
    passwd: &str,
    group: &str,
    spec: &str,
    additional: &[String],
) -> Result<ContainerUser, UserError> {
    let (user_part, group_part) = spec.split_once(':').unwrap_or((spec, ""));
    let user_number = user_part.parse::<i64>().ok();
    let entry = passwd.lines().filter_map(PasswdEntry::parse).find(|entry| {
        match (user_part, user_number) {
            ("", _) => entry.uid == 0,
            (_, Some(number)) => entry.uid == number,
            (name, None) => entry.name == name,
        }
    });

    let mut user = ContainerUser { home: "/".to_owned(), ..ContainerUser::default() };
    if let Some(entry) = &entry {
        user.uid = in_range(entry.uid)?;
        user.gid = in_range(entry.gid)?;
        if !entry.home.is_empty() {
            entry.home.clone_into(&mut user.home);
        }
    } else if !user_part.is_empty() {
        user.uid = in_range(user_number.ok_or_else(|| UserError::NoUser(user_part.to_owned()))?)?;
    }

    let mut supplementary = Vec::new();
    if !group_part.is_empty() {
        user.gid = find_group(group, group_part)?;
    } else if let Some(entry) = &entry {
        for candidate in group.lines().filter_map(GroupEntry::parse) {
            if candidate.members.split(',').any(|member| member == entry.name) {
                supplementary.push(in_range(candidate.gid)?);
            }
        }
    }
    for wanted in additional {
        supplementary.push(find_group(group, wanted)?);
    }
    user.groups.push(user.gid);
    for gid in supplementary {
        if !user.groups.contains(&gid) {
            user.groups.push(gid);
        }
    }
    Ok(user)
}

/// The id of a group given by number or name; a number need not be in the file.
fn find_group(group: &str, wanted: &str) -> Result<u32, UserError> {
    let number = wanted.parse::<i64>().ok();
    let found = group.lines().filter_map(GroupEntry::parse).find(|entry| match number {
        Some(number) => entry.gid == number,
        None => entry.name == wanted,
    });
    match found {
        Some(entry) => in_range(entry.gid),
        None => in_range(number.ok_or_else(|| UserError::NoGroup(wanted.to_owned()))?),
    }
}

fn in_range(id: i64) -> Result<u32, UserError> {
    if id > MAX_ID {
        return Err(UserError::Range);
    }
    u32::try_from(id).map_err(|_| UserError::Range)
}

/// One line of `passwd(5)`: `name:password:uid:gid:comment:home:shell`.
struct PasswdEntry<'a> {
    name: &'a str,
    uid: i64,
    gid: i64,
    home: &'a str,
}

impl<'a> PasswdEntry<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        let mut fields = fields.skip(1);
        let uid = fields.next()?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1).unwrap_or("");
        Some(Self { name, uid, gid, home })
    }
}

/// One line of `group(5)`: `name:password:gid:member,member`.
struct GroupEntry<'a> {
    name: &'a str,
    gid: i64,
    members: &'a str,
}

impl<'a> GroupEntry<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(Self { name, gid, members: fields.next().unwrap_or("") })
    }
}

/// Reads a file below `root`; a missing one is empty.
fn read_confined(root: impl AsFd, path: &'static str) -> Result<String, UserError> {
    let unreadable = |reason: &str| UserError::Unreadable { path, reason: reason.to_owned() };
    // O_NONBLOCK: opening a FIFO must not wait for its other end.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file: OwnedFd = match rustix::fs::openat2(root, path, flags, Mode::empty(), RESOLVE) {
        Ok(file) => file,
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(String::new()),
        Err(error) => return Err(unreadable(&std::io::Error::from(error).to_string())),
    };
    let status = rustix::fs::fstat(&file)
        .map_err(|error| unreadable(&std::io::Error::from(error).to_string()))?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Err(unreadable("not a regular file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::from(file)
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(&error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(unreadable("file too large"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The hard limit of this process for a resource by its name in `ulimit`; `None` for no limit.
pub(crate) fn own_hard_limit(name: &str) -> Option<u64> {
    use rustix::process::Resource;
    let resource = match name {
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return None,
    };
    rustix::process::getrlimit(resource).maximum
}

/// Resolves links inside the root and never through `/proc/<pid>/fd`.
pub(crate) const RESOLVE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# comment:x:9:9\nbroken\nbin:x:1:1:bin:/bin:/sbin/nologin\n\
        postgres:x:999:999::/var/lib/postgresql:/bin/bash\n1234:x:77:78:digits::/bin/sh\nfar:x:4294967296:0::/:\n";
    const GROUP: &str = "root:x:0:\nbin:x:1:root,bin\nssl-cert:x:101:postgres\npostgres:x:999:\nwheel:x:10:root\n55:x:56:\n";

    fn user(uid: u32, gid: u32, groups: &[u32], home: &str) -> ContainerUser {
        ContainerUser { uid, gid, groups: groups.to_vec(), home: home.to_owned() }
    }

    #[test]
    fn users_and_groups_by_name_and_number() {
        let cases: [(&str, &[&str], Result<ContainerUser, &str>); 17] = [
            ("", &[], Ok(user(0, 0, &[0, 1, 10], "/root"))),
            ("root", &[], Ok(user(0, 0, &[0, 1, 10], "/root"))),
            ("0", &[], Ok(user(0, 0, &[0, 1, 10], "/root"))),
            ("postgres", &[], Ok(user(999, 999, &[999, 101], "/var/lib/postgresql"))),
            ("999", &[], Ok(user(999, 999, &[999, 101], "/var/lib/postgresql"))),
            ("postgres:bin", &[], Ok(user(999, 1, &[1], "/var/lib/postgresql"))),
            ("postgres:4242", &[], Ok(user(999, 4242, &[4242], "/var/lib/postgresql"))),
            ("4242", &[], Ok(user(4242, 0, &[0], "/"))),
            ("4242:4343", &["wheel", "8"], Ok(user(4242, 4343, &[4343, 10, 8], "/"))),
            ("bin", &["bin", "wheel"], Ok(user(1, 1, &[1, 10], "/bin"))),
            ("1234", &[], Ok(user(1234, 0, &[0], "/"))),
            (":wheel", &[], Ok(user(0, 10, &[10], "/root"))),
            ("nobody", &[], Err("unable to find user nobody: no matching entries in passwd file")),
            (
                "root:nogroup",
                &[],
                Err("unable to find group nogroup: no matching entries in group file"),
            ),
            (
                "root",
                &["nogroup"],
                Err("unable to find group nogroup: no matching entries in group file"),
            ),
            ("2147483648", &[], Err("uids and gids must be in range 0-2147483647")),
            ("far", &[], Err("uids and gids must be in range 0-2147483647")),
        ];
        for (spec, additional, expected) in cases {
            let additional: Vec<String> = additional.iter().map(|&name| name.to_owned()).collect();
            let got = lookup(PASSWD, GROUP, spec, &additional).map_err(|error| error.to_string());
            assert_eq!(got, expected.map_err(str::to_owned), "{spec} {additional:?}");
        }
    }

    #[test]
    fn negative_ids_are_out_of_range() {
        assert_eq!(
            lookup("", "", "-1", &[]).unwrap_err().to_string(),
            "uids and gids must be in range 0-2147483647"
        );
    }

    fn resolve_in(root: &Path, spec: &str) -> Result<ContainerUser, String> {
        let root = fs::File::open(root).unwrap();
        resolve(&root, spec, &[]).map_err(|error| error.to_string())
    }

    #[test]
    fn files_are_read_below_the_root() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "evil:x:666:666::/:\n").unwrap();
        let root = tempfile::tempdir().unwrap();
        assert_eq!(resolve_in(root.path(), "5:6"), Ok(user(5, 6, &[6], "/")));
        fs::create_dir_all(root.path().join("etc")).unwrap();
        fs::create_dir_all(root.path().join("usr")).unwrap();
        fs::write(root.path().join("usr/passwd"), PASSWD).unwrap();

        symlink("/usr/passwd", root.path().join("etc/passwd")).unwrap();
        assert_eq!(resolve_in(root.path(), "postgres").unwrap().uid, 999);

        fs::remove_file(root.path().join("etc/passwd")).unwrap();
        symlink(outside.path().join("secret"), root.path().join("etc/passwd")).unwrap();
        let missing = "unable to find user evil: no matching entries in passwd file";
        assert_eq!(resolve_in(root.path(), "evil"), Err(missing.to_owned()));

        fs::remove_file(root.path().join("etc/passwd")).unwrap();
        let climbing = format!("../../../../../../..{}", outside.path().join("secret").display());
        symlink(climbing, root.path().join("etc/passwd")).unwrap();
        assert_eq!(resolve_in(root.path(), "evil"), Err(missing.to_owned()));
    }

    #[test]
    fn hostile_files_do_no_harm() {
        let root = tempfile::tempdir().unwrap();
        let passwd = root.path().join("etc/passwd");
        fs::create_dir_all(root.path().join("etc")).unwrap();

        rustix::fs::mknodat(
            rustix::fs::CWD,
            &passwd,
            FileType::Fifo,
            Mode::from_raw_mode(0o644),
            0,
        )
        .unwrap();
        assert_eq!(
            resolve_in(root.path(), "x").unwrap_err(),
            "cannot read `/etc/passwd` of the container: not a regular file"
        );

        fs::remove_file(&passwd).unwrap();
        fs::create_dir(&passwd).unwrap();
        assert_eq!(
            resolve_in(root.path(), "x").unwrap_err(),
            "cannot read `/etc/passwd` of the container: not a regular file"
        );

        fs::remove_dir(&passwd).unwrap();
        fs::File::create(&passwd).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(
            resolve_in(root.path(), "x").unwrap_err(),
            "cannot read `/etc/passwd` of the container: file too large"
        );

        fs::remove_file(&passwd).unwrap();
        symlink("/etc/passwd", &passwd).unwrap();
        assert!(
            resolve_in(root.path(), "x")
                .unwrap_err()
                .starts_with("cannot read `/etc/passwd` of the container: Too many levels")
        );

        fs::remove_file(&passwd).unwrap();
        fs::write(&passwd, b"\xff\xfe:x:5:5::/:\nok:x:6:6::/home/ok:\n").unwrap();
        assert_eq!(resolve_in(root.path(), "ok").unwrap(), user(6, 6, &[6], "/home/ok"));
    }
}
