//! `image edit`: another configuration for the same layers.
//!
//! What the configuration holds besides the changed settings stays as it is, known or not.

use orlop_archive::digest;
use orlop_meta::{Durability, ImageRecord};
use orlop_sys::fault;
use orlop_types::change::apply_changes;
use orlop_types::config::{Config, Empty};
use orlop_types::environment::set_env;
use orlop_types::image::HistoryEntry;
use orlop_types::mount::clean_path;
use orlop_types::reference::ImageReference;
use orlop_types::{ChainId, ImageId, ParseError};
use serde_json::{Map, Value};

use crate::images::{config, event, now, put_tag, resolve};
use crate::{Error, Images, Result};

/// One change of an image's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Sets a variable (`NAME=value`).
    Env(String),
    /// Takes a variable away.
    UnsetEnv(String),
    /// Sets a label (`name=value`).
    Label(String),
    /// Takes a label away.
    UnsetLabel(String),
    /// Declares a volume.
    Volume(String),
    /// No longer declares a volume.
    UnsetVolume(String),
    /// Exposes a port.
    Expose(String),
    /// No longer exposes a port.
    UnsetExpose(String),
    /// Sets the command: a JSON array or a text for the shell.
    Cmd(String),
    /// Takes the command away.
    UnsetCmd,
    /// Sets the entry point, in the same forms; the command stays.
    Entrypoint(String),
    /// Takes the entry point away.
    UnsetEntrypoint,
    /// Sets the user.
    User(String),
    /// Takes the user away: root.
    UnsetUser,
    /// Sets the working directory.
    Workdir(String),
    /// Takes the working directory away.
    UnsetWorkdir,
    /// Takes the health check away.
    UnsetHealthcheck,
    /// Applies an instruction of a Dockerfile.
    Change(String),
}

/// What is edited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EditRequest {
    /// The image.
    pub image: String,
    /// What changes, in order.
    pub edits: Vec<Edit>,
    /// Name of the new image.
    pub reference: Option<String>,
    /// The command as the history shows it.
    pub created_by: String,
}

/// An image that is about to be made of layers that are there.
pub(crate) struct NewImage {
    pub(crate) config: Value,
    pub(crate) top_layer: Option<ChainId>,
    pub(crate) size_bytes: u64,
    /// The event that is logged.
    pub(crate) action: &'static str,
    pub(crate) reference: Option<ImageReference>,
}

impl Images<'_> {
    /// Makes an image of the same layers with other settings; image, name and events are one commit.
    pub fn edit(&self, request: &EditRequest) -> Result<ImageId> {
        let reference = crate::target_reference(request.reference.as_deref())?;
        if request.edits.is_empty() {
            return Err(ParseError::new("nothing to edit: name a setting to change").into());
        }
        let _changing = self.store.changing()?;
        let image = self.store.read(|query| resolve(query, &request.image))?;
        let parsed = config(&image)?;
        let mut edited = parsed.config.clone();
        for edit in &request.edits {
            apply(&mut edited, edit)?;
        }
        let damaged = |source| Error::Damaged { id: image.id.clone(), source };
        let mut raw = raw_config(&image)?;
        let before = serde_json::to_value(&parsed.config).map_err(damaged)?;
        let after = serde_json::to_value(&edited).map_err(damaged)?;
        patch(&mut raw, &before, &after);
        let created = now();
        let step = HistoryEntry {
            created: Some(created.clone()),
            created_by: request.created_by.clone(),
            empty_layer: true,
            ..HistoryEntry::default()
        };
        let step = serde_json::to_value(step).map_err(damaged)?;
        match raw.get_mut("history").and_then(Value::as_array_mut) {
            Some(history) => history.push(step),
            None => drop(raw.insert("history".to_owned(), Value::Array(vec![step]))),
        }
        raw.insert("created".to_owned(), Value::String(created));
        self.insert_image(NewImage {
            config: Value::Object(raw),
            top_layer: image.top_layer,
            size_bytes: image.size_bytes,
            action: "edit",
            reference,
        })
    }

    /// Makes an image visible.
    pub(crate) fn insert_image(&self, new: NewImage) -> Result<ImageId> {
        let config = serde_json::to_string(&new.config).map_err(|error| {
            orlop_meta::Error::Damaged { what: "an image".to_owned(), reason: error.to_string() }
        })?;
        let record = ImageRecord {
            id: ImageId::new(digest::of_bytes(config.as_bytes())),
            top_layer: new.top_layer,
            config,
            size_bytes: new.size_bytes,
            created_at: now(),
        };
        self.store.write::<_, Error>(Durability::Durable, |query| {
            query.image_insert(&record)?;
            query.event_insert(&event(new.action, &record, record.id.as_str()))?;
            new.reference.as_ref().map_or(Ok(()), |name| put_tag(query, &record, name))
        })?;
        fault::point("image.made");
        tracing::info!(op = new.action, image = %record.id);
        Ok(record.id)
    }
}

