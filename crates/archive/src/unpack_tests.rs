//! Copies: what `pack` writes and `unpack` makes of it, and of hostile archives.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // Trees of our own making.

use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use orlop_sys::confined::{LastLink, Owner, Root};
use proptest::prelude::*;

use crate::resource::{Packed, Resource, pack};
use crate::testing::Tar;
use crate::unpack::{Ownership, Rename, Replace, UnpackOptions, unpack};
use crate::write::{Holes, TarWriter, Times};
use crate::{Error, Result};

fn packed(top: &Path, path: &str, last: LastLink, name: &[u8]) -> (Vec<u8>, Packed) {
    let root = Root::open(top).unwrap();
    let mut bytes = Vec::new();
    let resource = Resource { path: Path::new(path), last, name };
    let packed = pack(&root, resource, TarWriter::new(&mut bytes, Times::Nanoseconds)).unwrap();
    (bytes, packed)
}

fn names(archive: &[u8]) -> Vec<String> {
    let mut tar = crate::read::TarReader::new(archive);
    let mut names = Vec::new();
    while let Some(entry) = tar.next_entry().unwrap() {
        names.push(String::from_utf8(entry.name).unwrap());
    }
    names
}

fn into(top: &Path, archive: &[u8], options: &UnpackOptions) -> Result<u64> {
    unpack(archive, &Root::open(top).unwrap(), options)
}

fn same_kind() -> UnpackOptions {
    UnpackOptions { replace: Replace::SameKind, ..UnpackOptions::default() }
}

#[test]
fn archives_have_dockers_names() {
    let scratch = tempfile::tempdir().unwrap();
    let top = scratch.path();
    std::fs::create_dir(top.join("data")).unwrap();
    std::fs::write(top.join("data/f"), "x").unwrap();
    symlink("data", top.join("dlink")).unwrap();
    for (path, last, name, want) in [
        ("data", LastLink::Keep, "data", vec!["data/", "data/f"]),
        ("data", LastLink::Follow, ".", vec!["./", "./f"]),
        ("data/f", LastLink::Keep, "f", vec!["f"]),
        ("dlink", LastLink::Keep, "dlink", vec!["dlink"]),
        ("dlink", LastLink::Follow, "dlink", vec!["dlink/", "dlink/f"]),
        ("", LastLink::Follow, "/", vec!["/", "data/", "data/f", "dlink"]),
    ] {
        let (archive, _) = packed(top, path, last, name.as_bytes());
        assert_eq!(names(&archive), want, "{path} as {name}");
    }
    let (_, size) = packed(top, "data/f", LastLink::Keep, b"f");
    assert_eq!(size, Packed { entries: 1, plain_bytes: 2048 });
}

#[test]
fn names_that_mean_deletions_in_layers_are_names_here() {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join("kept"), "kept").unwrap();
    let archive = Tar::default().file(b".wh.kept", b"a").file(b".wh..wh..opq", b"b").end();
    into(scratch.path(), &archive, &same_kind()).unwrap();
    assert_eq!(std::fs::read(scratch.path().join("kept")).unwrap(), b"kept");
    assert_eq!(std::fs::read(scratch.path().join(".wh.kept")).unwrap(), b"a");
    assert_eq!(std::fs::read(scratch.path().join(".wh..wh..opq")).unwrap(), b"b");
}

#[test]
fn links_of_the_archive_lead_nowhere_else() {
    let scratch = tempfile::tempdir().unwrap();
    let outside = scratch.path().join("outside");
    let top = scratch.path().join("top");
    std::fs::create_dir_all(&outside).unwrap();
    std::fs::create_dir(&top).unwrap();
    std::fs::write(outside.join("canary"), "alive").unwrap();
    let absolute = outside.to_str().unwrap().as_bytes();
    for archive in [
        Tar::default().symlink(b"l", absolute).file(b"l/canary", b"dead").end(),
        Tar::default().symlink(b"l", b"../outside").file(b"l/canary", b"dead").end(),
        Tar::default().file(b"../outside/canary", b"dead").end(),
        Tar::default().hard_link(b"h", b"../outside/canary").end(),
        Tar::default().symlink(b"l", b"../outside/canary").hard_link(b"h", b"l/../canary").end(),
        Tar::default().symlink(b"f", b"../outside/canary").file(b"f", b"new").end(),
    ] {
        let _ = into(&top, &archive, &UnpackOptions::default());
        assert_eq!(std::fs::read(outside.join("canary")).unwrap(), b"alive");
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
    }
    assert_eq!(std::fs::read(top.join("f")).unwrap(), b"new");
}

#[test]
fn directories_and_others_do_not_replace_each_other_unless_told() {
    let scratch = tempfile::tempdir().unwrap();
    let top = scratch.path();
    std::fs::create_dir_all(top.join("d/below")).unwrap();
    std::fs::write(top.join("f"), "old").unwrap();
    let file = Tar::default().file(b"d", b"new").end();
    let error = into(top, &file, &same_kind()).unwrap_err();
    assert_eq!(error.to_string(), "cannot overwrite directory `d` with non-directory");
    let error = into(top, &Tar::default().dir(b"f/").end(), &same_kind()).unwrap_err();
    assert_eq!(error.to_string(), "cannot overwrite non-directory `f` with directory");
    assert_eq!(std::fs::read(top.join("f")).unwrap(), b"old");
    into(top, &file, &UnpackOptions::default()).unwrap();
    assert_eq!(std::fs::read(top.join("d")).unwrap(), b"new");
}

