//! The configuration document of an image that is being built, member by member as BuildKit writes it:
//! the same build gives the same bytes, and so the same image id.

use std::collections::BTreeMap;

use orlop_types::DiffId;
use orlop_types::config::{HealthConfig, Set};
use orlop_types::image::{HistoryEntry, RootFs};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Error, Result};

/// Search path of an image that sets none.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An image's configuration document. Members in the order in which they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Document {
    pub architecture: String,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub author: String,
    #[serde(deserialize_with = "nullable")]
    pub config: DocumentConfig,
    pub created: Option<String>,
    #[serde(deserialize_with = "nullable")]
    pub history: Vec<HistoryEntry>,
    /// The keys of its layers, for `--cache-from`.
    #[serde(rename = "io.orlop.build.cache.v1", skip_serializing_if = "Option::is_none")]
    pub inline_cache: Option<serde_json::Value>,
    pub os: String,
    #[serde(rename = "os.features", skip_serializing_if = "Option::is_none")]
    pub os_features: Option<Vec<String>>,
    #[serde(rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    #[serde(default = "no_layers")]
    pub rootfs: RootFs,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub variant: String,
}

/// What containers of the image get.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct DocumentConfig {
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub user: String,
    #[serde(skip_serializing_if = "is_empty_set", deserialize_with = "nullable")]
    pub exposed_ports: Set,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub env: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub entrypoint: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub cmd: Vec<String>,
    #[serde(skip_serializing_if = "is_empty_set", deserialize_with = "nullable")]
    pub volumes: Set,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub working_dir: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "nullable")]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub stop_signal: String,
    #[serde(skip_serializing_if = "std::ops::Not::not", deserialize_with = "nullable")]
    pub args_escaped: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthConfig>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub on_build: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub shell: Vec<String>,
}

fn is_empty_set(set: &Set) -> bool {
    set.is_empty()
}

fn no_layers() -> RootFs {
    RootFs { kind: "layers".to_owned(), diff_ids: Vec::new() }
}

/// Go writes empty lists and objects as `null`.
fn nullable<'de, D, T>(deserializer: D) -> std::result::Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Document {
    /// The document of an image without a base.
    pub fn scratch(os: &str, architecture: &str, variant: &str) -> Self {
        Self {
            architecture: architecture.to_owned(),
            os: os.to_owned(),
            variant: variant.to_owned(),
            rootfs: no_layers(),
            config: DocumentConfig {
                env: vec![format!("PATH={DEFAULT_PATH}")],
                working_dir: "/".to_owned(),
                ..DocumentConfig::default()
            },
            ..Self::default()
        }
    }

    /// Reads an image's document.
    pub fn parse(text: &str) -> Result<Self> {
        let mut document: Self = serde_json::from_str(text)
            .map_err(|error| Error::invalid(format!("failed to parse image config: {error}")))?;
        document.inline_cache = None;
        Ok(document)
    }

    /// Gives the document its layers and times, as BuildKit's exporter does: a step without a time of
    /// its own gets that of the layer before it, the first ones that of the first new layer.
    pub fn complete(&mut self, diff_ids: Vec<DiffId>, epoch: Option<&Epoch>) {
        let mut first_new = None;
        let mut missing = false;
        for entry in &self.history {
            if entry.created.is_some() {
                first_new.clone_from(&entry.created);
                if missing {
                    break;
                }
            } else {
                missing = true;
            }
        }
        let mut current = first_new;
        let mut missing = false;
        for entry in &mut self.history {
            if entry.created.is_some() {
                if missing {
                    current.clone_from(&entry.created);
                }
            } else {
                missing = true;
                entry.created.clone_from(&current);
            }
        }
        self.rootfs = RootFs { kind: "layers".to_owned(), diff_ids };
        if let Some(epoch) = epoch {
            for entry in self.history.iter_mut().skip(epoch.base_entries) {
                if entry.created.as_deref().is_none_or(|created| epoch.is_before(created)) {
                    entry.created = Some(epoch.text.clone());
                }
            }
        }
        self.created = self.history.iter().rev().find_map(|entry| entry.created.clone());
    }

    /// The bytes whose digest is the image's id, escaped as Go does.
    pub fn to_text(&self) -> Result<String> {
        let text = serde_json::to_string(self)
            .map_err(|error| Error::invalid(format!("failed to marshal image config: {error}")))?;
        Ok(go_escaped(&text))
    }
}

