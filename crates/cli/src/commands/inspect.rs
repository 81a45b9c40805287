//! `inspect` of anything.

use orlop_engine::InspectKind;
use serde_json::Value;

use super::Session;
use crate::args::{Inspect, InspectContainers};
use crate::failure::{Failure, Outcome};
use crate::format::View;

/// Types that Docker names in its refusal of another one.
const TYPES: &str = "must be one of \"config\", \"container\", \"image\", \"network\", \"node\", \"plugin\", \"secret\", \"service\", \"task\", \"volume\"";
/// Types of Docker that there is nothing of here.
const EMPTY_TYPES: &[&str] = &["config", "node", "plugin", "secret", "service", "task"];

/// Whether containers show their sizes, which may have to be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sizes {
    Shown,
    Left,
}

impl Sizes {
    fn shown_if(wanted: bool) -> Self {
        if wanted { Self::Shown } else { Self::Left }
    }
}

/// `inspect`
pub fn any(session: &mut Session<'_, '_>, args: &Inspect) -> Outcome {
    let kind = match args.kind.as_deref() {
        None => None,
        Some("") => return Err(refuse("type is empty", true)),
        Some("container") => Some(InspectKind::Container),
        Some("image") => Some(InspectKind::Image),
        Some("volume") => Some(InspectKind::Volume),
        Some("network") => Some(InspectKind::Network),
        Some(other) if EMPTY_TYPES.contains(&other) => {
            return Err(refuse(&format!("there are no objects of type \"{other}\" here"), false));
        }
        Some(other) => return Err(refuse(&format!("unknown type: \"{other}\""), true)),
    };
    let view = view(session, args.format.as_deref())?;
    show(session, &args.names, &view, kind, Sizes::shown_if(args.size))
}

fn refuse(why: &str, lists_types: bool) -> Failure {
    let why = if lists_types { format!("{why}: {TYPES}") } else { why.to_owned() };
    Failure::new(why).during("inspect")
}

/// `container inspect`
pub fn containers(session: &mut Session<'_, '_>, args: &InspectContainers) -> Outcome {
    let InspectContainers { size, inspect } = args;
    let kind = Some(InspectKind::Container);
    let view = view(session, inspect.format.as_deref())?;
    show(session, &inspect.names, &view, kind, Sizes::shown_if(*size))
}

/// Every other kind of object.
pub fn inspect(
    session: &mut Session<'_, '_>,
    names: &[String],
    format: Option<&str>,
    kind: Option<InspectKind>,
) -> Outcome {
    let view = match view(session, format)? {
        // Docker shows volumes as its client has them, and nothing else.
        View::Template(template) if kind == Some(InspectKind::Volume) => View::Typed(template),
        other => other,
    };
    show(session, names, &view, kind, Sizes::Left)
}

/// Made before anything is looked for: a wrong template is wrong for every object.
fn view(session: &Session<'_, '_>, format: Option<&str>) -> Result<View, Failure> {
    View::parse(session.format(format).as_deref()).map_err(|failure| failure.during("inspect"))
}

/// Prints what was found, then tells about what was not.
fn show(
    session: &mut Session<'_, '_>,
    names: &[String],
    view: &View,
    kind: Option<InspectKind>,
    sizes: Sizes,
) -> Outcome {
    let mut found: Vec<Value> = Vec::new();
    let mut failures = Vec::new();
    for name in names {
        if name.is_empty() {
            let what = match kind {
                Some(InspectKind::Image) => "image",
                Some(InspectKind::Network) => "network",
                Some(InspectKind::Volume) => "volume",
                Some(InspectKind::Container) | None => "container",
            };
            failures.push(Failure::new(format!("invalid {what} name or ID: value is empty")));
            continue;
        }
        match session.engine.inspect(name, kind) {
            Ok(mut document) => {
                if sizes == Sizes::Shown {
                    add_sizes(session, name, &mut document)?;
                }
                found.push(document);
            }
            Err(error) if kind.is_none() && super::is_missing(&error) => {
                failures.push(Failure::new(format!("Error: No such object: {name}")));
            }
            Err(error) => failures.push(Failure::from(error)),
        }
    }
    let (text, mistakes) = view.render(&found);
    session.streams.out.write_all(text.as_bytes()).map_err(Failure::from)?;
    failures.splice(0..0, mistakes);
    super::tell_all(session, "inspect", failures)
}

/// Adds `SizeRw` and `SizeRootFs` to a container; for anything else there is a warning.
fn add_sizes(
    session: &mut Session<'_, '_>,
    name: &str,
    document: &mut Value,
) -> Result<(), Failure> {
    let kind = if document.get("HostConfig").is_some() {
        None
    } else if document.get("RootFS").is_some() {
        Some("image")
    } else if document.get("Mountpoint").is_some() {
        Some("volume")
    } else {
        Some("network")
    };
    if let Some(kind) = kind {
        session.streams.out.flush()?;
        return Ok(writeln!(session.streams.err, "WARNING: --size ignored for {kind}")?);
    }
    let sizes = session.engine.container_sizes(name)?;
    if let Some(fields) = document.as_object_mut() {
        // Where Docker has them: before the mounts.
        let at = fields.keys().position(|key| key == "Mounts").unwrap_or(fields.len());
        fields.shift_insert(at, "SizeRw".to_owned(), sizes.writable_bytes.into());
        fields.shift_insert(at + 1, "SizeRootFs".to_owned(), sizes.root_bytes.into());
    }
    Ok(())
}
