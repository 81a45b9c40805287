//! The build cache never gives what a build without it would not make: files that change while a build
//! runs, builds anew, and random changes of contexts.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // Trees of our own making.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use orlop_testkit::{Fixture, Random, fixture};

fn context(fixture: &Fixture, dockerfile: &str) -> PathBuf {
    let directory = fixture.directory("context");
    std::fs::write(directory.join("Dockerfile"), dockerfile).unwrap();
    std::fs::write(directory.join("a"), "1").unwrap();
    directory
}

#[track_caller]
fn build(fixture: &Fixture, directory: &Path, words: &[&str]) {
    let all = [&["build", "--network", "none", "-t", "built"], words].concat();
    fixture.ok(&[all.as_slice(), &[directory.to_str().unwrap()]].concat());
}

#[track_caller]
fn in_built(fixture: &Fixture, script: &str) -> String {
    fixture.ok(&["run", "--rm", "--network", "none", "built", "sh", "-c", script])
}

/// Builds and writes `2` into the file `a` when the first step runs, after the context was looked at.
#[track_caller]
fn build_while_a_file_changes(fixture: &Fixture, directory: &Path) {
    let mut command = fixture.command(&["build", "--network", "none", "--progress", "plain"]);
    command.args(["-t", "built"]).arg(directory);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.ends_with(" first\n") {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "the step did not run");
    }
    std::fs::write(directory.join("a"), "2").unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{rest}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn a_file_that_changes_during_a_build_is_recorded_as_it_was_seen() {
    for step in ["COPY a /a\nRUN cp /a /b", "RUN --mount=target=/c cp /c/a /a\nRUN cp /a /b"] {
        let fixture = fixture!(busybox);
        let text = format!("FROM busybox\nRUN echo first; sleep 4; date > /date\n{step}\n");
        let directory = context(&fixture, &text);
        build_while_a_file_changes(&fixture, &directory);
        assert_eq!(in_built(&fixture, "cat /a /b"), "22", "{step}");
        std::fs::write(directory.join("a"), "1").unwrap();
        build(&fixture, &directory, &[]);
        assert_eq!(in_built(&fixture, "cat /a /b"), "11", "{step}");
        std::fs::write(directory.join("a"), "2").unwrap();
        build(&fixture, &directory, &[]);
        assert_eq!(in_built(&fixture, "cat /a /b"), "22", "{step}");
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn what_was_built_anew_is_what_the_next_build_finds() {
    let fixture = fixture!(busybox);
    let text = "FROM busybox AS one\nRUN cat /proc/sys/kernel/random/uuid > /a\nRUN cp /a /b\n\
                FROM busybox\nCOPY --from=one /b /b\nRUN cp /b /c\n";
    let directory = context(&fixture, text);
    let built = |words: &[&str]| {
        build(&fixture, &directory, words);
        in_built(&fixture, "cat /c")
    };
    let first = built(&[]);
    assert_eq!(built(&[]), first);
    let second = built(&["--no-cache"]);
    assert_ne!(second, first);
    assert_eq!(built(&[]), second);
    let third = built(&["--no-cache-filter", "one"]);
    assert_ne!(third, second);
    assert_eq!(built(&[]), third);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn the_source_of_a_mount_may_be_a_link() {
    let fixture = fixture!(busybox);
    let text = "FROM busybox AS one\nRUN mkdir /d; echo s > /d/s; ln -s /d /l; ln -s ../../../d/s /f\n\
                FROM busybox\n\
                RUN --mount=from=one,source=/l,target=/m cat /m/s > /1\n\
                RUN --mount=from=one,source=/f,target=/m cat /m > /2\n\
                RUN --mount=source=link,target=/m cat /m/x > /3\n";
    let directory = context(&fixture, text);
    for (name, content) in [("one", "1"), ("two", "2")] {
        std::fs::create_dir(directory.join(name)).unwrap();
        std::fs::write(directory.join(name).join("x"), content).unwrap();
    }
    for (name, content) in [("one", "s\ns\n1"), ("two", "s\ns\n2")] {
        let _absent = std::fs::remove_file(directory.join("link"));
        symlink(name, directory.join("link")).unwrap();
        build(&fixture, &directory, &[]);
        assert_eq!(in_built(&fixture, "cat /1 /2 /3"), content);
    }
}

/// Every way to copy.
const COPIES: &str = "FROM scratch AS one\nARG V\nCOPY a* /one/\nCOPY d /one/d/\n\
    FROM scratch AS two\nARG V\nCOPY --chmod=640 d/ /two/\nCOPY --from=one /one/d /from/\n\
    COPY --chown=$V:5 . /all/\nCOPY --parents d/./e /p/\nCOPY --link b* /l/\nADD . /add/\n\
    FROM two\nARG V\nWORKDIR /w$V/x\nCOPY --from=two /all/ /last/\nCOPY --exclude=*x d /ex/\n";
const FILES: [&str; 6] = ["a", "ab", "b", "d/x", "d/y", "d/e/z"];
/// Changes that one run tries; `ORLOP_CACHE_CHANGES` asks for more.
const CHANGES: u64 = 40;

/// Changes something in a context. Files keep their length and their time of modification where they can.
fn change(directory: &Path, random: &mut Random) -> String {
    let name = random.pick(&FILES);
    let path = directory.join(name);
    let _absent = std::fs::create_dir_all(path.parent().unwrap());
    let clear = || {
        let _none = std::fs::remove_dir_all(&path);
        let _none = std::fs::remove_file(&path);
    };
    let what = random.below(12);
    match what {
        0..=2 => {
            if !path.is_file() || path.is_symlink() {
                clear();
            }
            std::fs::write(&path, format!("{:04}", random.below(4))).unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
            file.set_modified(time).unwrap();
        }
        3 if path.exists() => {
            let mode = [0o600, 0o644, 0o755, 0o4755][usize::try_from(random.below(4)).unwrap()];
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        }
        4 => {
            clear();
            symlink(random.pick(&["a", "d/x", "../../../etc/passwd", "e", "nothing"]), &path)
                .unwrap();
        }
        5 => {
            let other = directory.join(random.pick(&FILES));
            if other.is_file() && !other.is_symlink() && other != path {
                clear();
                std::fs::hard_link(other, &path).unwrap();
            }
        }
        6 => {
            clear();
            std::fs::create_dir(&path).unwrap();
        }
        7 => clear(),
        8 => {
            let (other, between) = (directory.join(random.pick(&FILES)), directory.join("between"));
            if other.exists() && path.exists() && other != path {
                std::fs::rename(&path, &between).unwrap();
                std::fs::rename(&other, &path).unwrap();
                std::fs::rename(&between, &other).unwrap();
            }
        }
        9 if path.exists() => {
            let value = random.pick(&["1", "2"]);
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(&path, "user.orlop", value.as_bytes(), flags).unwrap();
        }
        10 => {
            let text = random.pick(&["", "a\n", "d/e\n", "d\n!d/x\n", "**/z\n"]);
            std::fs::write(directory.join(".dockerignore"), format!("{text}Dockerfile\n")).unwrap();
        }
        _ => {
            let owner = u32::try_from(random.below(3)).unwrap();
            let _absent = std::os::unix::fs::lchown(&path, Some(owner), Some(owner));
        }
    }
    format!("{what} {name}")
}

/// Everything of a tree that a build decides, by path.
fn tree(top: &Path, path: &Path, found: &mut BTreeMap<PathBuf, String>) {
    let stat = path.symlink_metadata().unwrap();
    let link = std::fs::read_link(path).unwrap_or_default();
    let content =
        if stat.is_file() { std::fs::read_to_string(path).unwrap() } else { String::new() };
    let mut value = vec![0; 64];
    let attribute = match rustix::fs::lgetxattr(path, "user.orlop", &mut value) {
        Ok(length) => String::from_utf8_lossy(&value[..length]).into_owned(),
        Err(_) => String::new(),
    };
    let mode = stat.mode();
    let shown =
        format!("{mode:o} {}:{} {link:?} {content:?} {attribute:?}", stat.uid(), stat.gid());
    found.insert(path.strip_prefix(top).unwrap().to_owned(), shown);
    if stat.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            tree(top, &entry.unwrap().path(), found);
        }
    }
}

/// The tree that a build makes; nothing if it fails (which of several steps fails first is chance).
fn result(
    fixture: &Fixture,
    directory: &Path,
    words: &[&str],
) -> Option<BTreeMap<PathBuf, String>> {
    let out = fixture.folder().join("out");
    let _absent = std::fs::remove_dir_all(&out);
    let output = format!("type=local,dest={}", out.display());
    let all = [&["build", "--progress", "plain", "--output", &output], words].concat();
    let made = fixture.orlop(&[all.as_slice(), &[directory.to_str().unwrap()]].concat());
    if made.code != 0 {
        assert_eq!(made.code, 1, "{made}");
        return None;
    }
    let mut found = BTreeMap::new();
    tree(&out, &out, &mut found);
    Some(found)
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn random_changes_give_what_a_build_without_the_cache_gives() {
    let changes = std::env::var("ORLOP_CACHE_CHANGES").ok().and_then(|text| text.parse().ok());
    let seed = std::env::var("ORLOP_CACHE_SEED").ok().and_then(|text| text.parse().ok());
    let mut random = Random(seed.unwrap_or(0x0_5eed_cace));
    let fixture = fixture!();
    let directory = context(&fixture, COPIES);
    let mut history = Vec::new();
    let mut succeeded = 0;
    for _ in 0..changes.unwrap_or(CHANGES) {
        for _ in 0..=random.below(2) {
            history.push(change(&directory, &mut random));
        }
        let version = format!("V={}", random.below(3));
        history.push(version.clone());
        let words = ["--build-arg", version.as_str()];
        let cached = result(&fixture, &directory, &words);
        let anew = result(&fixture, &directory, &[words.as_slice(), &["--no-cache"]].concat());
        assert_eq!(cached, anew, "{history:?}");
        // What was made anew must not stand in the way of what is known.
        assert_eq!(result(&fixture, &directory, &words), anew, "{history:?}");
        succeeded += u32::from(anew.is_some());
    }
    assert!(succeeded > 5, "nearly nothing was built: {history:?}");
}
