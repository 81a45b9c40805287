//! Tests of `shell`.
