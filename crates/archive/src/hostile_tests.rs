//! Archives that try to get out: each is refused by name or contained, and what lies outside is
//! untouched.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // Trees of our own making.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use orlop_sys::confined::Root;
use tar_core::{EntryType, SparseEntry};

use crate::extract::{ExtractOptions, WhiteoutForm, extract};
use crate::testing::Tar;
use crate::{Error, Refusal};

type Case = (&'static str, Vec<u8>, Expect);

enum Expect {
    /// Refused with this reason at this entry.
    Refused(&'static str, Refusal),
    Truncated,
    Damaged,
    /// Unpacked without harm.
    Contained,
}

fn options() -> ExtractOptions {
    ExtractOptions {
        entries_max: 40,
        file_max_bytes: 1 << 20,
        ..ExtractOptions::new(WhiteoutForm::Apply)
    }
}

fn cases(outside: &Path) -> Vec<Case> {
    use Expect::{Contained, Damaged, Refused, Truncated};
    let path = |name: &str| outside.join(name).as_os_str().as_bytes().to_vec();
    let tar = Tar::default;
    let parent = |name: &str| Refusal::ParentNotDirectory(name.to_owned());
    let target = |name: &[u8]| Refusal::LinkTarget(String::from_utf8_lossy(name).into_owned());
    let long = [b'n'; 256];
    let long_name: &'static str =
        Box::leak(String::from_utf8(long.to_vec()).unwrap().into_boxed_str());
    let deep: &'static str = Box::leak("d/".repeat(1025).into_boxed_str());
    let gnu_name: &'static str =
        Box::leak(format!("{}../../../canary", "x/".repeat(2)).into_boxed_str());
    let mut gnu_long = Tar::gnu(format!("{}{gnu_name}", "./".repeat(60)).as_bytes());
    let gnu_entry: &'static str =
        Box::leak(format!("{}{gnu_name}", "./".repeat(60)).into_boxed_str());
    let mut bad_checksum = tar().file(b"first", b"").0;
    bad_checksum.extend(tar().file(b"second", b"").0);
    bad_checksum[512] ^= 1;
    let mut sparse = Tar::gnu(b"sparse");
    sparse.size(4).unwrap().sparse(&[SparseEntry { offset: 100, length: 4 }], 50);
    let mut sparse_sum = Tar::gnu(b"sparse");
    sparse_sum.size(512).unwrap().sparse(&[SparseEntry { offset: 0, length: 4 }], 50);
    let mut huge = Tar::gnu(b"huge");
    huge.size(0).unwrap().sparse(&[], 1 << 40);
    let many = (0..41).fold(tar(), |tar, at| tar.file(format!("f{at}").as_bytes(), b""));
    let ended = |tar: Tar| tar.end();
    vec![
        ("parent", ended(tar().file(b"../canary", b"x")), Refused("../canary", Refusal::Escapes)),
        (
            "absolute parent",
            ended(tar().file(b"/../canary", b"x")),
            Refused("/../canary", Refusal::Escapes),
        ),
        (
            "inner parent",
            ended(tar().file(b"a/../../canary", b"x")),
            Refused("a/../../canary", Refusal::Escapes),
        ),
        ("absolute name", ended(tar().file(&path("canary"), b"x")), Contained),
        (
            "through an absolute link",
            ended(tar().symlink(b"x", &path("dir")).file(b"x/f", b"x")),
            Refused("x/f", parent("x")),
        ),
        (
            "through a relative link",
            ended(tar().symlink(b"x", b"../dir").file(b"x/f", b"x")),
            Refused("x/f", parent("x")),
        ),
        (
            "through two links",
            ended(tar().symlink(b"a", &path("")).symlink(b"b", b"a/dir").file(b"b/f", b"x")),
            Refused("b/f", parent("b")),
        ),
        (
            "through proc",
            ended(tar().symlink(b"x", b"/proc/self/cwd").file(b"x/f", b"x")),
            Refused("x/f", parent("x")),
        ),
        (
            "through a loop",
            ended(tar().symlink(b"x", b"y").symlink(b"y", b"x").file(b"x/f", b"x")),
            Refused("x/f", parent("x")),
        ),
        (
            "through a file",
            ended(tar().file(b"x", b"").file(b"x/f", b"x")),
            Refused("x/f", parent("x")),
        ),
        (
            "over a link",
            ended(tar().symlink(b"x", &path("canary")).file(b"x", b"changed")),
            Contained,
        ),
        (
            "directory over a link",
            ended(tar().symlink(b"x", &path("dir")).dir(b"x/").file(b"x/f", b"x")),
            Contained,
        ),
        (
            "link over a directory in use",
            ended(
                tar().dir(b"d/").file(b"d/a", b"").symlink(b"d", &path("dir")).file(b"d/b", b"x"),
            ),
            Refused("d/b", parent("d")),
        ),
        (
            "times of a replaced directory",
            ended(tar().dir(b"d/").symlink(b"d", &path("dir"))),
            Contained,
        ),
        (
            "hard link to a parent",
            ended(tar().hard_link(b"h", b"../canary")),
            Refused("h", target(b"../canary")),
        ),
        (
            "hard link to an absolute path",
            ended(tar().hard_link(b"h", &path("canary"))),
            Refused("h", target(&path("canary"))),
        ),
        (
            "hard link through a link",
            ended(tar().symlink(b"d", &path("")).hard_link(b"h", b"d/canary")),
            Refused("h", target(b"d/canary")),
        ),
        (
            "hard link to a link",
            ended(
                tar().symlink(b"x", &path("canary")).hard_link(b"h", b"x").file(b"h", b"changed"),
            ),
            Contained,
        ),
        (
            "hard link to a directory",
            ended(tar().dir(b"d/").hard_link(b"h", b"d")),
            Refused("h", target(b"d")),
        ),
        ("hard link to nothing", ended(tar().hard_link(b"h", b"h")), Refused("h", target(b"h"))),
        (
            "hard link to what it replaces",
            ended(tar().dir(b"d/").file(b"d/f", b"").hard_link(b"d", b"d/f")),
            Refused("d", target(b"d/f")),
        ),
        (
            "whiteout of nothing",
            ended(tar().file(b".wh.", b"")),
            Refused(".wh.", Refusal::ReservedName),
        ),
        (
            "whiteout of itself",
            ended(tar().file(b".wh..", b"")),
            Refused(".wh..", Refusal::ReservedName),
        ),
        (
            "whiteout of the parent",
            ended(tar().file(b"d/.wh...", b"")),
            Refused("d/.wh...", Refusal::ReservedName),
        ),
        (
            "below a whiteout",
            ended(tar().file(b".wh.d/f", b"")),
            Refused(".wh.d/f", Refusal::ReservedName),
        ),
        (
            "whiteout through a link",
            ended(tar().symlink(b"x", &path("")).file(b"x/.wh.canary", b"")),
            Contained,
        ),
        (
            "opaque through a link",
            ended(tar().symlink(b"x", &path("")).file(b"x/.wh..wh..opq", b"")),
            Contained,
        ),
        (
            "extended path",
            ended(tar().pax(b"fine", &[("path", b"../canary")], b"x")),
            Refused("../canary", Refusal::Escapes),
        ),
        (
            "extended link path",
            ended(
                tar().add(
                    Tar::builder(b"h", EntryType::Link)
                        .link_name(b"fine")
                        .add_pax("linkpath", b"../canary"),
                    b"",
                ),
            ),
            Refused("h", target(b"../canary")),
        ),
        (
            "extended zero byte",
            ended(tar().pax(b"fine", &[("path", b"a\0b")], b"")),
            Refused("a\0b", Refusal::ExtendedHeader("path".to_owned())),
        ),
        (
            "extended size",
            ended(tar().pax(b"f", &[("size", b"+1")], b"x")),
            Refused("f", Refusal::ExtendedHeader("size".to_owned())),
        ),
        (
            "extended size too long",
            ended(tar().pax(b"f", &[("size", b"18446744073709551615")], b"x")),
            Refused("f", Refusal::TooLarge(u64::MAX - 512)),
        ),
        ("extended size beyond the end", tar().pax(b"f", &[("size", b"99999")], b"x").0, Truncated),
        (
            "extended owner",
            ended(tar().pax(b"f", &[("uid", b"4294967295"), ("gid", b"0")], b"")),
            Refused("f", Refusal::Owner(4_294_967_295, 0)),
        ),
        (
            "GNU long name",
            ended(tar().add(&mut gnu_long, b"")),
            Refused(gnu_entry, Refusal::Escapes),
        ),
        ("long component", ended(tar().file(&long, b"")), Refused(long_name, Refusal::InvalidName)),
        ("deep name", ended(tar().dir(deep.as_bytes())), Refused(deep, Refusal::TooDeep(1024))),
        (
            "unknown type",
            ended(tar().add(&mut Tar::builder(b"z", EntryType::Other(b'Z')), b"")),
            Refused("z", Refusal::UnknownType('Z')),
        ),
        (
            "link without target",
            ended(tar().link(b"s", b"", EntryType::Symlink)),
            Refused("s", Refusal::NoTarget),
        ),
        (
            "sparse beyond the end",
            ended(tar().add(&mut sparse, b"abcd")),
            Refused("sparse", Refusal::SparseMap),
        ),
        (
            "sparse sum",
            ended(tar().add(&mut sparse_sum, &[0; 512])),
            Refused("sparse", Refusal::SparseMap),
        ),
        (
            "huge sparse file",
            ended(tar().add(&mut huge, b"")),
            Refused("huge", Refusal::TooLarge(1 << 20)),
        ),
        ("too many entries", ended(many), Refused("f40", Refusal::TooManyEntries(40))),
        ("cut content", tar().file(b"f", &[7; 1000]).0[..900].to_vec(), Truncated),
        ("cut header", tar().file(b"f", b"").raw(b"rest").0, Truncated),
        ("checksum", bad_checksum, Damaged),
    ]
}

#[test]
fn hostile_archives_are_refused_or_contained() {
    let count = cases(Path::new("/")).len();
    assert!(count >= 40, "{count}");
    for at in 0..count {
        let scratch = tempfile::tempdir().unwrap();
        let outside = scratch.path().canonicalize().unwrap();
        std::fs::write(outside.join("canary"), "safe").unwrap();
        std::fs::create_dir(outside.join("dir")).unwrap();
        std::fs::create_dir(outside.join("root")).unwrap();
        std::fs::set_permissions(outside.join("dir"), std::fs::Permissions::from_mode(0o751))
            .unwrap();
        let before = std::fs::metadata(outside.join("dir")).unwrap();
        let canary_before = std::fs::metadata(outside.join("canary")).unwrap();
        let (label, archive, expect) = cases(&outside).swap_remove(at);
        let root = Root::open(&outside.join("root")).unwrap();
        let result = extract(&archive[..], &root, options());
        match (expect, result) {
            (
                Expect::Refused(entry, refusal),
                Err(Error::Refused { entry: found, refusal: why }),
            ) => {
                assert_eq!((found.as_str(), &why), (entry, &refusal), "{label}");
            }
            (Expect::Truncated, Err(Error::Truncated { .. }))
            | (Expect::Damaged, Err(Error::Damaged { .. }))
            | (Expect::Contained, Ok(_)) => {}
            (_, result) => panic!("{label}: {result:?}"),
        }
        let mut names: Vec<_> =
            std::fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["canary", "dir", "root"], "{label}");
        assert_eq!(std::fs::read(outside.join("canary")).unwrap(), b"safe", "{label}");
        let canary = std::fs::metadata(outside.join("canary")).unwrap();
        assert_eq!(
            (canary.nlink(), canary.ctime_nsec()),
            (1, canary_before.ctime_nsec()),
            "{label}"
        );
        let after = std::fs::metadata(outside.join("dir")).unwrap();
        assert_eq!(
            (after.mode(), after.mtime_nsec(), after.ctime_nsec()),
            (before.mode(), before.mtime_nsec(), before.ctime_nsec()),
            "{label}"
        );
        assert_eq!(std::fs::read_dir(outside.join("dir")).unwrap().count(), 0, "{label}");
    }
}

#[test]
fn attributes_that_steer_overlays_are_left_out() {
    let scratch = tempfile::tempdir().unwrap();
    let root = Root::open(scratch.path()).unwrap();
    let archive = Tar::default()
        .pax(
            b"f",
            &[("SCHILY.xattr.user.overlay.redirect", b"/etc"), ("SCHILY.xattr.user.mine", b"1")],
            b"",
        )
        .end();
    extract(&archive[..], &root, options()).unwrap();
    assert_eq!(root.get_xattr("f", c"user.overlay.redirect").unwrap(), None);
    assert_eq!(root.get_xattr("f", c"user.mine").unwrap(), Some(b"1".to_vec()));
}
