//! The grammar of Dockerfiles and of `.dockerignore` files.
//!
//! Pure functions from text to values: no I/O, no variable of the process, so every rule of the
//! Dockerfile reference can be tested by itself.
