//! Manifests and indexes: reading them (pure functions) and choosing a platform.

use std::collections::BTreeMap;

use orlop_types::{Digest, Platform};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Docker's manifest of one image.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's list of manifests.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// OCI's manifest of one image.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI's list of manifests.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Every type that a client accepts, as the `Accept` header lists them.
pub const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, \
application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json, \
application/vnd.docker.distribution.manifest.list.v2+json";
/// More layers than any image has; a limit against hostile manifests.
const LAYERS_MAX: usize = 10_000;
/// More manifests than any index has; a limit against hostile indexes.
const MANIFESTS_MAX: usize = 10_000;

/// One blob or manifest that another document names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the bytes are.
    #[serde(default)]
    pub media_type: String,
    /// Digest of the bytes.
    pub digest: Digest,
    /// Number of bytes.
    pub size: u64,
    /// Other places that have the bytes (foreign layers).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Free words.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub annotations: BTreeMap<String, String>,
    /// What a manifest of an index is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<DescribedPlatform>,
    /// What kind of artefact a manifest of an index is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

/// The `platform` member of an index entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct DescribedPlatform {
    /// In Go's words.
    #[serde(default)]
    pub architecture: String,
    /// In Go's words.
    #[serde(default)]
    pub os: String,
    /// For instance `v7`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// Windows only.
    #[serde(rename = "os.version", default, skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Windows only.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
}

impl DescribedPlatform {
    /// In the words that platforms are compared by.
    #[must_use]
    pub fn normal(&self) -> Platform {
        Platform::normal(&self.os, &self.architecture, &self.variant)
    }
}

/// The manifest of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageManifest {
    /// Its media type.
    pub media_type: String,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// Free words.
    pub annotations: BTreeMap<String, String>,
}

/// A list of manifests, one for each platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Its media type.
    pub media_type: String,
    /// The manifests in the order of preference.
    pub manifests: Vec<Descriptor>,
    /// Free words.
    pub annotations: BTreeMap<String, String>,
}

/// What the bytes behind a tag or a digest are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // Few exist at a time; a box would be in every user's way.
pub enum Manifest {
    /// One image.
    Image(ImageManifest),
    /// Several, to choose from.
    Index(Index),
}

/// Every member that any of the documents has.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    schema_version: u64,
    #[serde(default)]
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    #[serde(default, deserialize_with = "null_is_default")]
    annotations: BTreeMap<String, String>,
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a manifest or an index. `content_type` is what the server called it, empty if unknown.
///
/// A document that can be read as both (a `config` and `manifests`) is refused, because two
/// programs could see two images in it (CVE-2021-41190).
///
/// # Errors
/// `Unsupported` for the old first schema and for anything that is no manifest.
pub fn parse(bytes: &[u8], content_type: &str) -> Result<Manifest> {
    let document: Document = serde_json::from_slice(bytes)
        .map_err(|error| Error::Unsupported(format!("invalid manifest: {error}")))?;
    let said = content_type.split(';').next().unwrap_or_default().trim();
    let media_type = document.media_type.as_deref().unwrap_or(said);
    if document.schema_version == 1 || media_type.contains("distribution.manifest.v1+") {
        return Err(Error::Unsupported(
            "Docker Image Format v1 and Docker Image manifest version 2, schema 1 are not supported"
                .to_owned(),
        ));
    }
    if document.schema_version != 2 {
        return Err(Error::Unsupported(format!(
            "invalid manifest: unknown schema version {}",
            document.schema_version
        )));
    }
    let says_index = matches!(media_type, DOCKER_LIST | OCI_INDEX);
    let says_image = matches!(media_type, DOCKER_MANIFEST | OCI_MANIFEST);
    match (document.config, document.manifests) {
        (Some(config), None) if !says_index => {
            let layers = document.layers.unwrap_or_default();
            if layers.len() > LAYERS_MAX {
                return Err(Error::Unsupported(format!("manifest has over {LAYERS_MAX} layers")));
            }
            let default = if says_image { media_type } else { OCI_MANIFEST };
            Ok(Manifest::Image(ImageManifest {
                media_type: default.to_owned(),
                config,
                layers,
                annotations: document.annotations,
            }))
        }
        (None, Some(manifests)) if !says_image && document.layers.is_none() => {
            if manifests.len() > MANIFESTS_MAX {
                return Err(Error::Unsupported(format!(
                    "index has over {MANIFESTS_MAX} manifests"
                )));
            }
            let default = if says_index { media_type } else { OCI_INDEX };
            Ok(Manifest::Index(Index {
                media_type: default.to_owned(),
                manifests,
                annotations: document.annotations,
            }))
        }
        _ => Err(Error::Unsupported(format!("unsupported manifest of type `{media_type}`"))),
    }
}

