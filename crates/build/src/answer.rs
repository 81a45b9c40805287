//! What `--check`, `--call=outline` and `--call=targets` answer, in BuildKit's JSON.

use orlop_archive::digest;
use orlop_dockerfile::{Command, Dockerfile, Lines, Lint};
use serde_json::{Value, json};

use crate::error::Place;
use crate::frontend::Frontend;
use crate::frontend::find;
use crate::{Error, Location, Result};

fn ranges(first: usize, last: usize) -> Value {
    json!({ "ranges": [{ "start": { "line": first }, "end": { "line": last } }] })
}

fn location(lines: Lines) -> Value {
    ranges(lines.first, lines.last)
}

fn sources(place: &Place) -> Value {
    json!([{
        "filename": place.file,
        "language": "Dockerfile",
        "digest": digest::of_bytes(place.text.as_bytes()),
        "text": &*place.text,
    }])
}

/// The findings of the build checks, and the error that a build would end with.
pub(crate) fn lints(place: &Place, lints: &[Lint], error: Option<&Error>) -> Value {
    let warnings: Vec<Value> = lints
        .iter()
        .map(|lint| {
            json!({
                "ruleName": lint.rule.name(),
                "description": lint.rule.description(),
                "url": lint.rule.url(),
                "detail": lint.message,
                "location": location(lint.lines),
            })
        })
        .collect();
    let mut answer = json!({ "warnings": warnings, "sources": sources(place) });
    if let (Some(error), Some(answer)) = (error, answer.as_object_mut()) {
        let place = error
            .location()
            .map_or(Value::Null, |Location { first, last, .. }| ranges(*first, *last));
        answer.insert(
            "buildError".to_owned(),
            json!({ "message": error.to_string(), "location": place }),
        );
    }
    answer
}

/// The stages.
pub(crate) fn targets(place: &Place, file: &Dockerfile) -> Value {
    let last = file.stages.len().saturating_sub(1);
    let targets: Vec<Value> = file
        .stages
        .iter()
        .enumerate()
        .map(|(number, stage)| {
            json!({
                "name": stage.name.as_deref().unwrap_or_default(),
                "description": stage.description.as_deref().unwrap_or_default(),
                "default": number == last,
                "base": stage.base,
                "platform": stage.platform.as_deref().unwrap_or_default(),
                "location": location(stage.source.lines),
            })
        })
        .collect();
    json!({ "targets": targets, "sources": sources(place) })
}

/// The arguments, secrets and the like of the target.
pub(crate) fn outline(frontend: &Frontend<'_>) -> Result<Value> {
    let file = frontend.file;
    let wanted = frontend.request.target.as_str();
    let number = match wanted {
        "" => file.stages.len().checked_sub(1),
        name => file.stage(name),
    };
    let Some(stage) = number.and_then(|number| file.stages.get(number)) else {
        return Err(Error::invalid(format!("target stage {wanted:?} could not be found")));
    };
    let mut args = Vec::new();
    let mut add = |definition: &orlop_dockerfile::ArgDefinition, lines: Lines| {
        let value = frontend
            .build_args
            .get(&definition.name)
            .cloned()
            .or_else(|| definition.default.clone())
            .or_else(|| find(&frontend.globals, &definition.name));
        args.push(json!({
            "name": definition.name,
            "description": definition.description.as_deref().unwrap_or_default(),
            "value": value.unwrap_or_default(),
            "location": location(lines),
        }));
    };
    for global in &file.global_args {
        for definition in &global.definitions {
            add(definition, global.source.lines);
        }
    }
    for instruction in &stage.instructions {
        if let Command::Arg(definitions) = &instruction.command {
            for definition in definitions {
                add(definition, instruction.source.lines);
            }
        }
    }
    Ok(json!({
        "name": stage.name.as_deref().unwrap_or_default(),
        "description": stage.description.as_deref().unwrap_or_default(),
        "args": args,
        "sources": sources(frontend.place),
    }))
}
