//! Steps of builds as their builder sees them: what they see, what they leave, how they end.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use orlop_container::{
    Containers, Error, Settings, StepEnd, StepInputs, StepMount, StepRequest, StepSource,
};
use orlop_image::Images;
use orlop_layer::{Layer, LayerStore};
use orlop_meta::Store;
use orlop_runtime::plan::FileContent;
use orlop_sys::mount::RootfsRecipe;
use orlop_testkit::{Fixture, wait_until};
use orlop_types::ChainId;
use orlop_types::config::{Config, HostConfig};

const LIMIT: Duration = Duration::from_secs(60);
/// Tells this program, started anew, to be a builder.
const BUILDER: &str = "ORLOP_TEST_STEP_BUILDER";

/// Waits until no process of the store is left; a monitor that has told the end may take a moment.
fn wait_for_silence(fixture: &Fixture) {
    wait_until("the last process to end", LIMIT, || {
        let left = fixture.processes();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

/// The program that has the monitor.
fn binary() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.ancestors().nth(2).unwrap().join("orlop");
    assert!(path.exists(), "{} is missing: `cargo build` makes it", path.display());
    path
}

/// What builds in a store.
struct Builder {
    store: Arc<Store>,
    layers: LayerStore,
    settings: Settings,
}

impl Builder {
    fn open(root: &Path, run_root: &Path) -> Self {
        let store = Arc::new(Store::open(root, run_root).unwrap());
        let layers = LayerStore::open(Arc::clone(&store), None).unwrap();
        let words = [
            "--root".into(),
            root.as_os_str().to_owned(),
            "--run-root".into(),
            run_root.as_os_str().to_owned(),
        ];
        let settings = Settings { executable: binary(), global_arguments: words.into() };
        Self { store, layers, settings }
    }

    fn containers(&self) -> Containers<'_> {
        Containers::new(&self.store, &self.layers, &self.settings)
    }

    fn top(&self) -> ChainId {
        let image = Images::new(&self.store, &self.layers).resolve("busybox").unwrap();
        image.top_layer.unwrap()
    }

    /// Runs a script; its end and output.
    fn try_script(
        &self,
        parent: Option<ChainId>,
        script: &str,
        inputs: StepInputs,
    ) -> Result<(StepEnd, String, String, Option<Layer>), Error> {
        let mut step = self.containers().new_step(request(parent, script))?;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let end = step.run(
            inputs,
            &mut |stream, bytes| if stream == 1 { &mut out } else { &mut err }.extend(bytes),
            &|| false,
        )?;
        let layer = if end.exit_code == 0 { step.seal(&|| false)? } else { None };
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ok((end, text(out), text(err), layer))
    }

    #[track_caller]
    fn script(&self, script: &str, mounts: Vec<StepMount>) -> (String, Option<Layer>) {
        let inputs = StepInputs { mounts, secret_env: Vec::new() };
        let (end, out, err, layer) = self.try_script(Some(self.top()), script, inputs).unwrap();
        assert_eq!((end.exit_code, err.as_str()), (0, ""), "{out}");
        (out, layer)
    }

    /// The files of a layer.
    fn files(&self, layer: &Layer) -> Vec<String> {
        let mut tar = Vec::new();
        self.layers.write_tar(&layer.chain_id, &layer.diff_id, &mut tar).unwrap();
        let output = orlop_testkit::run(Command::new("tar").arg("t"), &tar, LIMIT);
        let mut names: Vec<String> = output.ok().lines().map(str::to_owned).collect();
        names.sort();
        names
    }
}

fn request(parent: Option<ChainId>, script: &str) -> StepRequest {
    let words = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    StepRequest {
        parent,
        config: Config {
            cmd: Some(words),
            working_dir: "/".to_owned(),
            hostname: "buildkitsandbox".to_owned(),
            ..Config::default()
        },
        host_config: HostConfig { network_mode: "none".to_owned(), ..HostConfig::default() },
        volumes: Vec::new(),
    }
}

fn content(target: &str, text: &str, mode: u32) -> StepMount {
    let executable = mode & 0o111 != 0;
    let bytes = text.as_bytes().to_vec();
    let content = FileContent { bytes, mode, uid: 7, gid: 8, executable };
    StepMount { target: target.to_owned(), source: StepSource::Content(content), read_only: true }
}

fn setup() -> (Fixture, Builder) {
    let fixture = Fixture::new(binary().to_str().unwrap());
    fixture.busybox();
    let builder = Builder::open(&fixture.root(), &fixture.run_root());
    (fixture, builder)
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_step_makes_a_layer_of_what_it_writes_and_leaves_nothing_else() {
    let (fixture, builder) = setup();
    let (out, layer) = builder.script(
        "echo out; echo $HOME $(hostname) $(id -u); mkdir /new; echo x > /new/file; rm /bin/vi; \
         cat; [ -t 1 ] || echo no terminal; sleep 300 & touch /etc/hosts",
        Vec::new(),
    );
    assert_eq!(out, "out\n/root buildkitsandbox 0\nno terminal\n");
    let layer = layer.unwrap();
    assert!(!layer.existed);
    assert_eq!(builder.files(&layer), ["bin/", "bin/.wh.vi", "new/", "new/file"]);
    // It can be stood on.
    let inputs = StepInputs::default();
    let (_, out, ..) =
        builder.try_script(Some(layer.chain_id), "cat /new/file; ls /bin/vi", inputs).unwrap();
    assert_eq!(out, "x\n");
    // Nothing changed: nothing new.
    assert!(builder.script("true", Vec::new()).1.is_none());
    assert_eq!(fixture.ok(&["ps", "-aq"]), "");
    let events = fixture.events(&[], "{{.Type}} {{.Action}}");
    assert!(events.lines().all(|event| event.starts_with("image ")), "{events}");
    wait_for_silence(&fixture);
    assert_eq!(std::fs::read_dir(fixture.root().join("containers")).unwrap().count(), 0);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn mount_points_are_not_part_of_the_layer() {
    let (fixture, builder) = setup();
    let files = fixture.directory("files");
    std::fs::create_dir_all(files.join("sub")).unwrap();
    std::fs::write(files.join("sub/f"), "old").unwrap();
    let bind = |target: &str, subpath: Option<&str>, read_only| StepMount {
        target: target.to_owned(),
        source: StepSource::Files {
            recipe: RootfsRecipe::Directory { path: files.clone(), read_only: true },
            subpath: subpath.map(PathBuf::from),
        },
        read_only,
    };
    let memory = StepMount {
        target: "/mem/deep".to_owned(),
        source: StepSource::Memory(vec!["size=1m".to_owned()]),
        read_only: false,
    };
    let (out, layer) = builder.script(
        "cat /run/secrets/one; stat -c '%a %u %g' /run/secrets/one; /dev/pipes/EOF; cat /in/sub/f /one; \
         echo new > /in2/sub/f; cat /in2/sub/f; (echo x > /in/y) 2>/dev/null || echo read-only; \
         (echo x > /run/secrets/one) 2>/dev/null || echo read-only; \
         dd if=/dev/zero of=/mem/deep/x bs=1k count=2000 2>/dev/null; du -k /mem/deep/x | cut -f1; \
         echo kept > /kept",
        vec![
            content("/run/secrets/one", "known-to-nobody\n", 0o400),
            content("/dev/pipes/EOF", "#!/bin/sh\necho script $0\n", 0o755),
            bind("/in", None, true),
            bind("/in2", None, false),
            bind("/one", Some("sub/f"), true),
            memory,
        ],
    );
    assert_eq!(
        out,
        "known-to-nobody\n400 7 8\nscript /dev/pipes/EOF\noldoldnew\nread-only\nread-only\n1024\n"
    );
    assert_eq!(builder.files(&layer.unwrap()), ["kept"]);
    assert_eq!(std::fs::read_to_string(files.join("sub/f")).unwrap(), "old");
    let found = Command::new("grep")
        .args(["-rl", "known-to-nobody"])
        .arg(fixture.folder())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "a secret is on the disk");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_cancelled_step_ends_at_once_with_all_its_processes() {
    let (fixture, builder) = setup();
    let cancelled = AtomicBool::new(false);
    let mut step = builder
        .containers()
        .new_step(request(Some(builder.top()), "trap '' TERM INT; sleep 300 & echo up; sleep 300"))
        .unwrap();
    let begun = Instant::now();
    let end = step.run(
        StepInputs::default(),
        &mut |_, _| cancelled.store(true, Ordering::Relaxed),
        &|| cancelled.load(Ordering::Relaxed),
    );
    assert_eq!(end.unwrap(), StepEnd { exit_code: 137, oom_killed: false });
    assert!(begun.elapsed() < Duration::from_secs(30));
    drop(step);
    wait_for_silence(&fixture);
    assert_eq!(fixture.ok(&["ps", "-aq"]), "");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn failures_are_told_and_leave_nothing() {
    let (fixture, builder) = setup();
    let run = |script: &str| {
        builder.try_script(Some(builder.top()), script, StepInputs::default()).unwrap()
    };
    let (end, out, err, _) = run("echo a; echo b >&2; exit 3");
    assert_eq!((end.exit_code, out.as_str(), err.as_str()), (3, "a\n", "b\n"));
    let mut bad = request(Some(builder.top()), "true");
    bad.config.user = "nobody-here".to_owned();
    let mut step = builder.containers().new_step(bad).unwrap();
    let error = step.run(StepInputs::default(), &mut |_, _| {}, &|| false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unable to find user nobody-here: no matching entries in passwd file"
    );
    drop(step);
    let mut bad = request(Some(builder.top()), "true");
    bad.config.cmd = Some(vec!["nothing".to_owned()]);
    let mut step = builder.containers().new_step(bad).unwrap();
    let error = step.run(StepInputs::default(), &mut |_, _| {}, &|| false).unwrap_err();
    assert!(error.to_string().contains("executable file not found in $PATH"), "{error}");
    drop(step);
    wait_for_silence(&fixture);
    assert_eq!(std::fs::read_dir(fixture.root().join("containers")).unwrap().count(), 0);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn twenty_steps_at_once_and_a_gigabyte_of_output() {
    let (fixture, builder) = setup();
    let top = builder.top();
    let run = |script: &str, network: &str| {
        let mut request = request(Some(top.clone()), script);
        network.clone_into(&mut request.host_config.network_mode);
        let mut step = builder.containers().new_step(request).unwrap();
        let mut bytes = 0;
        let end =
            step.run(StepInputs::default(), &mut |_, part| bytes += part.len(), &|| false).unwrap();
        (end.exit_code, bytes, step.seal(&|| false).unwrap())
    };
    run("true", "default");
    let begun = Instant::now();
    for _ in 0..5 {
        run("true", "default");
    }
    // A generous limit: measured 60 ms on an idle machine.
    let each = begun.elapsed() / 5;
    assert!(each < Duration::from_secs(3), "{each:?}");
    std::thread::scope(|scope| {
        let steps: Vec<_> = (0..20)
            .map(|number| {
                let run = &run;
                scope
                    .spawn(move || run(&format!("hostname -i; echo {number} > /number"), "default"))
            })
            .collect();
        let mut layers: Vec<String> = steps
            .into_iter()
            .map(|step| step.join().unwrap().2.unwrap().chain_id.to_string())
            .collect();
        layers.sort();
        layers.dedup();
        assert_eq!(layers.len(), 20);
    });
    let before = resident_bytes();
    let (code, bytes, _) = run("dd if=/dev/zero bs=1M count=1024 2>/dev/null", "none");
    assert_eq!((code, bytes), (0, 1 << 30));
    assert!(resident_bytes() < before + (32 << 20));
    wait_for_silence(&fixture);
}

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Not a test of its own: the builder that others kill.
#[test]
#[ignore = "root: started by other tests"]
fn act_as_builder() {
    let Some(folder) = std::env::var_os(BUILDER) else { return };
    let folder = PathBuf::from(folder);
    let builder = Builder::open(&folder.join("root"), &folder.join("run"));
    let script = "echo up; sleep 300 & sleep 300";
    let mut request = request(Some(builder.top()), script);
    request.host_config.network_mode = "default".to_owned();
    let mut step = builder.containers().new_step(request).unwrap();
    let up = folder.join("up");
    step.run(StepInputs::default(), &mut |_, _| std::fs::write(&up, "").unwrap(), &|| false)
        .unwrap();
}

fn spawn_builder(fixture: &Fixture, fault: Option<&str>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "act_as_builder"]).env(BUILDER, fixture.folder());
    if let Some(fault) = fault {
        command.env("ORLOP_FAULT", fault);
    }
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn nothing_is_left_of_a_builder_that_was_killed() {
    let (fixture, builder) = setup();
    let mut child = spawn_builder(&fixture, None);
    wait_until("the step", LIMIT, || {
        if fixture.folder().join("up").exists() { Ok(()) } else { Err("not up".to_owned()) }
    });
    assert_eq!(builder.containers().remove_abandoned_steps().unwrap(), [], "it is at work");
    let running = fixture.processes().len();
    assert!(running >= 3, "{:?}", fixture.processes());
    child.kill().unwrap();
    child.wait().unwrap();
    // By itself: the monitor ends it, and its last act removes it.
    wait_until("the end of the step", LIMIT, || {
        let left = fixture.processes();
        let rows = builder.store.read(|query| query.containers()).unwrap().len();
        if left.is_empty() && rows == 0 { Ok(()) } else { Err(format!("{rows} {left:?}")) }
    });
    assert_eq!(std::fs::read_dir(fixture.root().join("containers")).unwrap().count(), 0);
    assert!(fixture.ok(&["system", "check"]).contains("0 containers"));
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_builder_that_dies_between_two_steps_is_tidied_up_by_the_next() {
    let (fixture, builder) = setup();
    for fault in [
        "container.step.committed",
        "container.step.directory",
        "container.step.planned",
        "launch.sent",
        "container.step.launched",
    ] {
        let mut child = spawn_builder(&fixture, Some(fault));
        let status = child.wait().unwrap();
        assert!(!status.success(), "{fault}");
        wait_until(fault, LIMIT, || {
            builder.containers().remove_abandoned_steps().unwrap();
            let rows = builder.store.read(|query| query.containers()).unwrap().len();
            let left = fixture.processes();
            if rows == 0 && left.is_empty() { Ok(()) } else { Err(format!("{rows} {left:?}")) }
        });
        assert_eq!(builder.containers().leftover_groups().unwrap(), [], "{fault}");
        fixture.ok(&["system", "check", "--repair"]);
        fixture.ok(&["system", "check"]);
    }
}
