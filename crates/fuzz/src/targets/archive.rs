//! Tars and compressed streams.
//!
//! The first byte of a tar input is taken off. If it is odd, checksums of headers are made right, so
//! that what a mutation has changed behind them is seen.

use std::io::{BufReader, Cursor, Read};
use std::path::Path;

use orlop_archive::compression::decoder;
use orlop_archive::extract::{ExtractOptions, WhiteoutForm, extract as extract_into};
use orlop_archive::read::{ContentReader, TarReader};
use orlop_archive::unpack::{UnpackOptions, unpack};
use orlop_sys::confined::Root;

const BLOCK_BYTES: usize = 512;
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// So that one input does not fill a disk or a minute.
const FILE_MAX_BYTES: u64 = 1 << 20;
const ENTRIES_MAX: u64 = 500;
const STREAM_MAX_BYTES: u64 = 16 << 20;

/// The tar of an input.
fn tar(input: &[u8]) -> Vec<u8> {
    let Some((flags, rest)) = input.split_first() else { return Vec::new() };
    let mut bytes = rest.to_vec();
    if flags & 1 == 1 {
        for block in bytes.chunks_exact_mut(BLOCK_BYTES) {
            if block[257..].starts_with(b"ustar") {
                block[CHECKSUM].fill(b' ');
                let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
                block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
    }
    bytes
}

/// Reads all entries with their contents.
pub(super) fn read(input: &[u8]) {
    let bytes = tar(input);
    let mut reader = TarReader::new(Cursor::new(&bytes));
    let mut content = Vec::new();
    while let Ok(Some(entry)) = reader.next_entry() {
        let mut part = ContentReader::new(&mut reader).take(FILE_MAX_BYTES);
        content.clear();
        if part.read_to_end(&mut content).is_err() {
            break;
        }
        assert!(content.len() <= bytes.len(), "{entry:?} gave more than there is");
    }
}

/// Unpacks as a layer and as a copy; nothing outside of the directory may change.
pub(super) fn extract(input: &[u8]) {
    let bytes = tar(input);
    let scratch = tempfile::Builder::new()
        .prefix("orlop-fuzz-")
        .tempdir()
        .expect("the directory for temporary files can be written");
    let outside = scratch.path().join("outside");
    std::fs::create_dir(&outside).expect("it is ours");
    std::fs::write(outside.join("canary"), "alive").expect("it is ours");
    for (name, as_layer) in [("layer", true), ("copy", false)] {
        let inside = scratch.path().join(name);
        std::fs::create_dir(&inside).expect("it is ours");
        let root = Root::open(&inside).expect("it is ours");
        if as_layer {
            let mut options = ExtractOptions::new(WhiteoutForm::Apply);
            options.file_max_bytes = FILE_MAX_BYTES;
            options.entries_max = ENTRIES_MAX;
            // Most inputs are refused; what counts is what is there afterwards.
            let _ = extract_into(BufReader::new(Cursor::new(&bytes)), &root, options);
        } else {
            let _ = unpack(BufReader::new(Cursor::new(&bytes)), &root, &UnpackOptions::default());
        }
        assert_untouched(scratch.path(), &outside);
    }
}

fn assert_untouched(scratch: &Path, outside: &Path) {
    let names = |folder: &Path| {
        let mut names: Vec<_> = std::fs::read_dir(folder)
            .expect("it is ours")
            .filter_map(|entry| Some(entry.ok()?.file_name()))
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(outside), ["canary"]);
    assert_eq!(std::fs::read(outside.join("canary")).expect("it is there"), b"alive");
    let mut beside = names(scratch);
    beside.retain(|name| name != "layer" && name != "copy");
    assert_eq!(beside, ["outside"]);
}

/// Unpacks a stream, however it is compressed.
pub(super) fn decompress(input: &[u8]) {
    if let Ok((_, stream)) = decoder(input) {
        let mut sink = std::io::sink();
        let _ = std::io::copy(&mut stream.take(STREAM_MAX_BYTES), &mut sink);
    }
}
