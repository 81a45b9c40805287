//! The target `registry_headers` of `orlop_fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| orlop_fuzz::run("registry_headers", input));
