//! System calls for storage: mounts by file descriptor, confined paths, locks, processes.
//!
//! The only crate with `unsafe` code; every block states why it is sound. Everything that touches a
//! path which an image, a container or a volume controls goes through [`confined`].

pub mod confined;
pub mod exec;
pub mod fault;
pub mod fork;
pub mod init;
pub mod lock;
pub mod mount;
pub mod mount_filesystem;
pub mod mount_space;
pub mod own_program;
pub mod process;
pub mod pty;
pub mod seccomp;
pub mod tree;
mod tree_copy;
#[cfg(test)]
mod tree_tests;
pub mod writeback;
pub mod xattr;
