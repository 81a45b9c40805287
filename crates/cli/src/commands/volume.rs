//! Commands about volumes.

use std::collections::BTreeMap;

use orlop_engine::{Force, InspectKind, NewVolume};
use orlop_types::environment::parse_label;
use orlop_types::natural::natural;
use orlop_types::size::human_size;
use serde_json::Value;

use super::{Session, filters, for_each, inspect};
use crate::args::{CreateVolume, ListVolumes, PruneVolumes, VolumeGroup};
use crate::failure::{Failure, Outcome};
use crate::request::BAD_FLAG;
use crate::rows;

/// Carries a command out.
pub fn dispatch(session: &mut Session<'_, '_>, command: VolumeGroup) -> Outcome {
    let named = |name: &'static str| move |failure: Failure| failure.during(name);
    match command {
        VolumeGroup::Create(args) => create(session, args).map_err(named("volume create")),
        VolumeGroup::Inspect(args) => {
            inspect(session, &args.names, args.format.as_deref(), Some(InspectKind::Volume))
        }
        VolumeGroup::Ls(args) => list(session, &args).map_err(named("volume ls")),
        VolumeGroup::Prune(args) => prune(session, &args).map_err(named("volume prune")),
        VolumeGroup::Rm(args) => for_each(session, "volume rm", &args.names, |session, name| {
            let force = if args.force { Force::Yes } else { Force::No };
            session.engine.volume_remove(name, force)?;
            Ok(session.streams.line(name)?)
        }),
    }
}

fn create(session: &mut Session<'_, '_>, args: CreateVolume) -> Outcome {
    let request = new_volume(args)?;
    let volume = session.engine.volume_create(request)?;
    session.streams.line(volume.name.as_str())?;
    Ok(0)
}

fn new_volume(args: CreateVolume) -> Result<NewVolume, Failure> {
    let wrong = |why: String| Failure::new(why).with_code(BAD_FLAG);
    let mut labels = BTreeMap::new();
    for raw in &args.label {
        let (name, value) = parse_label(raw).map_err(|error| {
            wrong(format!("invalid argument \"{raw}\" for \"--label\" flag: {error}"))
        })?;
        labels.insert(name, value);
    }
    let mut options = BTreeMap::new();
    for raw in &args.opt {
        let (name, value) = raw.split_once('=').unwrap_or((raw, ""));
        options.insert(name.to_owned(), value.to_owned());
    }
    if args.name.is_some() && args.old_name.is_some() {
        return Err(Failure::new(
            "conflicting options: cannot specify a volume-name through both --name and as a positional arg",
        ));
    }
    Ok(NewVolume {
        name: args.name.or(args.old_name).filter(|name| !name.is_empty()),
        driver: args.driver,
        labels: Some(labels).filter(|labels| !labels.is_empty()),
        options: Some(options).filter(|options| !options.is_empty()),
    })
}

fn list(session: &mut Session<'_, '_>, args: &ListVolumes) -> Outcome {
    let volumes = session.engine.volume_list(&filters(&args.list.filters)?)?;
    let mut rows: Vec<Value> = volumes.iter().map(rows::volume).collect();
    let name = |row: &Value| row["Name"].as_str().unwrap_or_default().to_owned();
    rows.sort_by(|one, other| natural(&name(one), &name(other)));
    let format = session.format(args.list.format.as_deref());
    session.list(&rows::VOLUMES, format.as_deref(), args.list.quiet, &rows)
}

fn prune(session: &mut Session<'_, '_>, args: &PruneVolumes) -> Outcome {
    let mut chosen = filters(&args.filters)?;
    if chosen.values("all").next().is_some() && args.all {
        return Err(Failure::new(
            "conflicting options: cannot specify both --all and --filter all=1",
        ));
    }
    let warning = match args.all {
        true => "WARNING! This will remove all local volumes not used by at least one container.",
        false => {
            "WARNING! This will remove anonymous local volumes not used by at least one container."
        }
    };
    if !args.force && !session.streams.confirm(warning)? {
        return Ok(0);
    }
    if args.all {
        chosen.insert("all", "true");
    }
    let (removed, reclaimed) = session.engine.volume_prune(&chosen)?;
    if !removed.is_empty() {
        session.streams.line("Deleted Volumes:")?;
        for name in &removed {
            session.streams.line(name)?;
        }
        session.streams.line("")?;
    }
    session.streams.line(format!("Total reclaimed space: {}", human_size(reclaimed as f64)))?;
    Ok(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn args(label: &[&str], opt: &[&str]) -> CreateVolume {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        CreateVolume {
            driver: "local".into(),
            label: owned(label),
            opt: owned(opt),
            name: Some("db".into()),
            old_name: None,
        }
    }

    #[test]
    fn labels_and_options_become_maps() {
        let volume = new_volume(args(&["a=1", "b"], &["type=nfs", "o=addr=1.2.3.4,rw"])).unwrap();
        assert_eq!(
            volume.labels.unwrap().into_iter().collect::<Vec<_>>(),
            [("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())]
        );
        assert_eq!(volume.options.unwrap()["o"], "addr=1.2.3.4,rw");
        let both = CreateVolume { old_name: Some("other".into()), ..args(&[], &[]) };
        assert_eq!(
            new_volume(both).unwrap_err().why,
            "conflicting options: cannot specify a volume-name through both --name and as a positional arg"
        );
        let volume = new_volume(args(&[], &[])).unwrap();
        assert_eq!((volume.labels, volume.options), (None, None));
        assert_eq!(
            new_volume(args(&["=x"], &[])).unwrap_err().why,
            "invalid argument \"=x\" for \"--label\" flag: invalid label '=x': empty name"
        );
    }
}
