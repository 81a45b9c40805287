//! Tests of `expand`.
