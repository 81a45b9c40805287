//! What copies make, row by row, as BuildKit does it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::indexing_slicing)] // Trees of our own.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use orlop_dockerfile::Ignore;
use orlop_layer::LayerStore;
use orlop_meta::Store;
use orlop_sys::confined::{FileTime, Node, Owner, Root};
use orlop_sys::mount::mount_rootfs;
use orlop_types::ChainId;

use super::{Copied, CopyBuild, Selection, apply, make_directory, select};
use crate::context::Tree;
use crate::step::{AddOptions, CopyStep, Document};
use crate::{Cancel, Error};

const NOW: &str = "2026-01-02T03:04:05Z";
const NET_BIND: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

pub(crate) struct Fixture {
    directory: tempfile::TempDir,
    layers: LayerStore,
    cancel: Cancel,
}

impl Fixture {
    pub(crate) fn new(driver: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("store");
        let store = Store::open(&root, &directory.path().join("run")).unwrap();
        let layers = LayerStore::open(Arc::new(store), Some(driver)).unwrap();
        fs::create_dir(directory.path().join("context")).unwrap();
        Self { directory, layers, cancel: Cancel::default() }
    }

    fn build(&self) -> CopyBuild<'_> {
        CopyBuild { layers: &self.layers, cancel: &self.cancel, now: NOW }
    }

    fn context(&self) -> PathBuf {
        self.directory.path().join("context")
    }

    /// Makes a file of the context; a name with a slash at its end is a directory.
    fn write(&self, name: &str, content: &str) {
        let path = self.context().join(name);
        if name.ends_with('/') {
            return fs::create_dir_all(path).unwrap();
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn tree(&self) -> Tree {
        Tree::directory(self.layers.store(), &self.context()).unwrap()
    }

    /// A base image of these files and links (`name -> target`).
    fn base(&self, names: &[&str]) -> ChainId {
        let new = self.layers.new_directory(None).unwrap();
        for name in names {
            if let Some((name, target)) = name.split_once(" -> ") {
                fs::create_dir_all(new.content().join(name).parent().unwrap()).unwrap();
                symlink(target, new.content().join(name)).unwrap();
            } else if name.ends_with('/') {
                fs::create_dir_all(new.content().join(name)).unwrap();
            } else {
                let path = new.content().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, name).unwrap();
            }
        }
        let sealed = self.layers.seal(new, None, &|| false).unwrap().unwrap();
        self.layers.commit(vec![sealed], None, NOW).unwrap()[0].chain_id.clone()
    }

    fn view(&self, chain_id: &ChainId) -> Root {
        Root::of_mount(mount_rootfs(&self.layers.view(chain_id).unwrap()).unwrap()).unwrap()
    }

    fn try_copy(
        &self,
        tree: &Tree,
        step: &CopyStep,
        parent: Option<&ChainId>,
    ) -> crate::Result<Copied> {
        let selection = select(self.build(), step, Some(tree))?;
        apply(self.build(), step, Some(tree), selection, parent)
    }

    /// Copies and shows the result.
    fn copy(&self, step: &CopyStep, parent: Option<&ChainId>) -> Root {
        let copied = self.try_copy(&self.tree(), step, parent).unwrap();
        self.view(&copied.layer.expect("a layer").chain_id)
    }

    fn fails(&self, step: &CopyStep, parent: Option<&ChainId>) -> String {
        self.try_copy(&self.tree(), step, parent).unwrap_err().to_string()
    }
}

fn step(sources: &[&str], destination: &str) -> CopyStep {
    CopyStep {
        sources: sources.iter().map(|source| (*source).to_owned()).collect(),
        destination: destination.to_owned(),
        ..CopyStep::default()
    }
}

fn add(sources: &[&str], destination: &str) -> CopyStep {
    CopyStep { add: Some(AddOptions::default()), ..step(sources, destination) }
}

/// All paths below a root; directories end with a slash, links show where they lead.
fn names(root: &Root) -> Vec<String> {
    fn collect(root: &Root, path: &str, found: &mut Vec<String>) {
        let fd = root.open_dir(path).unwrap();
        for entry in orlop_sys::tree::list(std::os::fd::AsFd::as_fd(&fd)).unwrap() {
            let name = format!("{path}{}", entry.name.to_string_lossy());
            if entry.is_dir {
                found.push(format!("{name}/"));
                collect(root, &format!("{name}/"), found);
            } else if let Ok(target) = root.read_link(&name) {
                found.push(format!("{name} -> {}", target.display()));
            } else {
                found.push(name);
            }
        }
    }
    let mut found = Vec::new();
    collect(root, "", &mut found);
    found
}

fn read(root: &Root, path: &str) -> String {
    String::from_utf8(root.read_limited(path, 1 << 20).unwrap()).unwrap()
}

/// Mode, owner and group.
fn marks(root: &Root, path: &str) -> (u32, u32, u32) {
    let stat = root.lstat(path).unwrap();
    (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid)
}

