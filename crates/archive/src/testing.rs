//! Tars made by hand, well-formed and not.
#![allow(clippy::unwrap_used)]

use tar_core::EntryType;
use tar_core::builder::EntryBuilder;

/// Bytes of an archive.
#[derive(Clone, Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

impl Tar {
    pub(crate) fn builder(name: &[u8], kind: EntryType) -> EntryBuilder {
        let mut builder = EntryBuilder::new_ustar();
        Self::prepare(&mut builder, name, kind);
        builder
    }

    fn prepare(builder: &mut EntryBuilder, name: &[u8], kind: EntryType) {
        builder.path(name).entry_type(kind);
        builder.mode(if kind == EntryType::Directory { 0o755 } else { 0o644 }).unwrap();
        // So that the tests need not be root.
        builder.uid(u64::from(rustix::process::geteuid().as_raw())).unwrap();
        builder.gid(u64::from(rustix::process::getegid().as_raw())).unwrap();
        builder.size(0).unwrap();
        builder.mtime(1_700_000_000).unwrap();
    }

    pub(crate) fn add(mut self, builder: &mut EntryBuilder, content: &[u8]) -> Self {
        self.0.extend(builder.finish_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &[u8], content: &[u8]) -> Self {
        let mut builder = Self::builder(name, EntryType::Regular);
        builder.size(content.len() as u64).unwrap();
        self.add(&mut builder, content)
    }

    pub(crate) fn dir(self, name: &[u8]) -> Self {
        self.add(&mut Self::builder(name, EntryType::Directory), b"")
    }

    pub(crate) fn link(self, name: &[u8], target: &[u8], kind: EntryType) -> Self {
        let mut builder = Self::builder(name, kind);
        builder.link_name(target);
        self.add(&mut builder, b"")
    }

    pub(crate) fn symlink(self, name: &[u8], target: &[u8]) -> Self {
        self.link(name, target, EntryType::Symlink)
    }

    pub(crate) fn hard_link(self, name: &[u8], target: &[u8]) -> Self {
        self.link(name, target, EntryType::Link)
    }

    pub(crate) fn pax(self, name: &[u8], records: &[(&str, &[u8])], content: &[u8]) -> Self {
        let mut builder = Self::builder(name, EntryType::Regular);
        builder.size(content.len() as u64).unwrap();
        for (key, value) in records {
            builder.add_pax(key, value);
        }
        self.add(&mut builder, content)
    }

    pub(crate) fn gnu(name: &[u8]) -> EntryBuilder {
        let mut builder = EntryBuilder::new_gnu();
        Self::prepare(&mut builder, name, EntryType::Regular);
        builder
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}