impl Index {
    /// The manifest that runs best on `platform`; among equals, the first.
    ///
    /// # Errors
    /// `NoPlatform` if none runs there.
    pub fn choose(&self, platform: &Platform) -> Result<&Descriptor> {
        let ranked = self.manifests.iter().filter_map(|entry| {
            match &entry.platform {
                Some(described) => Some((platform.rank(&described.normal())?, entry)),
                // Docker takes an entry that does not say what it is for when nothing fits better.
                None => Some((usize::MAX, entry)),
            }
        });
        ranked
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, entry)| entry)
            .ok_or_else(|| Error::NoPlatform(platform.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(digit: char) -> String {
        format!("sha256:{}", digit.to_string().repeat(64))
    }

    #[test]
    fn the_kind_of_a_document_is_what_it_has_and_says() {
        let blob = format!(r#"{{"mediaType":"t","digest":"{}","size":1}}"#, digest('a'));
        let image = format!(r#""config":{blob},"layers":[{blob}]"#);
        let index = format!(r#""manifests":[{blob}]"#);
        let kind = |text: &str, content_type: &str| match parse(text.as_bytes(), content_type) {
            Ok(Manifest::Image(image)) => format!("image {}", image.media_type),
            Ok(Manifest::Index(index)) => format!("index {}", index.media_type),
            Err(error) => error.to_string(),
        };
        let document = |members: &str| format!(r#"{{"schemaVersion":2,{members}}}"#);
        assert_eq!(kind(&document(&image), DOCKER_MANIFEST), format!("image {DOCKER_MANIFEST}"));
        assert_eq!(
            kind(&document(&image), "application/json; charset=utf-8"),
            format!("image {OCI_MANIFEST}")
        );
        assert_eq!(kind(&document(&index), ""), format!("index {OCI_INDEX}"));
        assert_eq!(kind(&document(&index), DOCKER_LIST), format!("index {DOCKER_LIST}"));
        let unsupported = |kind: &str| format!("unsupported manifest of type `{kind}`");
        // One document, two images: refused whatever it is called.
        assert_eq!(kind(&document(&format!("{image},{index}")), OCI_INDEX), unsupported(OCI_INDEX));
        assert_eq!(kind(&document(&image), OCI_INDEX), unsupported(OCI_INDEX));
        assert_eq!(kind(&document(&index), OCI_MANIFEST), unsupported(OCI_MANIFEST));
        let old = "Docker Image Format v1 and Docker Image manifest version 2, schema 1 are not supported";
        assert_eq!(kind(r#"{"schemaVersion":1}"#, ""), old);
        assert_eq!(
            kind(&document(&image), "application/vnd.docker.distribution.manifest.v1+prettyjws"),
            old
        );
        assert_eq!(kind("{}", ""), "invalid manifest: unknown schema version 0");
        assert!(kind("[", "").starts_with("invalid manifest: "));
    }

    #[test]
    fn the_best_platform_of_an_index_is_chosen() {
        let entry = |digit: char, platform: &str| {
            format!(r#"{{"digest":"{}","size":1{platform}}}"#, digest(digit))
        };
        let named = |digit: char, architecture: &str, variant: &str| {
            let text = format!(
                r#","platform":{{"os":"linux","architecture":"{architecture}","variant":"{variant}"}}"#
            );
            entry(digit, &text)
        };
        let choose = |entries: &[String], platform: &str| {
            let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
            let Ok(Manifest::Index(index)) = parse(text.as_bytes(), "") else { panic!("an index") };
            let platform = platform.parse().expect("a platform");
            index.choose(&platform).map(|found| found.digest.hex()[..1].to_owned())
        };
        let entries = [
            named('1', "arm", "v6"),
            named('2', "arm", "v7"),
            named('3', "amd64", "v2"),
            named('4', "amd64", ""),
            named('5', "arm64", "v8"),
            named('6', "unknown", ""),
        ];
        for (platform, want) in [
            ("linux/amd64", "4"),
            ("linux/amd64/v3", "3"),
            ("linux/arm64", "5"),
            ("linux/arm64/v8", "5"),
            ("linux/arm/v7", "2"),
            ("linux/arm/v6", "1"),
        ] {
            assert_eq!(choose(&entries, platform).expect(platform), want, "{platform}");
        }
        let error = choose(&entries, "linux/s390x").expect_err("none").to_string();
        assert_eq!(error, "no matching manifest for linux/s390x in the manifest list entries");
        let unnamed = [entry('7', ""), named('4', "amd64", "")];
        assert_eq!(choose(&unnamed, "linux/amd64").expect("named"), "4");
        assert_eq!(choose(&unnamed, "linux/s390x").expect("unnamed"), "7");
    }
}
