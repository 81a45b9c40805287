//! What scripts ask of Docker's `buildx` about builders: there is one, this program.

use orlop_types::Platform;
use serde_json::{Value, json};

use super::Session;
use crate::args::BuilderList;
use crate::failure::{Failure, Outcome};
use crate::format::ListStyle;

/// The only builder.
const NAME: &str = "default";
/// What builds.
const DRIVER: &str = "orlop";
const VERSION: &str = env!("CARGO_PKG_VERSION");

const STYLE: ListStyle<'_> = ListStyle {
    table: "{{.Name}}\t{{.DriverEndpoint}}\t{{.Status}}\t{{.Buildkit}}\t{{.Platforms}}",
    quiet: "{{.Name}}",
    headings: &[
        ("Name", "NAME/NODE"),
        ("DriverEndpoint", "DRIVER/ENDPOINT"),
        ("Status", "STATUS"),
        ("Buildkit", "BUILDKIT"),
        ("Platforms", "PLATFORMS"),
    ],
    row_type: "*commands.lsContext",
};

/// `buildx ls`
pub fn list(session: &mut Session<'_, '_>, args: &BuilderList) -> Outcome {
    let format = session.format(args.format.as_deref());
    let rows = if format.as_deref() == Some("json") { vec![document()] } else { rows() };
    session.list(&STYLE, format.as_deref(), false, &rows)
}

/// The builder, and its node below it.
fn rows() -> Vec<Value> {
    let row = |name: String, driver: String, status: &str, version: &str, platforms: &str| {
        json!({
            "Name": name, "DriverEndpoint": driver, "Status": status, "Buildkit": version,
            "Platforms": platforms
        })
    };
    let platform = Platform::host().to_string();
    vec![
        row(format!("{NAME}*"), DRIVER.to_owned(), "", "", ""),
        row(format!(" \\_ {NAME}"), format!(" \\_ {NAME}"), "running", VERSION, &platform),
    ]
}

fn document() -> Value {
    let platform = Platform::host().to_string();
    json!({
        "Current": true,
        "Driver": DRIVER,
        "Dynamic": false,
        "Name": NAME,
        "Nodes": [{
            "Endpoint": NAME, "Name": NAME, "Platforms": [platform], "Status": "running", "Version": VERSION
        }]
    })
}

/// `buildx inspect`
pub fn inspect(session: &mut Session<'_, '_>, name: Option<&str>) -> Outcome {
    check(name.unwrap_or(NAME))?;
    let platform = Platform::host();
    let text = format!(
        "Name:   {NAME}\nDriver: {DRIVER}\n\nNodes:\nName:             {NAME}\nEndpoint:         {NAME}\n\
         Status:           running\nBuildKit version: {VERSION}\nPlatforms:        {platform}\n"
    );
    session.streams.out.write_all(text.as_bytes())?;
    Ok(0)
}

/// `buildx use`
pub fn choose(name: &str) -> Outcome {
    check(name)?;
    Ok(0)
}

/// `buildx version`
pub fn version(session: &mut Session<'_, '_>) -> Outcome {
    session.streams.line(format!("{DRIVER} {VERSION}"))?;
    Ok(0)
}

/// `buildx create`
pub fn create() -> Outcome {
    Err(Failure::new("builders cannot be made").with_hint(
        "orlop builds by itself: leave `buildx create` away, or say `orlop buildx use default`",
    ))
}

fn check(name: &str) -> Result<(), Failure> {
    match name {
        "" | NAME => Ok(()),
        name => Err(Failure::new(format!("no builder {name:?} found"))
            .with_hint("orlop builds by itself: the only builder is `default`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_that_of_buildx() {
        let platform = Platform::host().to_string();
        let text = STYLE.render(None, false, &rows()).map_err(|failure| failure.why);
        let version = format!("{VERSION:<11}");
        assert_eq!(
            text,
            Ok(format!(
                "NAME/NODE     DRIVER/ENDPOINT   STATUS    BUILDKIT   PLATFORMS\n\
                 default*      orlop                                  \n \
                 \\_ default    \\_ default       running   {version}{platform}\n"
            ))
        );
        assert_eq!(choose("default"), Ok(0));
        let refused = choose("other").map_err(|failure| failure.why);
        assert_eq!(refused, Err("no builder \"other\" found".to_owned()));
    }
}
