//! Whole builds of images without a base: nothing runs in them, so they need no container.

use std::path::Path;
use std::sync::{Arc, Mutex};

use orlop_container::Settings;
use orlop_layer::LayerStore;
use orlop_meta::Store;

use crate::progress::{Event, Outcome, Progress};
use crate::request::{BuildOutcome, BuildRequest, ContextSource, DockerfileSource, NoCache};
use crate::{Builder, CachePruneOptions, Cancel, Error};

/// A store with a builder.
struct Bench {
    directory: tempfile::TempDir,
    store: Arc<Store>,
    layers: LayerStore,
    settings: Settings,
}

/// Keeps all events.
#[derive(Default)]
struct Kept(Mutex<Vec<Event>>);

impl Progress for Kept {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Kept {
    /// Each step that ended, with how.
    fn ended(&self) -> Vec<(String, Outcome)> {
        let events = self.0.lock().unwrap();
        let name = |wanted: usize| {
            events
                .iter()
                .find_map(|event| match event {
                    Event::Announced { vertex, name, .. } if *vertex == wanted => {
                        Some(name.clone())
                    }
                    _ => None,
                })
                .unwrap()
        };
        events
            .iter()
            .filter_map(|event| match event {
                Event::Ended { vertex, outcome } => Some((name(*vertex), outcome.clone())),
                _ => None,
            })
            .collect()
    }

    /// How the steps of stages ended: `true` is from the cache.
    fn steps(&self) -> Vec<(String, bool)> {
        self.ended()
            .into_iter()
            .filter(|(name, _)| {
                name.starts_with('[') && !name.starts_with("[internal]") && !name.contains("FROM")
            })
            .map(|(name, outcome)| (name, outcome == Outcome::Cached))
            .collect()
    }

    fn reasons(&self) -> Vec<String> {
        let events = self.0.lock().unwrap();
        events
            .iter()
            .filter_map(|event| match event {
                Event::Explained { reason, .. } => Some(reason.clone()),
                _ => None,
            })
            .collect()
    }
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store =
            Store::open(&directory.path().join("root"), &directory.path().join("run")).unwrap();
        let store = Arc::new(store);
        let layers = LayerStore::open(Arc::clone(&store), None).unwrap();
        let settings =
            Settings { executable: "/proc/self/exe".into(), global_arguments: Vec::new() };
        std::fs::create_dir(directory.path().join("context")).unwrap();
        Self { directory, store, layers, settings }
    }

    fn context(&self) -> std::path::PathBuf {
        self.directory.path().join("context")
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.context().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn builder(&self) -> Builder<'_> {
        Builder::new(&self.store, &self.layers, &self.settings)
    }

    fn request(&self, dockerfile: &str) -> BuildRequest {
        BuildRequest {
            context: ContextSource::Directory(self.context()),
            dockerfile: DockerfileSource::Text {
                name: "Dockerfile".to_owned(),
                text: dockerfile.to_owned(),
            },
            explain: true,
            ..BuildRequest::default()
        }
    }

    fn build(&self, request: BuildRequest) -> (Result<BuildOutcome, Error>, Kept) {
        let kept = Kept::default();
        let outcome = self.builder().build(request, &kept, &Cancel::default());
        (outcome, kept)
    }

    fn image(&self, request: BuildRequest) -> (String, Kept) {
        let (outcome, kept) = self.build(request);
        (outcome.unwrap().image.unwrap().to_string(), kept)
    }

    fn document(&self, image: &str) -> serde_json::Value {
        let images = orlop_image::Images::new(&self.store, &self.layers);
        serde_json::from_str(&images.resolve(image).unwrap().config).unwrap()
    }
}

fn step(name: &str, cached: bool) -> (String, bool) {
    (name.to_owned(), cached)
}

