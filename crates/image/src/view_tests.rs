//! What is seen of images, and images that are made of the layers of others.

use orlop_archive::digest::of_bytes;
use serde_json::{Value, json};

use crate::load_tests::{Entries, Fixture, pack};
use crate::{Edit, EditRequest, FileChange, FlattenRequest, ImageDiff, ImageTree};

/// One entry of a layer: name, mode, mtime and content; `l` and `h` in the name's place mark links.
struct Item<'a>(&'a str, u32, u64, &'a str);

fn layer(items: &[Item<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for Item(name, mode, mtime, content) in items {
        let mut header = tar::Header::new_ustar();
        header.set_mode(*mode);
        header.set_uid(u64::from(rustix::process::geteuid().as_raw()));
        header.set_gid(u64::from(rustix::process::getegid().as_raw()));
        header.set_mtime(*mtime);
        if let Some(target) = content.strip_prefix("=> ") {
            header.set_entry_type(tar::EntryType::Link);
            header.set_size(0);
            builder.append_link(&mut header, name, target).unwrap();
        } else if let Some(target) = content.strip_prefix("-> ") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            builder.append_link(&mut header, name, target).unwrap();
        } else if name.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_size(0);
            builder.append_data(&mut header, name, &b""[..]).unwrap();
        } else {
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, name, content.as_bytes()).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

/// An archive of one image.
fn archive(name: &str, layers: &[Vec<u8>]) -> Vec<u8> {
    let diff_ids: Vec<Value> = layers.iter().map(|layer| json!(of_bytes(layer))).collect();
    let history: Vec<Value> =
        (1..=layers.len()).map(|at| json!({ "created_by": format!("STEP {at}") })).collect();
    let config = json!({
        "os": "linux", "architecture": crate::Platform::host().architecture, "unknown": [1, null],
        "config": { "Cmd": ["x"], "Env": ["A=1", "B=2"], "Volumes": { "/data": {}, "/other": {} },
                    "Labels": { "k": "v" }, "Vendor": "kept" },
        "history": history,
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
    .to_string();
    let mut entries: Entries = vec![("config".to_owned(), config.into_bytes())];
    let mut names = Vec::new();
    for (at, layer) in layers.iter().enumerate() {
        names.push(format!("{at}.tar"));
        entries.push((format!("{at}.tar"), layer.clone()));
    }
    let list = json!([{ "Config": "config", "RepoTags": [name], "Layers": names }]);
    entries.push(("manifest.json".to_owned(), list.to_string().into_bytes()));
    pack(&entries)
}

fn three() -> Vec<Vec<u8>> {
    vec![
        layer(&[
            Item("bin/", 0o755, 1, ""),
            Item("bin/tool", 0o755, 1, "tool one"),
            Item("bin/same", 0o755, 1, "0123456789"),
            Item("etc/", 0o755, 1, ""),
            Item("etc/a", 0o644, 1, "aa"),
            Item("etc/b", 0o644, 1, "bb"),
            Item("link", 0o777, 1, "-> etc/a"),
        ]),
        layer(&[
            Item("bin/", 0o755, 2, ""),
            Item("bin/tool", 0o755, 2, "tool two!"),
            Item("bin/same", 0o700, 1, "0123456789"),
            Item("bin/hard", 0o700, 1, "=> bin/same"),
            Item("etc/.wh.b", 0o600, 0, ""),
            Item("etc/", 0o700, 2, ""),
        ]),
        layer(&[
            Item("etc/", 0o700, 3, ""),
            Item("etc/.wh..wh..opq", 0o600, 0, ""),
            Item("etc/c", 0o644, 3, "cc"),
            // The same length and time, and yet another content.
            Item("bin/", 0o755, 3, ""),
            Item("bin/tool", 0o755, 2, "tool 222!"),
        ]),
    ]
}

fn store(driver: &'static str) -> Fixture {
    let fixture = Fixture::new(driver);
    let layers = three();
    fixture.load(fixture.file(&archive("app:1", &layers))).unwrap();
    fixture.load(fixture.file(&archive("base:1", &layers[..1]))).unwrap();
    fixture.load(fixture.file(&archive("mid:1", &layers[..2]))).unwrap();
    fixture
}

fn diff(fixture: &Fixture, from: &str, to: &str, paths: &[&str]) -> ImageDiff {
    let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    fixture.images().diff(from, to, &paths).unwrap()
}

fn lines(diff: &ImageDiff) -> Vec<String> {
    let line = |file: &crate::FileDiff| {
        let letter = match file.change {
            FileChange::Added => 'A',
            FileChange::Changed => 'C',
            FileChange::Attributes => 'M',
            FileChange::Deleted => 'D',
        };
        let attributes: Vec<String> = file
            .attributes
            .iter()
            .map(|change| format!(" {}:{}>{}", change.name, change.before, change.after))
            .collect();
        format!("{letter} {}{}", file.path, attributes.concat())
    };
    diff.files.iter().map(line).collect()
}

fn a_tree_counts_what_each_layer_did(driver: &'static str) {
    let fixture = store(driver);
    let tree: ImageTree = fixture.images().tree("app:1").unwrap();
    let layers: Vec<_> = tree.steps.iter().filter_map(|step| step.layer.as_ref()).collect();
    let counts = |at: usize| {
        let layer = layers[at];
        [
            layer.added,
            layer.changed,
            layer.attributes_only,
            layer.deleted,
            layer.rewritten,
            layer.copied,
            layer.wasted,
        ]
    };
    // tool, same (all its names are in the second layer), a and b are not seen any more.
    assert_eq!(counts(0), [7, 0, 0, 0, 0, 0, 8 + 10 + 2 + 2]);
    // hard is new, tool changed, same and etc have other modes, b is gone; tool is replaced later.
    assert_eq!(counts(1), [1, 1, 2, 1, 0, 10, 9]);
    // c is new, tool changed, a is gone.
    assert_eq!(counts(2), [1, 1, 0, 1, 0, 0, 0]);
    assert_eq!((tree.files, tree.directories), (5, 2));
    assert_eq!(tree.wasted, 31);
    assert_eq!(layers[0].shared_with, ["base:1", "mid:1"]);
    assert_eq!(layers[1].shared_with, ["mid:1"]);
    assert!(layers[2].shared_with.is_empty());
    let steps: Vec<&str> = tree.steps.iter().map(|step| step.created_by.as_str()).collect();
    assert_eq!(steps, ["STEP 1", "STEP 2", "STEP 3"]);
}

fn two_images_differ_in_files_attributes_and_settings(driver: &'static str) {
    let fixture = store(driver);
    let all = diff(&fixture, "base:1", "app:1", &[]);
    let want = [
        "A /bin/hard",
        "M /bin/same mode:0755>0700 links:1>2",
        "C /bin/tool time:1970-01-01T00:00:01Z>1970-01-01T00:00:02Z",
        "M /etc mode:0755>0700",
        "D /etc/a",
        "D /etc/b",
        "A /etc/c",
    ];
    assert_eq!(lines(&all), want);
    assert_eq!(all.common_layers, 1);
    let totals = all.totals;
    assert_eq!(
        (totals.added, totals.changed, totals.attributes_only, totals.deleted, totals.same),
        (2, 1, 2, 2, 2)
    );
    assert!(all.config.is_empty(), "{:?}", all.config);
    // Equal length and time do not hide another content.
    assert_eq!(lines(&diff(&fixture, "mid:1", "app:1", &["/bin"])), ["C /bin/tool"]);
    assert_eq!(lines(&diff(&fixture, "app:1", "app:1", &[])), Vec::<String>::new());
    assert_eq!(lines(&diff(&fixture, "base:1", "app:1", &["etc/a", "/bin/har"])), ["D /etc/a"]);
    // The other way round everything is the other way round.
    let back = lines(&diff(&fixture, "app:1", "base:1", &["/etc"]));
    assert_eq!(back, ["M /etc mode:0700>0755", "A /etc/a", "A /etc/b", "D /etc/c"]);
}

fn flattened_images_are_equal(driver: &'static str) {
    let fixture = store(driver);
    for (keep, layers) in [(None, 1), (Some("base:1"), 2), (Some("mid:1"), 3)] {
        let request = FlattenRequest {
            image: "app:1".to_owned(),
            keep: keep.map(str::to_owned),
            reference: Some("flat:1".to_owned()),
        };
        let flat = fixture.images().flatten(&request).unwrap();
        assert_eq!(flat.layers, (3, layers));
        let difference = diff(&fixture, "app:1", "flat:1", &[]);
        assert_eq!((lines(&difference), difference.config), (Vec::new(), Vec::new()), "{keep:?}");
        assert_eq!(difference.common_layers, layers - 1);
        let record = fixture.images().resolve("flat:1").unwrap();
        let config: Value = serde_json::from_str(&record.config).unwrap();
        assert_eq!(config["unknown"], json!([1, null]), "{keep:?}");
        assert_eq!(config["config"]["Vendor"], "kept", "{keep:?}");
        let empty: Vec<bool> = config["history"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| step["empty_layer"].as_bool().unwrap_or(false))
            .collect();
        let want: Vec<bool> = (0..3).map(|at| at >= layers - 1).chain([false]).collect();
        assert_eq!(empty, want, "{keep:?}");
    }
    let nothing = |image: &str, keep: &str| {
        let request = FlattenRequest {
            image: image.to_owned(),
            keep: Some(keep.to_owned()),
            reference: None,
        };
        fixture.images().flatten(&request).unwrap_err().to_string()
    };
    assert_eq!(nothing("mid:1", "mid:1"), "image `mid:1` has no layers to flatten");
    assert_eq!(
        nothing("base:1", "mid:1"),
        "image `mid:1` is no base of `base:1`: its layers are not the lowest ones"
    );
}

/// What stands behind a link of the same layer is where the link leads.
fn links_of_a_layer_are_followed(driver: &'static str) {
    let fixture = Fixture::new(driver);
    let layers = [
        layer(&[
            Item("usr/lib/", 0o755, 1, ""),
            Item("lib", 0o777, 1, "-> usr/lib"),
            Item("lib/one", 0o644, 1, "1"),
        ]),
        layer(&[Item("usr/lib/.wh.one", 0o600, 0, ""), Item("usr/lib/two", 0o644, 1, "2")]),
    ];
    fixture.load(fixture.file(&archive("links:1", &layers))).unwrap();
    fixture.load(fixture.file(&archive("links:0", &layers[..1]))).unwrap();
    let changes = lines(&diff(&fixture, "links:0", "links:1", &["/usr/lib/one", "/usr/lib/two"]));
    assert_eq!(changes, ["D /usr/lib/one", "A /usr/lib/two"]);
    let request = FlattenRequest { image: "links:1".to_owned(), ..FlattenRequest::default() };
    let flat = fixture.images().flatten(&request).unwrap();
    assert_eq!(lines(&diff(&fixture, "links:1", flat.id.as_str(), &[])), Vec::<String>::new());
}

#[test]
fn edits_change_what_they_name_and_nothing_else() {
    let fixture = store("vfs");
    let edit = |edits: Vec<Edit>| {
        let request = EditRequest {
            image: "app:1".to_owned(),
            edits,
            reference: Some("edited:1".to_owned()),
            created_by: "edit".to_owned(),
        };
        fixture.images().edit(&request)
    };
    let text = |text: &str| text.to_owned();
    edit(vec![
        Edit::UnsetVolume(text("/data/")),
        Edit::UnsetEnv(text("A")),
        Edit::Env(text("B=3 4")),
        Edit::Env(text("C=")),
        Edit::Label(text("n=m")),
        Edit::UnsetLabel(text("k")),
        Edit::Entrypoint(text("[\"/bin/tool\"]")),
        Edit::User(text("7:8")),
        Edit::Workdir(text("/x//y")),
        Edit::Expose(text("80")),
        Edit::Change(text("STOPSIGNAL SIGINT")),
    ])
    .unwrap();
    let settings: Vec<String> = diff(&fixture, "app:1", "edited:1", &[])
        .config
        .iter()
        .map(|change| format!("{} {}>{}", change.name, change.before, change.after))
        .collect();
    let want = [
        "Entrypoint >[\"/bin/tool\"]",
        "Env.A 1>",
        "Env.B 2>3 4",
        "Env.C >",
        "ExposedPorts.80/tcp >{}",
        "Labels.k v>",
        "Labels.n >m",
        "StopSignal >SIGINT",
        "User >7:8",
        "Volumes./data {}>",
        "WorkingDir >/x/y",
    ];
    assert_eq!(settings, want);
    let record = fixture.images().resolve("edited:1").unwrap();
    assert_eq!(record.top_layer, fixture.images().resolve("app:1").unwrap().top_layer);
    let config: Value = serde_json::from_str(&record.config).unwrap();
    assert_eq!(config["config"]["Vendor"], "kept");
    assert_eq!(config["unknown"], json!([1, null]));
    assert_eq!(config["config"]["Cmd"], json!(["x"]));
    let last = config["history"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["created_by"], &last["empty_layer"]), (&json!("edit"), &json!(true)));
    for (edits, message) in [
        (vec![], "nothing to edit: name a setting to change"),
        (
            vec![Edit::UnsetVolume(text("/no"))],
            "the image declares no volume `/no`; it declares `/data`, `/other`",
        ),
        (vec![Edit::UnsetEnv(text("Z"))], "the image has no variable `Z`"),
        (vec![Edit::UnsetExpose(text("1"))], "the image has no port `1/tcp`"),
        (vec![Edit::Workdir(text("x"))], "working directory `x` is not an absolute path"),
        (vec![Edit::Env(text("=x"))], "variable `=x` is not `NAME=value`"),
    ] {
        assert_eq!(edit(edits).unwrap_err().to_string(), message);
    }
}

macro_rules! for_both_drivers {
    ($($test:ident),*) => {
        mod vfs {
            $(#[test]
            fn $test() { super::$test("vfs"); })*
        }
        mod overlay {
            $(#[test]
            #[ignore = "root: CAP_SYS_ADMIN, CAP_MKNOD"]
            fn $test() { super::$test("overlay"); })*
        }
    };
}

for_both_drivers!(
    a_tree_counts_what_each_layer_did,
    two_images_differ_in_files_attributes_and_settings,
    flattened_images_are_equal,
    links_of_a_layer_are_followed
);
