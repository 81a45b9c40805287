//! To come in the next minutes.
