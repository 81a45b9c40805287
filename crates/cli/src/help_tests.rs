//! Tests of help texts.
