//! The target `image_archive` of `orlop_fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| orlop_fuzz::run("image_archive", input));
