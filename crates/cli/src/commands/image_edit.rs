//! `image edit` and `image flatten`: new images of layers that are there.

use orlop_engine::{Edit, EditRequest, FlattenRequest};
use orlop_types::size::table_size;

use super::Session;
use crate::args::{EditArgs, FlattenArgs};
use crate::failure::Outcome;

/// `image flatten`
pub fn flatten(session: &mut Session<'_, '_>, args: FlattenArgs) -> Outcome {
    let request = FlattenRequest { image: args.name, keep: args.keep, reference: args.tag };
    let done = session.engine.image_flatten(&request)?;
    session.streams.line(done.id.as_str())?;
    let told = format!(
        "{} layer{} became {}, {} became {}",
        done.layers.0,
        if done.layers.0 == 1 { "" } else { "s" },
        done.layers.1,
        table_size(done.bytes.0),
        table_size(done.bytes.1)
    );
    writeln!(session.streams.err, "{told}")?;
    Ok(0)
}

/// `image edit`
pub fn edit(session: &mut Session<'_, '_>, args: EditArgs) -> Outcome {
    let (edits, words) = edits(&args);
    let request = EditRequest {
        image: args.name,
        edits,
        reference: args.tag,
        created_by: format!("orlop image edit {}", words.join(" ")),
    };
    let id = session.engine.image_edit(&request)?;
    session.streams.line(id.as_str())?;
    Ok(0)
}

/// What the options mean, what is taken away first; and the options again, for the history.
fn edits(args: &EditArgs) -> (Vec<Edit>, Vec<String>) {
    let mut edits = Vec::new();
    let mut words = Vec::new();
    let mut values = |flag: &str, values: &[String], edit: fn(String) -> Edit| {
        for value in values {
            words.push(format!("--{flag} {value}"));
            edits.push(edit(value.clone()));
        }
    };
    values("unset-volume", &args.unset_volume, Edit::UnsetVolume);
    values("unset-env", &args.unset_env, Edit::UnsetEnv);
    values("unset-label", &args.unset_label, Edit::UnsetLabel);
    values("unset-expose", &args.unset_expose, Edit::UnsetExpose);
    values("volume", &args.volume, Edit::Volume);
    values("env", &args.env, Edit::Env);
    values("label", &args.label, Edit::Label);
    values("expose", &args.expose, Edit::Expose);
    values("cmd", args.cmd.as_slice(), Edit::Cmd);
    values("entrypoint", args.entrypoint.as_slice(), Edit::Entrypoint);
    values("user", args.user.as_slice(), Edit::User);
    values("workdir", args.workdir.as_slice(), Edit::Workdir);
    for (given, flag, edit) in [
        (args.unset_cmd, "unset-cmd", Edit::UnsetCmd),
        (args.unset_entrypoint, "unset-entrypoint", Edit::UnsetEntrypoint),
        (args.unset_user, "unset-user", Edit::UnsetUser),
        (args.unset_workdir, "unset-workdir", Edit::UnsetWorkdir),
        (args.unset_healthcheck, "unset-healthcheck", Edit::UnsetHealthcheck),
    ] {
        if given {
            words.push(format!("--{flag}"));
            edits.push(edit);
        }
    }
    for change in &args.changes {
        words.push(format!("--change {change}"));
        edits.push(Edit::Change(change.clone()));
    }
    (edits, words)
}
