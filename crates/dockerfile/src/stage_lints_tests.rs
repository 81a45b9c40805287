//! Tests of `stage_lints`.
