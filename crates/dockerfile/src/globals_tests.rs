//! Tests of `globals`.
