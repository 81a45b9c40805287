//! `image inspect` and `image history`.

use jiff::Timestamp;
use orlop_meta::ImageRecord;
use orlop_sys::mount::RootfsRecipe;
use orlop_types::config::Config;
use orlop_types::image::ImageConfig;
use serde_json::{Map, Value, json};

use crate::images::{config, familiar, resolve};
use crate::{Error, Images, Platform, Result};

/// Docker's time for "never".
const NEVER: &str = "0001-01-01T00:00:00Z";
/// Id of steps that are no image here.
const MISSING: &str = "<missing>";

/// One step of an image's history, in Docker's JSON.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HistoryItem {
    /// The image for the newest step, `<missing>` for the others.
    pub id: String,
    /// Seconds since 1970.
    pub created: i64,
    /// The instruction.
    pub created_by: String,
    /// Names of that image.
    pub tags: Option<Vec<String>>,
    /// Bytes that the step added.
    pub size: u64,
    /// Free text.
    pub comment: String,
}

impl Images<'_> {
    /// Everything about an image, in Docker's shape and order.
    pub fn inspect(&self, name: &str) -> Result<Value> {
        let (image, tags) = self.store.read(|query| {
            let image = resolve(query, name)?;
            let tags = query.tags_of(&image.id)?;
            Ok::<_, Error>((image, tags))
        })?;
        let config = config(&image)?;
        let (repo_tags, repo_digests) = familiar(&tags)?;
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
        put("Id", json!(image.id));
        put("RepoTags", json!(repo_tags));
        put("RepoDigests", json!(repo_digests));
        put("Parent", json!(""));
        let comment = config.history.last().map_or("", |step| step.comment.as_str());
        put("Comment", json!(comment));
        put("Created", json!(config.created.as_deref().unwrap_or(NEVER)));
        put("DockerVersion", json!(""));
        put("Author", json!(config.author));
        put("Architecture", json!(config.architecture));
        if !config.variant.is_empty() {
            put("Variant", json!(config.variant));
        }
        put("Os", json!(config.os));
        put("Size", json!(image.size_bytes));
        put(
            "GraphDriver",
            json!({ "Data": self.driver_data(&image)?, "Name": self.layers.driver().name() }),
        );
        put("RootFS", json!({ "Type": "layers", "Layers": config.rootfs.diff_ids }));
        let tagged = tags.iter().map(|tag| tag.updated_at.as_str()).max().unwrap_or(NEVER);
        put("Metadata", json!({ "LastTagTime": tagged }));
        put("Config", image_part(&config.config)?);
        Ok(Value::Object(object))
    }

    /// The steps of an image, newest first. With a platform, the image must be for that.
    pub fn history(&self, name: &str, platform: Option<&str>) -> Result<Vec<HistoryItem>> {
        let platform = platform.filter(|text| !text.is_empty()).map(Platform::parse).transpose()?;
        let (image, tags, layers) = self.store.read(|query| {
            let image = resolve(query, name)?;
            let tags = query.tags_of(&image.id)?;
            let layers = match &image.top_layer {
                Some(top) => query.layer_chain(top)?,
                None => Vec::new(),
            };
            Ok::<_, Error>((image, tags, layers))
        })?;
        let mut sizes = layers.into_iter().rev().map(|layer| layer.size_bytes);
        let mut items = Vec::new();
        let config = config(&image)?;
        if let Some(platform) = platform.filter(|platform| !platform.fits(&config)) {
            return Err(Error::OtherPlatform {
                name: name.to_owned(),
                platform: platform.to_string(),
            });
        }
        for step in config.history {
            items.push(HistoryItem {
                id: MISSING.to_owned(),
                created: step
                    .created
                    .as_deref()
                    .and_then(timestamp)
                    .map_or(0, Timestamp::as_second),
                created_by: step.created_by,
                tags: None,
                size: if step.empty_layer { 0 } else { sizes.next().unwrap_or(0) },
                comment: step.comment,
            });
        }
        items.reverse();
        if let Some(newest) = items.first_mut() {
            let (names, _) = familiar(&tags)?;
            newest.id = image.id.to_string();
            newest.tags = Some(names).filter(|names| !names.is_empty());
        }
        Ok(items)
    }

    /// Where the storage driver keeps the image, as Docker's drivers say it.
    fn driver_data(&self, image: &ImageRecord) -> Result<Value> {
        let Some(top) = &image.top_layer else { return Ok(Value::Null) };
        Ok(match self.layers.view(top)? {
            RootfsRecipe::Overlay { lowers, .. } => {
                let mut paths = lowers.iter().map(|path| path.to_string_lossy().into_owned());
                let upper = paths.next().unwrap_or_default();
                let mut data = Map::new();
                let lowers: Vec<String> = paths.collect();
                if !lowers.is_empty() {
                    data.insert("LowerDir".to_owned(), json!(lowers.join(":")));
                }
                data.insert("UpperDir".to_owned(), json!(upper));
                Value::Object(data)
            }
            RootfsRecipe::Directory { path, .. } => json!({ "Dir": path.to_string_lossy() }),
        })
    }
}

/// When an image was made; where its configuration does not say, when it came into the store.
pub(crate) fn created_at(image: &ImageRecord, config: &ImageConfig) -> Timestamp {
    let times = [config.created.as_deref(), Some(image.created_at.as_str())];
    times.into_iter().flatten().find_map(timestamp).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn timestamp(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// The fields of a configuration that images have, as Docker shows them: in alphabetical order, and
/// only some of them when they are empty.
fn image_part(config: &Config) -> Result<Value> {
    const FIELDS: [(&str, bool); 12] = [
        ("Cmd", true),
        ("Entrypoint", true),
        ("Env", true),
        ("ExposedPorts", false),
        ("Healthcheck", false),
        ("Labels", true),
        ("OnBuild", true),
        ("Shell", false),
        ("StopSignal", false),
        ("User", true),
        ("Volumes", true),
        ("WorkingDir", true),
    ];
    let all = serde_json::to_value(config).map_err(|error| orlop_meta::Error::Damaged {
        what: "an image".to_owned(),
        reason: error.to_string(),
    })?;
    let mut part = Map::new();
    for (field, always) in FIELDS {
        let value = all.get(field).cloned().unwrap_or(Value::Null);
        let is_empty = value.is_null() || value.as_str() == Some("");
        if always || !is_empty {
            part.insert(field.to_owned(), value);
        }
    }
    Ok(Value::Object(part))
}
