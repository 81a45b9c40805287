//! An image from one tar.

use std::io::Read;

use orlop_archive::digest;
use orlop_meta::{Durability, ImageRecord};
use orlop_sys::fault;
use orlop_types::change::apply_changes;
use orlop_types::config::Config;
use orlop_types::image::{HistoryEntry, ImageConfig, RootFs};
use orlop_types::{ImageId, ParseError};

use crate::images::{event, now, parse_target, put_tag};
use crate::{Error, Images, Result};

/// Comment of an image whose tar nobody described.
const DEFAULT_MESSAGE: &str = "Imported from -";

/// What an import makes of a tar.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// Name of the image.
    pub reference: Option<String>,
    /// Instructions for its configuration (`--change`).
    pub changes: Vec<String>,
    /// Comment (`--message`).
    pub message: Option<String>,
    /// `os[/architecture[/variant]]` (`--platform`); this machine's if absent.
    pub platform: Option<String>,
}

/// Operating system and processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// Always `linux`.
    pub os: String,
    /// In Go's words, for instance `amd64`.
    pub architecture: String,
    /// For instance `v7`; often empty.
    pub variant: String,
}

impl Platform {
    /// This machine's.
    #[must_use]
    pub fn host() -> Self {
        Self {
            os: "linux".to_owned(),
            architecture: go_architecture(std::env::consts::ARCH).to_owned(),
            variant: String::new(),
        }
    }

    /// Whether an image is for it.
    #[must_use]
    pub fn fits(&self, config: &ImageConfig) -> bool {
        config.os == self.os
            && config.architecture == self.architecture
            && (self.variant.is_empty() || config.variant == self.variant)
    }

    /// Parses `os[/architecture[/variant]]`.
    pub fn parse(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let is_word = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
        };
        if parts.len() > 3 || !parts.iter().all(is_word) {
            let text =
                format!("\"{text}\": unknown operating system or architecture: invalid argument");
            return Err(ParseError::new(text).into());
        }
        let part = |at: usize| parts.get(at).map(|part| part.to_lowercase());
        let os = part(0).unwrap_or_default();
        if os != "linux" {
            return Err(Error::OperatingSystem(os));
        }
        let host = Self::host();
        let architecture = part(1).map(|name| go_architecture(&name).to_owned());
        Ok(Self {
            os,
            architecture: architecture.unwrap_or(host.architecture),
            variant: part(2).unwrap_or_default(),
        })
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(formatter, "/{}", self.variant) }
    }
}

/// Go's word for an architecture that is named as the kernel or Rust name it.
fn go_architecture(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" | "i386" | "i686" => "386",
        "powerpc64le" => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}

impl Images<'_> {
    /// Makes an image of one layer from a tar of any compression. `progress` is told the bytes read.
    ///
    /// Names and changes are checked before a byte is read. Order: the layer is unpacked, synced and
    /// published by its store; then image, name and events are one commit.
    pub fn import<R: Read + Send>(
        &self,
        reader: R,
        options: &ImportOptions,
        progress: impl FnMut(u64) + Send,
    ) -> Result<ImageId> {
        let reference = options.reference.as_deref().filter(|text| !text.is_empty());
        let reference = match reference.map(parse_target).transpose() {
            Err(Error::DigestTag) => return Err(Error::DigestImport),
            reference => reference?,
        };
        let platform = match options.platform.as_deref().filter(|text| !text.is_empty()) {
            Some(text) => Platform::parse(text)?,
            None => Platform::host(),
        };
        let mut config = Config::default();
        apply_changes(&mut config, &options.changes)?;
        let created = now();
        // Keeps others from removing the layer before the image that needs it has its row.
        let guard = self.store.stage()?;
        let layer = self.layers.import(
            Counted { inner: reader, total: 0, progress },
            &orlop_layer::ImportOptions { parent: None, diff_id: None, now: &created },
        )?;
        fault::point("image.import.layer");
        let message = options.message.as_deref().filter(|text| !text.is_empty());
        let history = HistoryEntry {
            created: Some(created.clone()),
            comment: message.unwrap_or(DEFAULT_MESSAGE).to_owned(),
            ..HistoryEntry::default()
        };
        let config = ImageConfig {
            architecture: platform.architecture,
            config,
            created: Some(created.clone()),
            author: String::new(),
            history: vec![history],
            os: platform.os,
            rootfs: RootFs { kind: "layers".to_owned(), diff_ids: vec![layer.diff_id] },
            variant: platform.variant,
        };
        let config = serde_json::to_string(&config).map_err(|error| {
            orlop_meta::Error::Damaged { what: "an image".to_owned(), reason: error.to_string() }
        })?;
        let image = ImageRecord {
            id: ImageId::new(digest::of_bytes(config.as_bytes())),
            top_layer: Some(layer.chain_id),
            config,
            size_bytes: layer.size_bytes,
            created_at: created,
        };
        self.store.write(Durability::Durable, |query| {
            query.image_insert(&image)?;
            query.event_insert(&event("import", &image, image.id.as_str()))?;
            reference.as_ref().map_or(Ok(()), |reference| put_tag(query, &image, reference))
        })?;
        fault::point("image.import.committed");
        drop(guard);
        tracing::info!(op = "image import", image = %image.id, size_bytes = image.size_bytes);
        Ok(image.id)
    }
}

/// A reader that tells how far it is.
struct Counted<R, F> {
    inner: R,
    total: u64,
    progress: F,
}

impl<R: Read, F: FnMut(u64)> Read for Counted<R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.total += length as u64;
        (self.progress)(self.total);
        Ok(length)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_linux_in_gos_words() {
        let platform = |architecture: &str, variant: &str| Platform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        };
        let host = Platform::host().architecture;
        for (text, expected) in [
            ("linux", platform(&host, "")),
            ("linux/x86_64", platform("amd64", "")),
            ("Linux/arm/v7", platform("arm", "v7")),
        ] {
            assert_eq!(Platform::parse(text).unwrap(), expected);
        }
        for (text, message) in [
            ("windows/amd64", "operating system is not supported: `windows`; only linux is"),
            ("linux/", "\"linux/\": unknown operating system or architecture: invalid argument"),
            ("a/b/c/d", "\"a/b/c/d\": unknown operating system or architecture: invalid argument"),
        ] {
            assert_eq!(Platform::parse(text).unwrap_err().to_string(), message);
        }
    }
}