#[test]
fn a_file_is_replaced_only_by_a_whole_one() {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join("f"), "old").unwrap();
    let whole = Tar::default().file(b"f", &[7; 100_000]).end();
    let error = into(scratch.path(), &whole[..50_000], &same_kind()).unwrap_err();
    assert!(matches!(error, Error::Truncated { .. }), "{error}");
    assert_eq!(std::fs::read(scratch.path().join("f")).unwrap(), b"old");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
    into(scratch.path(), &whole, &same_kind()).unwrap();
    assert_eq!(std::fs::metadata(scratch.path().join("f")).unwrap().len(), 100_000);
}

#[test]
fn names_change_at_their_beginning_hard_links_too() {
    let scratch = tempfile::tempdir().unwrap();
    let archive = Tar::default()
        .dir(b"data/")
        .file(b"data/data", b"1")
        .hard_link(b"data/link", b"data/data")
        .end();
    let rename = |from: Option<&[u8]>, to: &[u8]| UnpackOptions {
        rename: Some(Rename { from: from.map(<[u8]>::to_vec), to: to.to_vec() }),
        ..same_kind()
    };
    into(scratch.path(), &archive, &rename(Some(b"data"), b"new")).unwrap();
    assert_eq!(std::fs::metadata(scratch.path().join("new/link")).unwrap().nlink(), 2);
    assert_eq!(std::fs::read(scratch.path().join("new/data")).unwrap(), b"1");
    let archive = Tar::default().dir(b"./").file(b"./f", b"2").end();
    into(scratch.path(), &archive, &rename(None, b"other")).unwrap();
    assert_eq!(std::fs::read(scratch.path().join("other/f")).unwrap(), b"2");
}

#[test]
fn holes_stay_holes_and_everything_else_is_written() {
    let scratch = tempfile::tempdir().unwrap();
    let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
    std::fs::create_dir(&from).unwrap();
    std::fs::create_dir(&to).unwrap();
    let mut content = vec![0_u8; 5 << 20];
    for at in [0, 65_535, 200_000, 1 << 20, (5 << 20) - 1] {
        content[at] = 1;
    }
    std::fs::write(from.join("f"), &content).unwrap();
    let (archive, _) = packed(&from, "", LastLink::Follow, b".");
    let bytes = std::io::BufReader::with_capacity(250_007, &archive[..]);
    unpack(bytes, &Root::open(&to).unwrap(), &same_kind()).unwrap();
    assert_eq!(std::fs::read(to.join("f")).unwrap(), content);
    assert!(std::fs::metadata(to.join("f")).unwrap().blocks() * 512 < 2 << 20);
    // Holes that the archive knows are neither read nor sent.
    std::fs::File::create(from.join("g")).unwrap().set_len(1 << 40).unwrap();
    let end = std::fs::File::options().write(true).open(from.join("g")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&end, b"end", 1 << 39).unwrap();
    let mut bytes = Vec::new();
    let resource = Resource { path: Path::new("g"), last: LastLink::Keep, name: b"g" };
    let tar = TarWriter::new(&mut bytes, Times::Nanoseconds).with_holes(Holes::Kept);
    pack(&Root::open(&from).unwrap(), resource, tar).unwrap();
    assert!(bytes.len() < 20_000, "{}", bytes.len());
    into(&to, &bytes, &same_kind()).unwrap();
    let copy = std::fs::File::open(to.join("g")).unwrap();
    assert_eq!(copy.metadata().unwrap().len(), 1 << 40);
    let mut found = [0; 4];
    std::os::unix::fs::FileExt::read_exact_at(&copy, &mut found, 1 << 39).unwrap();
    assert_eq!(&found, b"end\0");
}

#[test]
#[ignore = "root: CAP_CHOWN"]
fn the_owner_can_be_given() {
    let scratch = tempfile::tempdir().unwrap();
    let options = UnpackOptions {
        ownership: Ownership::Fixed(Owner { uid: 7, gid: 8 }),
        ..UnpackOptions::default()
    };
    into(scratch.path(), &Tar::default().file(b"sub/f", b"").end(), &options).unwrap();
    for path in ["sub", "sub/f"] {
        let stat = std::fs::metadata(scratch.path().join(path)).unwrap();
        assert_eq!((stat.uid(), stat.gid()), (7, 8), "{path}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_content_in_any_pieces_comes_out(
        runs in proptest::collection::vec((any::<bool>(), 1_usize..200_000), 0..6),
        capacity in 512_usize..300_000,
    ) {
        let content: Vec<u8> =
            runs.iter().flat_map(|(data, length)| vec![u8::from(*data); *length]).collect();
        let scratch = tempfile::tempdir().unwrap();
        let archive = Tar::default().file(b"f", &content).end();
        let input = std::io::BufReader::with_capacity(capacity, &archive[..]);
        unpack(input, &Root::open(scratch.path()).unwrap(), &same_kind()).unwrap();
        prop_assert!(std::fs::read(scratch.path().join("f")).unwrap() == content);
    }
}
