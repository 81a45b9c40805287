//! What a layer was unpacked from comes back byte for byte, whatever the tar did.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // Trees of our own making.

use std::path::Path;

use orlop_sys::confined::Root;
use proptest::prelude::*;
use tar_core::{EntryType, SparseEntry};

use crate::extract::{ExtractOptions, WhiteoutForm, extract_layer};
use crate::skeleton::{replay, tar_length};
use crate::testing::Tar;

fn unpacked(tar: &[u8], prepare: impl FnOnce(&Path)) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("diff")).unwrap();
    prepare(&directory.path().join("diff"));
    let layer = Root::open(directory.path()).unwrap();
    extract_layer(tar, &layer, ExtractOptions::new(WhiteoutForm::Apply)).unwrap();
    directory
}

fn replayed(directory: &Path) -> crate::Result<Vec<u8>> {
    let layer = Root::open(directory).unwrap();
    let mut tar = Vec::new();
    assert_eq!(replay(&layer, &mut tar)?, tar_length(&layer).unwrap());
    Ok(tar)
}

fn comes_back(tar: &[u8]) {
    let directory = unpacked(tar, |_| {});
    assert!(replayed(directory.path()).unwrap() == tar, "another tar came back");
}

#[test]
fn every_kind_of_entry_comes_back() {
    let mut sparse = Tar::gnu(b"sparse-gnu");
    let map =
        [SparseEntry { offset: 1 << 20, length: 4 }, SparseEntry { offset: 2 << 20, length: 2 }];
    sparse.size(6).unwrap().sparse(&map, 3 << 20);
    let mut sparse_pax = Tar::builder(b"sparse-pax", EntryType::Regular);
    sparse_pax.size(6).unwrap().sparse(&map, 3 << 20);
    let long = format!("{}file", "directory/".repeat(30));
    let zeros = vec![0; 300_000];
    comes_back(
        &Tar::default()
            .dir(b"./")
            .file(format!("pax/{long}").as_bytes(), b"p")
            .add(&mut sparse, b"abcdef")
            .add(&mut sparse_pax, b"abcdef")
            .pax(b"timed", &[("mtime", b"1600000000.000000007")], b"t")
            .hard_link(b"linked", b"timed")
            .symlink(b"symlink", b"/nowhere/at/all")
            .file(b".wh.gone", b"content that nobody wants")
            .file(b".wh..wh.plnk/1.2", &[7; 3000])
            .file(b"holes", &zeros)
            .file(b"large", &[9; 700_000])
            .end(),
    );
    comes_back(b"");
    comes_back(&Tar::default().file(b"f", b"x").0);
    // What stands behind the end belongs to the digest as well.
    let mut tail = Tar::default().file(b"f", b"x").end();
    tail.extend([0; 9000]);
    tail.extend(b"and more");
    comes_back(&tail);
}

#[test]
fn contents_that_are_replaced_come_back() {
    let tar = Tar::default();
    comes_back(&tar.clone().file(b"a", b"1").file(b"a", b"22").file(b"a", b"333").end());
    comes_back(&tar.clone().file(b"d/x", b"1").file(b"d/y", b"2").file(b"d", b"file").end());
    comes_back(&tar.clone().file(b"d/x", b"1").file(b".wh.d", b"").file(b"d/x", b"again").end());
    comes_back(
        &tar.clone().file(b"a", b"1").hard_link(b"b", b"a").file(b"a", b"2").file(b"b", b"3").end(),
    );
    // Through a link that is gone at the end.
    comes_back(
        &tar.clone()
            .dir(b"real/")
            .symlink(b"way", b"real")
            .file(b"way/x", b"made through the link")
            .file(b"way", b"no link any more")
            .end(),
    );
    comes_back(&tar.file(b"d/x", b"1").file(b"d/.wh..wh..opq", b"").file(b".wh.d", b"").end());
}

#[test]
fn lower_files_stay_out_of_it_and_changed_ones_are_noticed() {
    let tar = Tar::default().file(b"d/mine", b"mine").file(b".wh.low", b"").file(b"d", b"f").end();
    let directory = unpacked(&tar, |content| {
        std::fs::write(content.join("low"), "low").unwrap();
        std::fs::create_dir(content.join("d")).unwrap();
        std::fs::write(content.join("d/theirs"), "theirs").unwrap();
    });
    assert_eq!(replayed(directory.path()).unwrap(), tar);
    assert_eq!(std::fs::read_dir(directory.path().join("replaced")).unwrap().count(), 1);
    std::fs::write(directory.path().join("diff/d"), "").unwrap();
    let error = replayed(directory.path()).unwrap_err();
    assert_eq!(error.kind(), orlop_types::ErrorKind::Internal, "{error:?}");
    std::fs::remove_file(directory.path().join("diff/d")).unwrap();
    assert_eq!(replayed(directory.path()).unwrap_err().kind(), orlop_types::ErrorKind::NotFound);
}

#[test]
fn a_damaged_record_is_refused() {
    let directory = unpacked(&Tar::default().file(b"a", b"1").end(), |_| {});
    let path = directory.path().join("tar");
    let whole = std::fs::read(&path).unwrap();
    for (at, byte) in [(0, b'x'), (10, b'2'), (12, 1), (25, 0xff)] {
        let mut wrong = whole.clone();
        wrong[at] = byte;
        std::fs::write(&path, &wrong).unwrap();
        assert!(replayed(directory.path()).is_err(), "byte {at}");
    }
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(replayed(directory.path()).is_err(), "{length} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn any_order_of_entries_comes_back(steps in prop::collection::vec((0..8_u8, 0..6_u8, 0..4_usize), 1..30)) {
        const NAMES: [&str; 6] = ["a", "b", "d", "d/a", "d/b", "d/e/a"];
        let mut tar = Tar::default();
        for (kind, name, length) in steps {
            let name = NAMES[usize::from(name)];
            let content = vec![b'c' + kind; length * 777];
            let whiteout = match name.rsplit_once('/') {
                Some((parent, last)) => format!("{parent}/.wh.{last}"),
                None => format!(".wh.{name}"),
            };
            tar = match kind {
                0..=3 => tar.file(name.as_bytes(), &content),
                4 => tar.dir(format!("{name}/").as_bytes()),
                5 => tar.symlink(name.as_bytes(), b"d"),
                6 => tar.file(whiteout.as_bytes(), b""),
                _ => tar.file(b"d/.wh..wh..opq", b""),
            };
        }
        let tar = tar.end();
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("diff")).unwrap();
        let layer = Root::open(directory.path()).unwrap();
        // Some orders are refused: a file below a file.
        if extract_layer(&tar[..], &layer, ExtractOptions::new(WhiteoutForm::Apply)).is_ok() {
            prop_assert_eq!(replayed(directory.path()).unwrap(), tar);
        }
    }
}
