//! Tests of `ignore`.