/// `SOURCE_DATE_EPOCH`.
#[derive(Clone, Debug)]
pub(crate) struct Epoch {
    /// Seconds since 1970.
    pub seconds: i64,
    /// As RFC 3339 text.
    pub text: String,
    /// Entries of the history that are the base image's.
    pub base_entries: usize,
}

impl Epoch {
    pub fn new(seconds: i64) -> Result<Self> {
        let time = jiff::Timestamp::from_second(seconds).map_err(|error| {
            Error::invalid(format!("invalid SOURCE_DATE_EPOCH: {seconds}: {error}"))
        })?;
        Ok(Self { seconds, text: time.to_string(), base_entries: 0 })
    }

    fn is_before(&self, created: &str) -> bool {
        created.parse::<jiff::Timestamp>().map_or(true, |created| {
            created.as_second() > self.seconds || {
                created.as_second() == self.seconds && created.subsec_nanosecond() > 0
            }
        })
    }
}

/// Characters that Go's JSON never writes as they are. They stand only in strings.
pub(crate) fn go_escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' => text.push_str("\\u003c"),
            '>' => text.push_str("\\u003e"),
            '&' => text.push_str("\\u0026"),
            '\u{2028}' => text.push_str("\\u2028"),
            '\u{2029}' => text.push_str("\\u2029"),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn entry(created: Option<&str>, empty_layer: bool) -> HistoryEntry {
        HistoryEntry {
            created: created.map(str::to_owned),
            created_by: "X".to_owned(),
            empty_layer,
            ..HistoryEntry::default()
        }
    }

    #[test]
    fn a_step_without_a_layer_gets_the_time_of_a_layer() {
        let mut document = Document::scratch("linux", "amd64", "");
        let (base, first, second) =
            ("2020-01-01T00:00:00Z", "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z");
        document.history = vec![
            entry(Some(base), false),
            entry(None, true),
            entry(Some(first), false),
            entry(None, true),
            entry(Some(second), false),
        ];
        document.complete(Vec::new(), None);
        let times: Vec<_> =
            document.history.iter().map(|entry| entry.created.clone().unwrap()).collect();
        assert_eq!(times, [base, first, first, first, second]);
        assert_eq!(document.created.as_deref(), Some(second));
    }

    #[test]
    fn an_epoch_bounds_the_times_of_new_steps_only() {
        let mut document = Document::scratch("linux", "amd64", "");
        document.history = vec![
            entry(Some("2024-06-01T00:00:00Z"), false),
            entry(Some("2024-07-01T00:00:00Z"), false),
        ];
        let epoch = Epoch { base_entries: 1, ..Epoch::new(1_700_000_000).unwrap() };
        document.complete(Vec::new(), Some(&epoch));
        assert_eq!(document.history[0].created.as_deref(), Some("2024-06-01T00:00:00Z"));
        assert_eq!(document.history[1].created.as_deref(), Some("2023-11-14T22:13:20Z"));
        assert_eq!(document.created.as_deref(), Some("2023-11-14T22:13:20Z"));
    }

    #[test]
    fn the_document_is_written_as_go_writes_it() {
        let mut document = Document::scratch("linux", "amd64", "");
        document.config.cmd = vec!["/bin/sh".into(), "-c".into(), "a && b > c".into()];
        document.config.args_escaped = true;
        document.complete(Vec::new(), None);
        assert_eq!(
            document.to_text().unwrap(),
            "{\"architecture\":\"amd64\",\"config\":{\"Env\":[\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\"],\
             \"Cmd\":[\"/bin/sh\",\"-c\",\"a \\u0026\\u0026 b \\u003e c\"],\"WorkingDir\":\"/\",\"ArgsEscaped\":true},\
             \"created\":null,\"history\":[],\"os\":\"linux\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}"
        );
    }

    #[test]
    fn nulls_of_other_builders_are_read_as_nothing() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"Env":null,"Cmd":null,"Labels":null,
            "Volumes":null,"OnBuild":null,"Hostname":"x"},"container_config":{},"history":null,
            "rootfs":{"type":"layers","diff_ids":null}}"#;
        let document = Document::parse(text).unwrap();
        assert_eq!(document.config, DocumentConfig::default());
        assert!(document.history.is_empty());
    }
}