macro_rules! for_both_drivers {
    ($($name:ident),* $(,)?) => {
        mod overlay {
            $(#[test] #[ignore = "root: CAP_SYS_ADMIN"] fn $name() { super::$name(&super::Fixture::new("overlay2")); })*
        }
        mod vfs {
            $(#[test] #[ignore = "root: CAP_SYS_ADMIN"] fn $name() { super::$name(&super::Fixture::new("vfs")); })*
        }
    };
}
for_both_drivers!(
    names_of_sources_and_destinations,
    what_is_not_there,
    directories_are_merged,
    links_at_the_destination,
    owners_and_modes,
    everything_a_file_carries,
    ignored_files_are_not_there,
    parents_and_excludes,
    documents,
    archives_are_unpacked,
    archives_go_over_what_is_there,
    directories_of_workdir,
    stages_keep_their_owners,
    nothing_makes_no_layer,
    hostile_names_and_kinds,
    changes_between_selecting_and_copying,
    a_cancelled_copy_leaves_nothing,
);

fn names_of_sources_and_destinations(fixture: &Fixture) {
    for name in ["a.txt", "b.txt", "c.md", "dir/x.txt", "dir/sub/y", "dir2/z.txt", "[odd].txt"] {
        fixture.write(name, name);
    }
    fixture.write("empty/", "");
    symlink("dir", fixture.context().join("to-dir")).unwrap();
    symlink("a.txt", fixture.context().join("to-a")).unwrap();
    symlink("/dir/../b.txt", fixture.context().join("absolute")).unwrap();
    symlink("../../../b.txt", fixture.context().join("outside")).unwrap();
    let cases: &[(&[&str], &str, &[&str])] = &[
        (&["a.txt"], "/f", &["f"]),
        (&["a.txt"], "/d/", &["d/", "d/a.txt"]),
        (&["a.txt"], "/d/e/f", &["d/", "d/e/", "d/e/f"]),
        (&["a.txt"], "/d/.", &["d/", "d/a.txt"]),
        (&["a.txt", "c.md"], "/d/", &["d/", "d/a.txt", "d/c.md"]),
        // The last one wins where the destination is no directory.
        (&["a.txt", "c.md"], "/f", &["f"]),
        (&["*.txt"], "/d/", &["d/", "d/[odd].txt", "d/a.txt", "d/b.txt"]),
        (&["?.txt"], "/", &["a.txt", "b.txt"]),
        (&["[a-b].txt"], "/", &["a.txt", "b.txt"]),
        (&["[[]odd].txt"], "/", &["[odd].txt"]),
        (&["*/*.txt"], "/", &["x.txt", "z.txt"]),
        (&["dir*"], "/d", &["d/", "d/sub/", "d/sub/y", "d/x.txt", "d/z.txt"]),
        (&["dir"], "/d", &["d/", "d/sub/", "d/sub/y", "d/x.txt"]),
        (&["dir/"], "/d/", &["d/", "d/sub/", "d/sub/y", "d/x.txt"]),
        (&["dir/."], "/d", &["d/", "d/sub/", "d/sub/y", "d/x.txt"]),
        (&["dir/sub"], "/", &["y"]),
        (&["empty"], "/d", &["d/"]),
        (&["/a.txt"], "/f", &["f"]),
        (&["../../a.txt"], "/f", &["f"]),
        (&["dir/../a.txt"], "/", &["a.txt"]),
        (&["to-dir"], "/d", &["d/", "d/sub/", "d/sub/y", "d/x.txt"]),
        (&["to-dir/x.txt"], "/", &["x.txt"]),
        (&["to-dir/*.txt"], "/", &["x.txt"]),
        (&["to-a"], "/d/", &["d/", "d/to-a"]),
        (&["absolute"], "/d/", &["d/", "d/absolute"]),
        (&["outside"], "/d/", &["d/", "d/outside"]),
        (&["to-*"], "/d/", &["d/", "d/sub/", "d/sub/y", "d/to-a", "d/x.txt"]),
    ];
    for (sources, destination, want) in cases {
        let root = fixture.copy(&step(sources, destination), None);
        assert_eq!(names(&root), *want, "{sources:?} {destination}");
    }
    let root = fixture.copy(&step(&["a.txt", "c.md"], "/f"), None);
    assert_eq!(read(&root, "f"), "c.md");
    let root = fixture.copy(&step(&["outside"], "/f"), None);
    assert_eq!(read(&root, "f"), "b.txt");
    // A link inside a directory that is copied stays a link.
    let root = fixture.copy(&step(&["."], "/"), None);
    assert!(names(&root).contains(&"outside -> ../../../b.txt".to_owned()));
}

fn what_is_not_there(fixture: &Fixture) {
    fixture.write("dir/file", "");
    symlink("nowhere", fixture.context().join("dangling")).unwrap();
    for (source, shown) in [
        ("nope", "/nope"),
        ("dir/nope", "/dir/nope"),
        ("dir/file/below", "/dir/file/below"),
        ("dangling", "/dangling"),
        ("no\"pe", "/no\\\"pe"),
    ] {
        let text = fixture.fails(&step(&[source], "/d/"), None);
        let (start, end) = text.split_once(" of ref ").unwrap();
        assert_eq!(start, "failed to compute cache key: failed to calculate checksum");
        let (reference, end) = end.split_once(": ").unwrap();
        assert_eq!((reference.len(), end), (25, &*format!("\"{shown}\": not found")));
    }
    // A pattern may match nothing, but what it begins with must be there.
    let copied = fixture.try_copy(&fixture.tree(), &step(&["*.none", "dir/*.none"], "/d/"), None);
    assert_eq!(copied.unwrap().layer, None);
    let text = fixture.fails(&step(&["none/*.x"], "/d/"), None);
    assert_eq!(text, "lstat /none: no such file or directory");
    let text = fixture.fails(&step(&["a[b"], "/d/"), None);
    assert_eq!(text, "syntax error in pattern");
}

fn directories_are_merged(fixture: &Fixture) {
    fixture.write("src/sub/new", "new");
    fixture.write("src/keep", "mine too");
    let context = fixture.context();
    fs::set_permissions(context.join("src"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(context.join("src/sub"), fs::Permissions::from_mode(0o750)).unwrap();
    let base = fixture.base(&["d/keep", "d/sub/old", "file", "d/file-here", "x/d/"]);
    let root = fixture.copy(&step(&["src"], "/d"), Some(&base));
    assert_eq!(
        names(&root),
        ["d/", "d/file-here", "d/keep", "d/sub/", "d/sub/new", "d/sub/old", "file", "x/", "x/d/"]
    );
    assert_eq!(read(&root, "d/keep"), "mine too");
    // The destination keeps its mode, directories in it get the source's.
    assert_eq!(marks(&root, "d").0, 0o755);
    assert_eq!(marks(&root, "d/sub").0, 0o750);
    // One that is made gets the usual mode, not the source's.
    let root = fixture.copy(&step(&["src"], "/new/d"), Some(&base));
    assert_eq!((marks(&root, "new").0, marks(&root, "new/d").0), (0o755, 0o755));
    // Kinds that do not fit.
    fixture.write("clash/file-here/x", "");
    fixture.write("over/sub", "");
    let text = fixture.fails(&step(&["clash"], "/d"), Some(&base));
    assert_eq!(text, "cannot copy to non-directory: /d/file-here");
    let text = fixture.fails(&step(&["over"], "/d"), Some(&base));
    assert_eq!(text, "cannot replace to directory /d/sub with file");
    let text = fixture.fails(&step(&["src/keep"], "/file/"), Some(&base));
    assert_eq!(text, "mkdir /file: not a directory");
    let text = fixture.fails(&step(&["src"], "/file"), Some(&base));
    assert_eq!(text, "mkdir /file: not a directory");
    let text = fixture.fails(&step(&["src/keep"], "/file/below/x"), Some(&base));
    assert_eq!(text, "mkdir /file: not a directory");
    // A file goes into a directory, and over a file.
    let root = fixture.copy(&step(&["src/keep"], "/x/d"), Some(&base));
    assert_eq!(read(&root, "x/d/keep"), "mine too");
    let root = fixture.copy(&step(&["src/keep"], "/file"), Some(&base));
    assert_eq!(read(&root, "file"), "mine too");
}

fn links_at_the_destination(fixture: &Fixture) {
    fixture.write("f", "new");
    fixture.write("t/sub/f", "new");
    let base = fixture.base(&[
        "usr/lib/old",
        "lib -> usr/lib",
        "abs -> /usr/lib",
        "up -> ../../../usr",
        "chain -> lib",
        "to-file -> usr/lib/old",
        "dangling -> made/later",
        "t/sub -> /usr",
        "d/f -> /usr/lib/old",
    ]);
    for (destination, at) in [
        ("/lib/", "usr/lib/f"),
        ("/lib", "usr/lib/f"),
        ("/abs/x/y", "usr/lib/x/y"),
        ("/up/lib/", "usr/lib/f"),
        ("/chain/", "usr/lib/f"),
        ("/to-file", "usr/lib/old"),
        ("/dangling/", "made/later/f"),
        ("/dangling", "made/later"),
    ] {
        let root = fixture.copy(&step(&["f"], destination), Some(&base));
        assert_eq!(read(&root, at), "new", "{destination}");
        assert!(root.read_link("lib").is_ok() && root.read_link("to-file").is_ok());
    }
    // Into a directory, a link of the name is replaced.
    let root = fixture.copy(&step(&["f"], "/d/"), Some(&base));
    assert!(root.read_link("d/f").is_err());
    assert_eq!(
        (read(&root, "d/f"), read(&root, "usr/lib/old")),
        ("new".into(), "usr/lib/old".into())
    );
    let text = fixture.fails(&step(&["t"], "/t"), Some(&base));
    assert_eq!(text, "cannot copy to non-directory: /t/sub");
    // A copy beside what is there follows nothing.
    if fixture.layers.driver().name() == "overlay" {
        let linked = CopyStep { link: true, ..step(&["f"], "/lib/") };
        let root = fixture.copy(&linked, Some(&base));
        assert_eq!(read(&root, "lib/f"), "new");
        assert!(root.read_link("lib").is_err());
        let named = CopyStep { chown: "app".into(), ..linked };
        assert_eq!(fixture.fails(&named, Some(&base)), "invalid user index: -1");
    }
}

fn owners_and_modes(fixture: &Fixture) {
    fixture.write("src/run", "");
    fixture.write("src/sub/data", "");
    let context = fixture.context();
    fs::set_permissions(context.join("src/run"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(context.join("src/sub/data"), fs::Permissions::from_mode(0o640)).unwrap();
    let root = Root::open(&context).unwrap();
    root.chown("src/sub/data", Owner { uid: 1234, gid: 4321 }).unwrap();
    let new = fixture.layers.new_directory(None).unwrap();
    fs::create_dir(new.content().join("etc")).unwrap();
    fs::write(new.content().join("etc/passwd"), "app:x:1000:1001::/:\n").unwrap();
    fs::write(new.content().join("etc/group"), "staff:x:50:\n").unwrap();
    let sealed = fixture.layers.seal(new, None, &|| false).unwrap().unwrap();
    let base = fixture.layers.commit(vec![sealed], None, NOW).unwrap()[0].chain_id.clone();
    let plain = step(&["src"], "/new/d/");
    type Case<'a> = (&'a str, &'a str, [(u32, u32, u32); 4]);
    let cases: &[Case<'_>] = &[
        ("", "", [(0o755, 0, 0), (0o4751, 0, 0), (0o755, 0, 0), (0o640, 0, 0)]),
        (
            "app:staff",
            "",
            [(0o755, 1000, 50), (0o4751, 1000, 50), (0o755, 1000, 50), (0o640, 1000, 50)],
        ),
        (
            "app",
            "600",
            [(0o600, 1000, 1001), (0o600, 1000, 1001), (0o600, 1000, 1001), (0o600, 1000, 1001)],
        ),
        ("7", "u=rwX,go=rX", [(0o755, 7, 7), (0o755, 7, 7), (0o755, 7, 7), (0o644, 7, 7)]),
        ("unknown:8", "", [(0o755, 0, 8), (0o4751, 0, 8), (0o755, 0, 8), (0o640, 0, 8)]),
    ];
    for (chown, chmod, want) in cases {
        let step = CopyStep { chown: (*chown).into(), chmod: (*chmod).into(), ..plain.clone() };
        let root = fixture.copy(&step, Some(&base));
        let got =
            ["new", "new/d/run", "new/d/sub", "new/d/sub/data"].map(|path| marks(&root, path));
        assert_eq!(got, *want, "{chown} {chmod}");
        assert_eq!(marks(&root, "etc"), (0o755, 0, 0));
    }
    for chmod in ["8", "10000", "foo"] {
        let step = CopyStep { chmod: chmod.into(), ..plain.clone() };
        assert_eq!(
            fixture.fails(&step, Some(&base)),
            format!(
                "invalid chmod parameter: '{chmod}'. it should be octal string and between 0 and 07777"
            )
        );
    }
}

fn everything_a_file_carries(fixture: &Fixture) {
    for name in ["src/bin/tool", "src/other"] {
        fixture.write(name, name);
    }
    let context = fixture.context();
    fs::hard_link(context.join("src/bin/tool"), context.join("src/alias")).unwrap();
    fs::File::create(context.join("src/sparse")).unwrap().set_len(64 << 20).unwrap();
    fs::write(context.join("src/large"), vec![7; 3_000_000]).unwrap();
    symlink("../nowhere", context.join("src/link")).unwrap();
    let root = Root::open(&context).unwrap();
    root.create_node("src/pipe", Node::Fifo, 0o640).unwrap();
    root.create_node("src/null", Node::Char(1, 3), 0o666).unwrap();
    root.create_node("src/disk", Node::Block(7, 9), 0o660).unwrap();
    root.create_node("src/socket", Node::Socket, 0o755).unwrap();
    root.set_xattr("src/bin/tool", c"security.capability", &NET_BIND).unwrap();
    root.set_xattr("src/other", c"user.color", b"red").unwrap();
    root.set_xattr("src/bin", c"user.color", b"blue").unwrap();
    let time = FileTime { seconds: 1_500_000_000, nanoseconds: 123_456_789 };
    for path in ["src/bin/tool", "src/other", "src/link", "src/pipe", "src/bin", "src/large", "src"]
    {
        root.set_time(path, time).unwrap();
    }
    let view = fixture.copy(&step(&["src"], "/d"), None);
    for path in ["d/bin/tool", "d/other", "d/link", "d/pipe", "d/bin", "d/large", "d"] {
        assert_eq!(view.lstat(path).unwrap().st_mtime, 1_500_000_000, "{path}");
    }
    let tool = view.lstat("d/bin/tool").unwrap();
    assert_eq!(tool.st_nlink, 2);
    assert_eq!(view.lstat("d/alias").unwrap().st_ino, tool.st_ino);
    let attribute = |path: &str, name| view.get_xattr(path, name).unwrap();
    assert_eq!(attribute("d/bin/tool", c"security.capability").as_deref(), Some(&NET_BIND[..]));
    assert_eq!(attribute("d/other", c"user.color").as_deref(), Some(&b"red"[..]));
    assert_eq!(attribute("d/bin", c"user.color").as_deref(), Some(&b"blue"[..]));
    let kind = |path: &str| rustix::fs::FileType::from_raw_mode(view.lstat(path).unwrap().st_mode);
    assert_eq!(kind("d/pipe"), rustix::fs::FileType::Fifo);
    assert_eq!(kind("d/null"), rustix::fs::FileType::CharacterDevice);
    assert_eq!(view.lstat("d/disk").unwrap().st_rdev, rustix::fs::makedev(7, 9));
    // Nobody listens at a socket's end in an image.
    assert_eq!(
        (kind("d/socket"), view.lstat("d/socket").unwrap().st_size),
        (rustix::fs::FileType::RegularFile, 0)
    );
    let sparse = view.lstat("d/sparse").unwrap();
    assert_eq!(sparse.st_size, 64 << 20);
    assert!(sparse.st_blocks < 256, "{} blocks", sparse.st_blocks);
    assert_eq!(view.read_limited("d/large", 4_000_000).unwrap(), vec![7; 3_000_000]);
    assert_eq!(view.read_link("d/link").unwrap(), Path::new("../nowhere"));
}

fn ignored_files_are_not_there(fixture: &Fixture) {
    for name in ["a.log", "b.txt", "out/x", "out/keep/y", "src/gen/z", "src/w", "only/one.log"] {
        fixture.write(name, name);
    }
    symlink("out/x", fixture.context().join("to-x")).unwrap();
    let mut tree = fixture.tree();
    tree.set_ignore(Ignore::parse("**/*.log\nout\n!out/keep\nsrc/gen\n").unwrap());
    let copied = fixture.try_copy(&tree, &step(&["."], "/"), None).unwrap();
    let root = fixture.view(&copied.layer.unwrap().chain_id);
    assert_eq!(
        names(&root),
        ["b.txt", "only/", "out/", "out/keep/", "out/keep/y", "src/", "src/w", "to-x -> out/x"]
    );
    for source in ["a.log", "out/x", "src/gen", "src/gen/z", "to-x"] {
        let error = fixture.try_copy(&tree, &step(&[source], "/d/"), None).unwrap_err();
        assert!(error.to_string().ends_with(&format!("\"/{source}\": not found")), "{error}");
    }
    for (source, want) in [("out", vec!["d/", "d/keep/", "d/keep/y"]), ("src", vec!["d/", "d/w"])] {
        let copied = fixture.try_copy(&tree, &step(&[source], "/d"), None).unwrap();
        assert_eq!(names(&fixture.view(&copied.layer.unwrap().chain_id)), want);
    }
    let copied = fixture.try_copy(&tree, &step(&["*.log", "out/*/y"], "/d/"), None).unwrap();
    assert_eq!(names(&fixture.view(&copied.layer.unwrap().chain_id)), ["d/", "d/y"]);
    // What is not there does not count either.
    let before = select(fixture.build(), &step(&["."], "/"), Some(&tree)).unwrap();
    fixture.write("a.log", "changed");
    fixture.write("out/new", "");
    let after = select(fixture.build(), &step(&["."], "/"), Some(&tree)).unwrap();
    assert_eq!(before.digest(), after.digest());
    // The Dockerfile may be ignored and is read all the same.
    assert_eq!(tree.read("a.log").unwrap().as_deref(), Some(&b"changed"[..]));
    assert_eq!(tree.read("none").unwrap(), None);
}

fn parents_and_excludes(fixture: &Fixture) {
    for name in ["a/b/one.c", "a/b/two.h", "a/c/three.c", "x/y/four.c", "five.c"] {
        fixture.write(name, name);
    }
    let mode = fs::Permissions::from_mode(0o711);
    fs::set_permissions(fixture.context().join("a/b"), mode).unwrap();
    let parents = |sources: &[&str]| CopyStep { parents: true, ..step(sources, "/d/") };
    let cases: &[(&[&str], &[&str])] = &[
        (&["a/b/one.c"], &["d/", "d/a/", "d/a/b/", "d/a/b/one.c"]),
        (&["a/b"], &["d/", "d/a/", "d/a/b/", "d/a/b/one.c", "d/a/b/two.h"]),
        (&["a/./b/one.c"], &["d/", "d/b/", "d/b/one.c"]),
        (&["./a/./b/*.h", "five.c"], &["d/", "d/b/", "d/b/two.h", "d/five.c"]),
        (
            &["**/*.c"],
            &[
                "d/",
                "d/a/",
                "d/a/b/",
                "d/a/b/one.c",
                "d/a/c/",
                "d/a/c/three.c",
                "d/five.c",
                "d/x/",
                "d/x/y/",
                "d/x/y/four.c",
            ],
        ),
        (&["*/*/t*"], &["d/", "d/a/", "d/a/b/", "d/a/b/two.h", "d/a/c/", "d/a/c/three.c"]),
    ];
    for (sources, want) in cases {
        let root = fixture.copy(&parents(sources), None);
        assert_eq!(names(&root), *want, "{sources:?}");
    }
    let root = fixture.copy(&parents(&["a/b/one.c"]), None);
    assert_eq!((marks(&root, "d/a/b").0, marks(&root, "d").0), (0o711, 0o755));
    let text = fixture.fails(&parents(&["a/nope/x"]), None);
    assert!(text.ends_with("\"/a/nope/x\": not found"), "{text}");
    let excluded = |exclude: &[&str], source: &str| {
        let exclude = exclude.iter().map(|text| (*text).to_owned()).collect();
        names(&fixture.copy(&CopyStep { exclude, ..step(&[source], "/d/") }, None))
    };
    assert_eq!(excluded(&["b"], "a"), ["d/", "d/c/", "d/c/three.c"]);
    assert_eq!(
        excluded(&["**/*.c", "!**/one.c"], "a"),
        ["d/", "d/b/", "d/b/one.c", "d/b/two.h", "d/c/"]
    );
    assert_eq!(excluded(&["*"], "a"), ["d/"]);
    // Patterns see names below the source, so a file that is a source itself is not left out.
    assert_eq!(excluded(&["*.c"], "five.c"), ["d/", "d/five.c"]);
}

fn documents(fixture: &Fixture) {
    let document = |name: &str| Document { name: name.into(), content: format!("<{name}>\n") };
    let one = CopyStep {
        documents: vec![document("one")],
        destination: "/d/f".into(),
        ..Default::default()
    };
    let selection = select(fixture.build(), &one, None).unwrap();
    let copied = apply(fixture.build(), &one, None, selection, None).unwrap();
    let root = fixture.view(&copied.layer.unwrap().chain_id);
    assert_eq!((read(&root, "d/f"), marks(&root, "d/f")), ("<one>\n".into(), (0o644, 0, 0)));
    fixture.write("file", "file");
    let several = CopyStep {
        documents: vec![document("one"), document("two")],
        chown: "3:4".into(),
        chmod: "0700".into(),
        ..step(&["file"], "/d/")
    };
    let root = fixture.copy(&several, None);
    assert_eq!(names(&root), ["d/", "d/file", "d/one", "d/two"]);
    assert_eq!(marks(&root, "d/two"), (0o700, 3, 4));
}

fn tar_of(entries: &[(&str, tar::EntryType, &str, u32)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, content, owner) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(*kind);
        header.set_mode(0o640);
        header.set_uid(u64::from(*owner));
        header.set_gid(u64::from(*owner));
        header.set_mtime(1_400_000_000);
        if matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link) {
            header.set_size(0);
            builder.append_link(&mut header, name, content).unwrap();
        } else {
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, name, content.as_bytes()).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

fn archives_are_unpacked(fixture: &Fixture) {
    use tar::EntryType::{Directory, Regular};
    let plain = tar_of(&[("d", Directory, "", 5), ("d/f", Regular, "content", 7)]);
    let packed = |packing: orlop_archive::Packing| {
        let mut writer = orlop_archive::PackWriter::new(packing, Vec::new());
        std::io::Write::write_all(&mut writer, &plain).unwrap();
        writer.finish().unwrap()
    };
    let context = fixture.context();
    fs::write(context.join("plain"), &plain).unwrap();
    fs::write(context.join("a.gz"), packed(orlop_archive::Packing::GZIP)).unwrap();
    fs::write(context.join("b.zip"), packed(orlop_archive::Packing::ZSTD)).unwrap();
    fixture.write("no.tar", "this is no archive");
    fixture.write("empty.tar", "");
    fs::write(context.join("nothing.tar"), [0; 1024]).unwrap();
    for source in ["plain", "a.gz", "b.zip"] {
        let root = fixture.copy(&add(&[source], "/x"), None);
        assert_eq!(names(&root), ["x/", "x/d/", "x/d/f"], "{source}");
        assert_eq!(marks(&root, "x/d/f"), (0o640, 7, 7));
        assert_eq!(root.lstat("x/d/f").unwrap().st_mtime, 1_400_000_000);
    }
    for source in ["no.tar", "empty.tar", "nothing.tar"] {
        let root = fixture.copy(&add(&[source], "/x/"), None);
        assert_eq!(names(&root), ["x/".to_owned(), format!("x/{source}")]);
    }
    let owned = CopyStep { chown: "9:8".into(), ..add(&["a.gz"], "/x") };
    let root = fixture.copy(&owned, None);
    assert_eq!((marks(&root, "x/d/f").1, marks(&root, "x").2), (9, 8));
    let kept = AddOptions { unpack: Some(false), ..AddOptions::default() };
    let root = fixture.copy(&CopyStep { add: Some(kept), ..add(&["a.gz"], "/x/") }, None);
    assert_eq!(names(&root), ["x/", "x/a.gz"]);
    let root = fixture.copy(&step(&["a.gz"], "/x/"), None);
    assert_eq!(names(&root), ["x/", "x/a.gz"]);
    // Cut in the middle: it begins like an archive, so it is one, and damaged.
    let cut = &plain[..1024 + 3];
    fs::write(context.join("cut"), cut).unwrap();
    let text = fixture.fails(&add(&["cut"], "/x"), None);
    assert_eq!(text, "the archive ends in the middle of the entry `d/f`");
}

fn archives_go_over_what_is_there(fixture: &Fixture) {
    use tar::EntryType::{Directory, Regular, Symlink};
    let base = fixture.base(&["usr/lib/old", "lib -> usr/lib", "etc/conf", "dir/old", "was/x"]);
    let tar = tar_of(&[
        ("lib/new", Regular, "new", 0),
        ("etc/conf", Regular, "changed", 3),
        ("dir", Directory, "", 4),
        ("evil", Symlink, "/etc", 0),
        ("evil/through", Regular, "inside", 0),
    ]);
    fs::write(fixture.context().join("t.tar"), tar).unwrap();
    fixture.write("plain", "plain");
    let root = fixture.copy(&add(&["t.tar", "plain"], "/"), Some(&base));
    assert_eq!(
        names(&root),
        [
            "dir/",
            "dir/old",
            "etc/",
            "etc/conf",
            "etc/through",
            "evil -> /etc",
            "lib -> usr/lib",
            "plain",
            "usr/",
            "usr/lib/",
            "usr/lib/new",
            "usr/lib/old",
            "was/",
            "was/x",
        ]
    );
    assert_eq!(
        (read(&root, "etc/conf"), marks(&root, "etc/conf")),
        ("changed".into(), (0o640, 3, 3))
    );
    assert_eq!((marks(&root, "dir"), read(&root, "plain")), ((0o640, 4, 4), "plain".into()));
}

fn directories_of_workdir(fixture: &Fixture) {
    let base = fixture.base(&["usr/x", "link -> usr", "file", "etc/"]);
    let make = |path: &str, owner: &str| make_directory(fixture.build(), path, owner, Some(&base));
    for path in ["/", "/usr", "/link", "/usr/../etc/"] {
        assert_eq!(make(path, "").unwrap(), None, "{path}");
    }
    let layer = make("/link/a/b", "7:8").unwrap().unwrap();
    let root = fixture.view(&layer.chain_id);
    assert_eq!((marks(&root, "usr/a"), marks(&root, "usr/a/b")), ((0o755, 7, 8), (0o755, 7, 8)));
    assert_eq!((marks(&root, "usr"), read(&root, "usr/x")), ((0o755, 0, 0), "usr/x".into()));
    assert_eq!(make("/file/x", "").unwrap_err().to_string(), "mkdir /file: not a directory");
    let layer = make_directory(fixture.build(), "/a", "", None).unwrap().unwrap();
    assert_eq!(names(&fixture.view(&layer.chain_id)), ["a/"]);
}

fn stages_keep_their_owners(fixture: &Fixture) {
    fixture.write("f", "f");
    let owned = CopyStep { chown: "11:12".into(), ..step(&["f"], "/out/f") };
    let stage = fixture.try_copy(&fixture.tree(), &owned, None).unwrap().layer.unwrap().chain_id;
    let tree = Tree::of_layers(&fixture.layers, Some(&stage)).unwrap();
    let copied = fixture.try_copy(&tree, &step(&["/out"], "/d"), None).unwrap();
    let root = fixture.view(&copied.layer.unwrap().chain_id);
    assert_eq!((marks(&root, "d/f"), marks(&root, "d")), ((0o644, 11, 12), (0o755, 0, 0)));
    let owned = CopyStep { chown: "1".into(), ..step(&["/out/f"], "/d/") };
    let copied = fixture.try_copy(&tree, &owned, None).unwrap();
    let root = fixture.view(&copied.layer.unwrap().chain_id);
    assert_eq!((marks(&root, "d/f"), marks(&root, "d")), ((0o644, 1, 1), (0o755, 1, 1)));
    // Nothing at all to copy from.
    let scratch = Tree::of_layers(&fixture.layers, None).unwrap();
    let error = fixture.try_copy(&scratch, &step(&["x"], "/"), None).unwrap_err();
    assert!(error.to_string().ends_with("\"/x\": not found"), "{error}");
}

fn nothing_makes_no_layer(fixture: &Fixture) {
    fixture.write("empty/", "");
    let base = fixture.base(&["d/x"]);
    let copied = fixture.try_copy(&fixture.tree(), &step(&["empty"], "/d"), Some(&base)).unwrap();
    assert_eq!(copied.layer, None);
    let staging = fixture.layers.store().paths.staging();
    assert_eq!(fs::read_dir(staging).unwrap().count(), 0);
    assert_eq!(fixture.layers.sweep(NOW).unwrap(), 0);
}

fn hostile_names_and_kinds(fixture: &Fixture) {
    use std::os::unix::ffi::OsStrExt as _;
    let context = fixture.context();
    let odd = ["new\nline", "tab\t", "-rf", "\\", "ü", " "];
    for name in odd {
        fixture.write(&format!("src/{name}"), name);
    }
    let bytes = std::ffi::OsStr::from_bytes(b"src/\xff\xfe");
    fs::write(context.join(bytes), "bytes").unwrap();
    let root = fixture.copy(&step(&["src"], "/"), None);
    for name in odd {
        assert_eq!(read(&root, name), name);
    }
    assert_eq!(
        root.read_limited(Path::new(std::ffi::OsStr::from_bytes(b"\xff\xfe")), 9).unwrap(),
        b"bytes"
    );
    // Nobody reads from the pipe, and nothing hangs.
    let tree = Root::open(&context).unwrap();
    tree.create_node("pipe", Node::Fifo, 0o600).unwrap();
    let root = fixture.copy(&step(&["pipe"], "/"), None);
    let kind = rustix::fs::FileType::from_raw_mode(root.lstat("pipe").unwrap().st_mode);
    assert_eq!(kind, rustix::fs::FileType::Fifo);
    // Deeper than any path can name.
    let deep = fixture.directory.path().join("deep");
    fs::create_dir(&deep).unwrap();
    let mut fd =
        rustix::fs::open(&deep, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
    for _ in 0..4_096 {
        rustix::fs::mkdirat(&fd, c"d", rustix::fs::Mode::RWXU).unwrap();
        fd = orlop_sys::confined::open_dir_at(std::os::fd::AsFd::as_fd(&fd), c"d").unwrap();
    }
    let tree = Tree::directory(fixture.layers.store(), &deep).unwrap();
    let error = fixture.try_copy(&tree, &step(&["."], "/"), None).unwrap_err().to_string();
    assert!(
        error.starts_with("error from sender: open d/d/d/")
            && error.ends_with("file name too long"),
        "{error}"
    );
    let mut tree = Tree::directory(fixture.layers.store(), &deep).unwrap();
    tree.set_ignore(Ignore::parse("d/d/d").unwrap());
    let copied = fixture.try_copy(&tree, &step(&["."], "/"), None).unwrap();
    assert_eq!(names(&fixture.view(&copied.layer.unwrap().chain_id)), ["d/", "d/d/"]);
    let top = Root::open(fixture.directory.path()).unwrap();
    top.remove_tree("deep").unwrap();
}

fn selection_of(fixture: &Fixture, tree: &Tree, step: &CopyStep) -> Selection {
    select(fixture.build(), step, Some(tree)).unwrap()
}

fn changes_between_selecting_and_copying(fixture: &Fixture) {
    for name in ["src/a", "src/b", "src/sub/c"] {
        fixture.write(name, name);
    }
    let tree = fixture.tree();
    let all = step(&["src"], "/d");
    let before = selection_of(fixture, &tree, &all);
    let digest = before.digest().clone();
    fixture.write("src/sub/c", "another content of another length");
    fixture.write("src/b", "src/B");
    let copied = apply(fixture.build(), &all, Some(&tree), before, None).unwrap();
    assert_ne!(copied.digest, digest);
    let root = fixture.view(&copied.layer.unwrap().chain_id);
    assert_eq!(read(&root, "d/sub/c"), "another content of another length");
    // The digest is that of what is in the layer now.
    assert_eq!(*selection_of(fixture, &tree, &all).digest(), copied.digest);
    let again = selection_of(fixture, &tree, &all);
    let copied_again = apply(fixture.build(), &all, Some(&tree), again, None).unwrap();
    assert_eq!(copied_again.digest, copied.digest);
    // A link in the place of a file or of a directory is not followed.
    let secret = fixture.directory.path().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("c"), "secret").unwrap();
    let before = selection_of(fixture, &tree, &all);
    fs::rename(fixture.context().join("src/sub"), fixture.directory.path().join("moved")).unwrap();
    symlink(&secret, fixture.context().join("src/sub")).unwrap();
    let error = apply(fixture.build(), &all, Some(&tree), before, None).unwrap_err();
    assert_eq!(error.to_string(), "open /sub: not a directory");
    fs::remove_file(fixture.context().join("src/sub")).unwrap();
    let before = selection_of(fixture, &tree, &all);
    fs::remove_file(fixture.context().join("src/a")).unwrap();
    symlink(secret.join("c"), fixture.context().join("src/a")).unwrap();
    let error = apply(fixture.build(), &all, Some(&tree), before, None).unwrap_err();
    assert_eq!(error.to_string(), "open /a: no such file or directory");
    assert_eq!(fs::read_dir(fixture.layers.store().paths.staging()).unwrap().count(), 0);
}

fn a_cancelled_copy_leaves_nothing(fixture: &Fixture) {
    fixture.write("f", "f");
    let tree = fixture.tree();
    let all = step(&["."], "/");
    let selection = selection_of(fixture, &tree, &all);
    fixture.cancel.cancel();
    let error = apply(fixture.build(), &all, Some(&tree), selection, None).unwrap_err();
    assert!(matches!(error, Error::Cancelled));
    assert!(matches!(select(fixture.build(), &all, Some(&tree)), Err(Error::Cancelled)));
    assert_eq!(fs::read_dir(fixture.layers.store().paths.staging()).unwrap().count(), 0);
}

/// What counts for the cache, and what was read for it.
#[test]
fn digests_and_reads() {
    let directory = tempfile::tempdir().unwrap();
    let store =
        Store::open(&directory.path().join("store"), &directory.path().join("run")).unwrap();
    let layers = LayerStore::open(Arc::new(store), Some("vfs")).unwrap();
    let cancel = Cancel::default();
    let build = CopyBuild { layers: &layers, cancel: &cancel, now: NOW };
    let context = directory.path().join("context");
    fs::create_dir_all(context.join("sub")).unwrap();
    for number in 0..700 {
        fs::write(context.join(format!("f{number}")), format!("{number}")).unwrap();
        fs::write(context.join(format!("sub/g{number}")), format!("{number}")).unwrap();
    }
    // Long enough that nothing was changed just now.
    std::thread::sleep(std::time::Duration::from_millis(100));
    let look = |remember: bool| {
        let tree = Tree::directory(layers.store(), &context).unwrap();
        let selection = select(build, &step(&["."], "/"), Some(&tree)).unwrap();
        if remember {
            tree.remember();
        }
        (selection.digest().clone(), tree.memory().unwrap().reads())
    };
    let (first, reads) = look(true);
    assert_eq!(reads, 1_400);
    assert_eq!(look(true), (first.clone(), 0));
    // One file with another content of the same length and the same time.
    let path = context.join("sub/g7");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "8").unwrap();
    fs::File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(100));
    let (second, reads) = look(true);
    assert!(second != first);
    assert_eq!((reads, look(true)), (1, (second.clone(), 0)));
    fs::write(&path, "7").unwrap();
    assert_eq!(look(true).0, first, "the content is what counts");
    // Times, also of directories, do not count; modes and names do.
    let now = std::time::SystemTime::now();
    fs::File::open(context.join("sub")).unwrap().set_modified(now).unwrap();
    assert_eq!(look(true).0, first);
    let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    let old = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
    mode(0o600);
    assert_ne!(look(true).0, first);
    mode(old);
    assert_eq!(look(true).0, first);
    fs::rename(&path, context.join("sub/other")).unwrap();
    assert_ne!(look(true).0, first);
    // Another inode of the same content is read, and is the same.
    fs::rename(context.join("sub/other"), context.join("sub/moved")).unwrap();
    fs::copy(context.join("sub/moved"), &path).unwrap();
    fs::remove_file(context.join("sub/moved")).unwrap();
    assert_eq!(look(false).0, first);
    let entries = |source: &str| {
        let tree = Tree::directory(layers.store(), &context).unwrap();
        select(build, &step(&[source], "/"), Some(&tree)).unwrap().entries().collect::<Vec<_>>()
    };
    let before = entries(".");
    assert_eq!(before.len(), 1_401);
    fs::write(context.join("f3"), "x").unwrap();
    let changed: Vec<Vec<u8>> = before
        .into_iter()
        .zip(entries("."))
        .filter_map(|(before, after)| (before != after).then_some(after.0))
        .collect();
    assert_eq!(changed, [b"f3".to_vec()]);
    assert_eq!(entries("sub/g1")[0].0, b"sub/g1");
}

/// A reader must not be able to keep the walk from ending, or lead it astray.
#[test]
fn a_tree_that_changes_during_the_walk_is_walked_to_its_end() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let directory = tempfile::tempdir().unwrap();
    let store =
        Store::open(&directory.path().join("store"), &directory.path().join("run")).unwrap();
    let layers = LayerStore::open(Arc::new(store), Some("vfs")).unwrap();
    let cancel = Cancel::default();
    let build = CopyBuild { layers: &layers, cancel: &cancel, now: NOW };
    let context = directory.path().join("context");
    let secret = directory.path().join("secret");
    for path in [&context, &secret] {
        fs::create_dir_all(path.join("d/e")).unwrap();
        fs::write(path.join("d/e/f"), path.file_name().unwrap().as_encoded_bytes()).unwrap();
    }
    let want = select(
        build,
        &step(&["."], "/"),
        Some(&Tree::directory(layers.store(), &context).unwrap()),
    );
    let whole: Vec<_> = want.unwrap().entries().collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                fs::rename(context.join("d"), context.join("away")).unwrap();
                symlink(secret.join("d"), context.join("d")).unwrap();
                fs::remove_file(context.join("d")).unwrap();
                fs::rename(context.join("away"), context.join("d")).unwrap();
            }
        });
        for _ in 0..300 {
            let tree = Tree::directory(layers.store(), &context).unwrap();
            let found = select(build, &step(&["."], "/"), Some(&tree)).unwrap();
            for (path, digest) in found.entries() {
                let is_file = path.ends_with(b"/f");
                let known = whole.iter().any(|(_, known)| *known == digest);
                assert!(!is_file || known, "{}", String::from_utf8_lossy(&path));
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}
