//! Tests of [`super`]; those that mount need CAP_SYS_ADMIN.
#![allow(clippy::unwrap_used)]

use std::fs;

use super::*;
use crate::confined::Root;

fn recipe(fstype: &str, options: &str, device: &str) -> FilesystemRecipe {
    FilesystemRecipe {
        fstype: fstype.to_owned(),
        options: options.to_owned(),
        device: device.to_owned(),
    }
}

#[test]
fn options_are_flags_or_data() {
    let table = [
        ("", MountFlags::empty(), ""),
        ("bind,ro", MountFlags::BIND | MountFlags::RDONLY, ""),
        ("rbind", MountFlags::BIND | MountFlags::REC, ""),
        ("ro,rw,size=1m,uid=3", MountFlags::empty(), "size=1m,uid=3"),
        ("defaults,nosuid,noexec,dev,shared", MountFlags::NOSUID | MountFlags::NOEXEC, ""),
        ("addr=1.2.3.4,,vers=4", MountFlags::empty(), "addr=1.2.3.4,vers=4"),
    ];
    for (options, flags, data) in table {
        assert_eq!(parse_options(options), (flags, data.to_owned()), "{options}");
    }
}

#[test]
fn a_failure_has_dockers_text_without_the_password() {
    let recipe = recipe("cifs", "ro,user=me,password=hunter2,vers=3", "//host/share");
    let (flags, data) = parse_options(&recipe.options);
    assert_eq!(
        recipe.text(Path::new("/store/v/_data"), flags, &data),
        "mount //host/share:/store/v/_data, flags: 0x1, data: user=me,password=********,vers=3"
    );
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn a_file_system_is_mounted_where_nobody_sees_it() {
    let directory = tempfile::tempdir().unwrap();
    let mount = recipe("tmpfs", "size=1m,mode=700", "tmpfs").mount(directory.path()).unwrap();
    let root = Root::of_mount(mount).unwrap();
    root.create_file("inside", 0o600).unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    assert!(!fs::read_to_string("/proc/self/mounts").unwrap().contains("size=1024k,mode=700"));

    let table = [
        ("no-such-type", "x", Some(libc::ENODEV)),
        ("ext4", "/no/such/device", Some(libc::ENOENT)),
        ("ext4", "/dev/null", Some(libc::ENOTBLK)),
        ("tmpfs", "a\0b", Some(libc::EINVAL)),
    ];
    for (fstype, device, code) in table {
        let error = recipe(fstype, "", device).mount(directory.path()).unwrap_err();
        assert_eq!(error.source.raw_os_error(), code, "{fstype} {device}: {error}");
    }
    let error = recipe("ext4", "", "/dev/null").mount(directory.path()).unwrap_err();
    assert_eq!(error.reason(), "block device required");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn a_bind_is_a_directory_of_the_host() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    fs::write(directory.path().join("file"), "x").unwrap();
    let bind = |options: &str, device: &str| recipe("none", options, device).mount(Path::new("/"));
    let root = Root::of_mount(bind("bind,ro", path).unwrap()).unwrap();
    assert!(root.exists("file").unwrap());
    assert_eq!(
        root.create_file("new", 0o600).unwrap_err().io_kind(),
        io::ErrorKind::ReadOnlyFilesystem
    );
    let code = |device: &str| bind("bind", device).unwrap_err().source.raw_os_error();
    assert_eq!(code(&format!("{path}/file")), Some(libc::ENOTDIR));
    assert_eq!(code(&format!("{path}/none")), Some(libc::ENOENT));
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn users_at_one_time_share_the_mount_and_later_ones_do_not() {
    let directory = tempfile::tempdir().unwrap();
    let users = directory.path().join("users");
    let tmpfs = recipe("tmpfs", "", "tmpfs");
    let place = directory.path().join("place");
    fs::create_dir(&place).unwrap();
    // Another process in a mount namespace of its own has it mounted.
    let script = format!(
        "mount -t tmpfs tmpfs {0} && echo mine > {0}/file && echo ready && exec cat",
        place.display()
    );
    let mut child = std::process::Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let out = child.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
    assert_eq!(line, "ready\n");
    let ticks = crate::process::start_ticks(child.id().cast_signed()).unwrap().unwrap();

    let shared = SharedMount::lock(&users).unwrap();
    assert!(shared.find().unwrap().is_none());
    let note = |name: &str, pid: u32, ticks: u64, path: &Path| {
        fs::write(users.join(name), format!("{pid} {ticks}\n{}", path.display())).unwrap();
    };
    // Gone, another process of the same number, and one that has nothing there.
    note("a-1", 0x003f_fff0, 1, &place);
    note("b-2", child.id(), ticks + 1, &place);
    note("c-3", child.id(), ticks, directory.path());
    assert!(shared.find().unwrap().is_none());
    assert_eq!(fs::read_dir(&users).unwrap().count(), 1, "only the lock is left");
    note("d-4", child.id(), ticks, &place);
    let found = Root::of_mount(shared.find().unwrap().unwrap()).unwrap();
    assert_eq!(found.read_limited("file", 10).unwrap(), b"mine\n");
    drop(child.stdin.take());
    child.wait().unwrap();
    assert!(shared.find().unwrap().is_none());
    let fresh = Root::of_mount(tmpfs.mount(&place).unwrap()).unwrap();
    assert!(!fresh.exists("file").unwrap());
    // The clone lives on.
    assert!(found.exists("file").unwrap());

    let used = shared.register("e", &place).unwrap();
    assert_eq!(fs::read_dir(&users).unwrap().count(), 2);
    drop(used);
    assert_eq!(fs::read_dir(&users).unwrap().count(), 1);
}

#[test]
fn a_thread_does_not_wait_for_itself_and_others_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("users");
    let first = SharedMount::lock(&path).unwrap();
    let second = SharedMount::lock(&path).unwrap();
    drop(second);
    let lock = path.join(LOCK_NAME);
    assert!(crate::lock::FileLock::try_acquire(&lock).unwrap().is_none());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| drop(SharedMount::lock(&path).unwrap()));
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(!waiting.is_finished());
        drop(first);
    });
    assert!(crate::lock::FileLock::try_acquire(&lock).unwrap().is_some());
}
