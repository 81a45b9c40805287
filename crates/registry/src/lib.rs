//! Registries: the OCI distribution protocol, credentials, and plain downloads.
//!
//! Asynchronous inside, blocking outside: every public method waits, and takes a callback for
//! progress.
