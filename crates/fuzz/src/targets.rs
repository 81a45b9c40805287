//! The table of targets.

mod archive;
mod dockerfile;
mod image;
mod registry;

use crate::seeds;

/// A reader of foreign bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of its file below `fuzz/fuzz_targets`.
    pub name: &'static str,
    /// Feeds it; panics if something is wrong.
    pub run: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words that its inputs are made of.
    pub words: &'static [&'static str],
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "dockerfile",
        run: dockerfile::dockerfile,
        seeds: seeds::dockerfiles,
        words: seeds::DOCKERFILE_WORDS,
    },
    Target {
        name: "substitution",
        run: dockerfile::substitution,
        seeds: seeds::substitutions,
        words: seeds::SUBSTITUTION_WORDS,
    },
    Target {
        name: "ignore",
        run: dockerfile::ignore,
        seeds: seeds::ignores,
        words: seeds::IGNORE_WORDS,
    },
    Target {
        name: "tar_read",
        run: archive::read,
        seeds: seeds::archives,
        words: seeds::ARCHIVE_WORDS,
    },
    Target {
        name: "tar_extract",
        run: archive::extract,
        seeds: seeds::archives,
        words: seeds::ARCHIVE_WORDS,
    },
    Target { name: "decompress", run: archive::decompress, seeds: seeds::compressed, words: &[] },
    Target {
        name: "manifest",
        run: registry::manifest,
        seeds: seeds::manifests,
        words: seeds::MANIFEST_WORDS,
    },
    Target {
        name: "image_config",
        run: image::config,
        seeds: seeds::configs,
        words: seeds::CONFIG_WORDS,
    },
    Target {
        name: "image_archive",
        run: image::archive,
        seeds: seeds::image_archives,
        words: seeds::MANIFEST_WORDS,
    },
    Target {
        name: "registry_headers",
        run: registry::headers,
        seeds: seeds::headers,
        words: seeds::HEADER_WORDS,
    },
];
