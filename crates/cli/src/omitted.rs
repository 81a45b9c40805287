//! Fields that Docker's JSON leaves out when they are empty, and that its templates know all the same.
//!
//! Docker renders templates over typed structs: `{{.Name}}` of a bind mount prints nothing, although
//! the JSON of a bind mount has no `Name`. Templates that miss a field are therefore rendered a second
//! time, over a document that has these fields.

use serde_json::{Value, json};

/// Where (an array's elements are meant by its name) and which fields with which zero value.
fn fields() -> [(&'static str, Value); 4] {
    [
        ("Mounts", json!({ "Name": "", "Driver": "" })),
        (
            "Config",
            json!({
                "ExposedPorts": {}, "Healthcheck": null, "StopSignal": "", "StopTimeout": null,
                "Shell": null, "User": "", "Env": null, "Cmd": null, "Entrypoint": null, "Volumes": null,
                "WorkingDir": "", "Labels": null, "OnBuild": null,
            }),
        ),
        (
            "HostConfig",
            json!({
                "Tmpfs": {}, "Mounts": [], "StorageOpt": {}, "Sysctls": {}, "Init": null,
                "Links": null, "UsernsMode": "", "Isolation": "", "Annotations": {},
                "BlkioWeight": 0, "CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0,
                "DeviceCgroupRules": null, "DeviceRequests": null, "CpuCount": 0, "CpuPercent": 0,
            }),
        ),
        ("State", json!({ "Health": null })),
    ]
}

/// What an image's document may leave out at its top.
fn image_fields() -> Value {
    json!({
        "Author": "", "Comment": "", "Parent": "", "DockerVersion": "", "OsVersion": "",
        "Variant": "",
    })
}

/// The document with every field that may be left out.
pub fn complete(document: &Value) -> Value {
    let mut document = document.clone();
    // Only images have a root file system.
    if document.get("RootFS").is_some() {
        fill(&mut document, &image_fields());
    }
    for (place, zero) in fields() {
        match document.get_mut(place) {
            Some(Value::Array(elements)) => elements.iter_mut().for_each(|each| fill(each, &zero)),
            Some(object) => fill(object, &zero),
            None => {}
        }
    }
    document
}

fn fill(object: &mut Value, zero: &Value) {
    let (Some(object), Some(zero)) = (object.as_object_mut(), zero.as_object()) else { return };
    for (name, value) in zero {
        object.entry(name.clone()).or_insert_with(|| value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn omitted_fields_are_filled_in_and_present_ones_stay() {
        let document = json!({
            "Mounts": [{ "Type": "bind" }, { "Type": "volume", "Name": "db" }],
            "Config": { "StopSignal": "SIGINT" },
        });
        let complete = complete(&document);
        assert_eq!(complete["Mounts"][0]["Name"], "");
        assert_eq!(complete["Mounts"][1]["Name"], "db");
        assert_eq!(complete["Config"]["StopSignal"], "SIGINT");
        assert_eq!(complete["Config"]["ExposedPorts"], json!({}));
        assert_eq!(complete.get("State"), None);
        assert_eq!(complete.get("Author"), None);
        let image = super::complete(&json!({ "RootFS": {}, "Variant": "v8", "Config": {} }));
        assert_eq!((&image["Author"], &image["Variant"]), (&json!(""), &json!("v8")));
        assert_eq!(image["Config"]["Labels"], json!(null));
    }
}