/// The configuration with everything in it.
pub(crate) fn raw_config(image: &ImageRecord) -> Result<Map<String, Value>> {
    serde_json::from_str(&image.config)
        .map_err(|source| Error::Damaged { id: image.id.clone(), source })
}

/// Carries the settings that changed over into the whole document.
fn patch(raw: &mut Map<String, Value>, before: &Value, after: &Value) {
    let settings = raw.entry("config").or_insert_with(|| Value::Object(Map::new()));
    if !settings.is_object() {
        *settings = Value::Object(Map::new());
    }
    let (Some(settings), Some(before), Some(after)) =
        (settings.as_object_mut(), before.as_object(), after.as_object())
    else {
        return;
    };
    for name in before.keys().chain(after.keys()) {
        if before.get(name) == after.get(name) {
            continue;
        }
        match after.get(name).filter(|value| !value.is_null()) {
            Some(value) => drop(settings.insert(name.clone(), value.clone())),
            None => drop(settings.shift_remove(name)),
        }
    }
}

fn apply(config: &mut Config, edit: &Edit) -> Result<()> {
    match edit {
        Edit::Env(text) => match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                set_env(config.env.get_or_insert_default(), name, value);
            }
            _ => return Err(wrong(format!("variable `{text}` is not `NAME=value`"))),
        },
        Edit::UnsetEnv(name) => {
            let all = config.env.get_or_insert_default();
            let is_it = |entry: &String| {
                entry.split_once('=').map_or(entry.as_str(), |(key, _)| key) == name
            };
            if !all.iter().any(is_it) {
                return Err(absent("variable", name));
            }
            all.retain(|entry| !is_it(entry));
        }
        Edit::Label(text) => {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            if name.is_empty() {
                return Err(wrong(format!("label `{text}` is not `name=value`")));
            }
            config.labels.get_or_insert_default().insert(name.to_owned(), value.to_owned());
        }
        Edit::UnsetLabel(name) => {
            let gone = config.labels.as_mut().and_then(|labels| labels.remove(name));
            gone.ok_or_else(|| absent("label", name))?;
            config.labels.take_if(|labels| labels.is_empty());
        }
        Edit::Volume(path) => {
            config.volumes.get_or_insert_default().insert(absolute("volume", path)?, Empty {});
        }
        Edit::UnsetVolume(path) => unset_volume(config, path)?,
        Edit::Expose(port) => apply_changes(config, &[format!("EXPOSE {port}")])?,
        Edit::UnsetExpose(port) => {
            let full = if port.contains('/') { port.clone() } else { format!("{port}/tcp") };
            let gone = config.exposed_ports.as_mut().and_then(|ports| ports.remove(&full));
            gone.ok_or_else(|| absent("port", &full))?;
            config.exposed_ports.take_if(|ports| ports.is_empty());
        }
        Edit::Cmd(text) => apply_changes(config, &[format!("CMD {text}")])?,
        Edit::UnsetCmd => config.cmd = None,
        Edit::Entrypoint(text) => {
            // As an instruction it would take the command away.
            let cmd = config.cmd.clone();
            apply_changes(config, &[format!("ENTRYPOINT {text}")])?;
            config.cmd = cmd;
        }
        Edit::UnsetEntrypoint => config.entrypoint = None,
        Edit::User(user) => config.user.clone_from(user),
        Edit::UnsetUser => config.user.clear(),
        Edit::Workdir(path) => config.working_dir = absolute("working directory", path)?,
        Edit::UnsetWorkdir => config.working_dir.clear(),
        Edit::UnsetHealthcheck => config.healthcheck = None,
        Edit::Change(text) => apply_changes(config, &[text])?,
    }
    Ok(())
}

fn unset_volume(config: &mut Config, path: &str) -> Result<()> {
    let volumes = config.volumes.get_or_insert_default();
    let wanted = clean_path(path);
    let known: Vec<String> =
        volumes.keys().filter(|known| clean_path(known) == wanted).cloned().collect();
    if known.is_empty() {
        let others: Vec<String> = volumes.keys().map(|path| format!("`{path}`")).collect();
        let hint = match others.is_empty() {
            true => "it declares none".to_owned(),
            false => format!("it declares {}", others.join(", ")),
        };
        return Err(wrong(format!("the image declares no volume `{path}`; {hint}")));
    }
    volumes.retain(|path, _| !known.contains(path));
    config.volumes.take_if(|volumes| volumes.is_empty());
    Ok(())
}

fn absolute(what: &str, path: &str) -> Result<String> {
    if path.starts_with('/') {
        return Ok(clean_path(path));
    }
    Err(wrong(format!("{what} `{path}` is not an absolute path")))
}

fn wrong(text: String) -> Error {
    ParseError::new(text).into()
}

fn absent(what: &str, name: &str) -> Error {
    wrong(format!("the image has no {what} `{name}`"))
}