#[test]
#[ignore = "root: layers are made with owners"]
fn a_rebuild_takes_everything_from_the_cache_and_gives_the_same_image() {
    let bench = Bench::new();
    bench.write("a", "1");
    bench.write("b", "2");
    let text = "FROM scratch\nCOPY a /a\nENV X=1\nCOPY b /d/\nCMD [\"/a\"]\n";
    let request = || BuildRequest { tags: vec!["t:1".to_owned()], ..bench.request(text) };
    let (first, kept) = bench.image(request());
    assert_eq!(kept.steps(), [step("[1/2] COPY a /a", false), step("[2/2] COPY b /d/", false)]);
    let (second, kept) = bench.image(request());
    assert_eq!(second, first);
    let mut steps = kept.steps();
    steps.sort();
    assert_eq!(steps, [step("[1/2] COPY a /a", true), step("[2/2] COPY b /d/", true)]);
    let document = bench.document("t:1");
    let texts: Vec<&str> = document["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["created_by"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["COPY a /a # buildkit", "ENV X=1", "COPY b /d/ # buildkit", "CMD [\"/a\"]"]);
    assert_eq!(document["rootfs"]["diff_ids"].as_array().unwrap().len(), 2);
    assert_eq!(document["history"][1]["empty_layer"], true);
    assert_eq!(document["config"]["WorkingDir"], "/");
}

#[test]
#[ignore = "root: layers are made with owners"]
fn a_changed_file_makes_its_step_and_those_above_run_and_is_named() {
    let bench = Bench::new();
    bench.write("a", "1");
    bench.write("d/x", "2");
    bench.write("d/y", "3");
    let text = "FROM scratch\nCOPY a /a\nCOPY d /d\nCOPY a /z\n";
    let (first, _) = bench.image(bench.request(text));
    bench.write("d/y", "changed");
    let (second, kept) = bench.image(bench.request(text));
    assert_ne!(first, second);
    assert_eq!(
        kept.steps(),
        [
            step("[1/3] COPY a /a", true),
            step("[2/3] COPY d /d", false),
            step("[3/3] COPY a /z", false)
        ]
    );
    assert_eq!(
        kept.reasons(),
        ["cached", "file \"d/y\" changed", "its parent changed: [2/3] COPY d /d"]
    );
}

#[test]
#[ignore = "root: layers are made with owners"]
fn a_stage_that_nobody_needs_is_not_built_and_equal_content_is_found_again() {
    let bench = Bench::new();
    bench.write("a", "1");
    bench.write("b", "1");
    let text = |file: &str| {
        format!(
            "FROM scratch AS unused\nCOPY nothing /x\nFROM scratch AS one\nCOPY {file} /same\nFROM scratch\nCOPY --from=one /same /end\n"
        )
    };
    let (first, kept) = bench.image(bench.request(&text("a")));
    assert_eq!(
        kept.steps(),
        [
            step("[one 1/1] COPY a /same", false),
            step("[stage-2 1/1] COPY --from=one /same /end", false)
        ]
    );
    // Another file of the same content: the stage runs, what it gives to the next one is the same.
    let (second, kept) = bench.image(bench.request(&text("b")));
    assert_eq!(
        kept.steps(),
        [
            step("[one 1/1] COPY b /same", false),
            step("[stage-2 1/1] COPY --from=one /same /end", true)
        ]
    );
    assert_eq!(first, second);
}

#[test]
#[ignore = "root: layers are made with owners"]
fn a_link_moves_to_another_base_without_being_copied_again() {
    let bench = Bench::new();
    bench.write("a", "1");
    bench.write("base", "1");
    let text = "FROM scratch\nCOPY base /base\nCOPY --link a /linked/\n";
    bench.image(bench.request(text));
    bench.write("base", "2");
    let (_, kept) = bench.image(bench.request(text));
    assert_eq!(
        kept.steps(),
        [step("[1/2] COPY base /base", false), step("[2/2] COPY --link a /linked/", true)]
    );
    assert_eq!(
        kept.reasons().last().unwrap(),
        "its content is known; only what is below it changed"
    );
}

#[test]
#[ignore = "root: layers are made with owners"]
fn no_cache_runs_everything_or_one_stage() {
    let bench = Bench::new();
    bench.write("a", "1");
    let text = "FROM scratch AS one\nCOPY a /a\nFROM one AS two\nCOPY a /b\n";
    bench.image(bench.request(text));
    let request = BuildRequest { no_cache: NoCache::All, ..bench.request(text) };
    let (_, kept) = bench.image(request);
    assert_eq!(
        kept.steps(),
        [step("[one 1/1] COPY a /a", false), step("[two 1/1] COPY a /b", false)]
    );
    let no_cache = NoCache::Stages(vec!["one".to_owned()]);
    let (_, kept) = bench.image(BuildRequest { no_cache, ..bench.request(text) });
    assert_eq!(
        kept.steps(),
        [step("[one 1/1] COPY a /a", false), step("[two 1/1] COPY a /b", true)]
    );
}

#[test]
#[ignore = "root: layers are made with owners"]
fn the_budget_holds_and_what_is_larger_is_not_kept() {
    let bench = Bench::new();
    let big = "x".repeat(40_000);
    for name in ["a", "b", "c"] {
        bench.write(name, &format!("{name}{big}"));
    }
    let build = |file: &str, budget: u64| {
        let request = BuildRequest {
            cache_budget_bytes: Some(budget),
            outputs: vec![crate::request::Output {
                kind: crate::request::OutputKind::CacheOnly,
                attributes: std::collections::BTreeMap::new(),
                destination: crate::request::Destination::Store,
            }],
            ..bench.request(&format!("FROM scratch\nCOPY {file} /f\n"))
        };
        let (outcome, kept) = bench.build(request);
        outcome.unwrap();
        kept.steps().pop().unwrap().1
    };
    assert!(!build("a", 100_000));
    assert!(!build("b", 100_000));
    assert!(build("a", 100_000), "both fit");
    assert!(!build("c", 100_000), "the least recently used one goes: b");
    let (_, used) = bench.builder().cache_budget().unwrap();
    assert_eq!(used, 80_002);
    assert!(build("a", 100_000));
    assert!(!build("b", 100_000), "it was gone");
    assert_eq!(bench.store.read::<_, Error>(|query| Ok(query.layers()?.len())).unwrap(), 2);
    // Larger than all there may be: built, and forgotten; the others stay.
    bench.write("huge", &"x".repeat(150_000));
    assert!(!build("huge", 100_000));
    assert!(!build("huge", 100_000));
    assert!(build("a", 100_000) && build("b", 100_000));
    let pruned = bench.builder().cache_prune(&CachePruneOptions::default()).unwrap();
    assert_eq!(pruned.space_reclaimed, 80_002);
    assert_eq!(bench.store.read::<_, Error>(|query| Ok(query.layers()?.len())).unwrap(), 0);
}

#[test]
#[ignore = "root: layers are made with owners"]
fn errors_name_the_instruction() {
    let bench = Bench::new();
    let (outcome, kept) = bench.build(bench.request("FROM scratch\n\nCOPY nothing /x\n"));
    let error = outcome.unwrap_err();
    let location = error.location().unwrap();
    assert_eq!((location.file.as_str(), location.first, location.last), ("Dockerfile", 3, 3));
    assert!(error.to_string().contains("\"/nothing\": not found"), "{error}");
    assert!(kept.steps().is_empty());
    for (text, message) in [
        (
            "FROM scratch AS x\nCOPY --from=later /a /a\nFROM scratch AS later\nFROM x\n",
            "cannot copy from stage \"later\", it needs to be defined before current stage \"x\"",
        ),
        ("FROM scratch AS a\nCOPY --from=a /x /x\n", "circular dependency detected on stage: a"),
        ("FROM ${NOTHING}\n", "base name (${NOTHING}) should not be blank"),
        ("FROM scratch\nCOPY http://example.org/x /x\n", "source can't be a URL for COPY"),
    ] {
        let (outcome, _) = bench.build(bench.request(text));
        assert_eq!(outcome.unwrap_err().to_string(), message);
    }
    let request = BuildRequest { target: "nosuch".to_owned(), ..bench.request("FROM scratch\n") };
    let error = bench.build(request).0.unwrap_err().to_string();
    assert_eq!(error, "target stage \"nosuch\" could not be found");
}

#[test]
#[ignore = "root: layers are made with owners"]
fn files_can_be_had_as_a_directory_a_tar_and_an_archive() {
    use crate::request::{Destination, Output, OutputKind};
    let bench = Bench::new();
    bench.write("a", "1");
    let out = bench.directory.path().join("out");
    let tar = bench.directory.path().join("out.tar");
    let oci = bench.directory.path().join("oci");
    let output = |kind, destination| Output {
        kind,
        attributes: std::collections::BTreeMap::new(),
        destination,
    };
    let outputs = vec![
        output(OutputKind::Local, Destination::Directory(out.clone())),
        output(OutputKind::Tar, Destination::File(std::fs::File::create(&tar).unwrap())),
        output(OutputKind::Oci, Destination::Directory(oci.clone())),
    ];
    let request =
        BuildRequest { outputs, ..bench.request("FROM scratch\nCOPY --chmod=640 a /d/a\n") };
    let (outcome, _) = bench.build(request);
    let outcome = outcome.unwrap();
    assert_eq!(outcome.image, None);
    assert!(outcome.metadata.contains_key("containerimage.digest"));
    assert_eq!(std::fs::read_to_string(out.join("d/a")).unwrap(), "1");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(out.join("d/a")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o7777, 0o640);
    let names = tar_names(&tar);
    assert_eq!(names, ["d/", "d/a"]);
    assert!(oci.join("index.json").exists());
}

fn tar_names(path: &Path) -> Vec<String> {
    let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
    let mut tar = orlop_archive::read::TarReader::new(file);
    let mut names = Vec::new();
    while let Some(entry) = tar.next_entry().unwrap() {
        names.push(String::from_utf8_lossy(&entry.name).into_owned());
    }
    names
}
