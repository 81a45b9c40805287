//! Opens contexts of every kind.
//!
//! What is no directory of this machine is brought into `staging/` first, where it stays as long as its
//! [`Tree`]: archives are unpacked so that no name and no link leads out, repositories are checked out.

use std::io::Read;

use orlop_archive::stream;
use orlop_archive::unpack::UnpackOptions;
use orlop_layer::LayerStore;
use orlop_meta::StagedDirectory;
use orlop_registry::DownloadRequest;
use orlop_sys::confined::Root;
use orlop_types::ErrorKind;

use super::git;
use super::{DOCKERFILE_MAX_BYTES, Ownership, Tree};
use crate::copy::{remote, unpack};
use crate::progress::StepProgress;
use crate::request::ContextSource;
use crate::{Cancel, Error, Result};

/// Bytes between two reports.
const REPORT_BYTES: u64 = 1 << 20;

/// What opening a context needs.
#[derive(Clone, Copy)]
pub struct Opening<'a> {
    /// The store that keeps what is unpacked.
    pub layers: &'a LayerStore,
    /// Whether `.git` stays in repositories (`BUILDKIT_CONTEXT_KEEP_GIT_DIR`).
    pub keep_git_dir: bool,
    /// Where it is told how far it is.
    pub progress: StepProgress<'a>,
    /// Ends it from outside.
    pub cancel: &'a Cancel,
}

/// Opens a context. Images and stages have no files of their own: see [`Tree::of_layers`].
pub fn open(opening: Opening<'_>, source: ContextSource) -> Result<Tree> {
    let store = opening.layers.store();
    match source {
        ContextSource::Empty => Tree::empty(store),
        ContextSource::Directory(path) => Tree::directory(store, &path),
        ContextSource::Tar(file) => archive(opening, file),
        ContextSource::Url(url) => match git::parse(&url)? {
            Some(source) => repository(opening, source),
            None => address(opening, url),
        },
        ContextSource::Git(address) => {
            let source = git::parse(&address)?
                .ok_or_else(|| Error::invalid(format!("invalid git context {address:?}")))?;
            repository(opening, source)
        }
        ContextSource::Image(name) | ContextSource::OciLayout(name) => {
            Err(Error::invalid(format!("the image {name:?} is no context of files by itself")))
        }
    }
}

/// Unpacks an archive of any compression, which is read to its end.
fn archive(opening: Opening<'_>, source: impl Read + Send) -> Result<Tree> {
    let staged = opening.layers.store().stage()?;
    let root = Root::open(staged.path()).map_err(orlop_layer::Error::from)?;
    let reader = Reported { source, opening, bytes: 0, reported: 0 };
    let unpacked = stream::consume(reader, stream::STREAM_MAX_BYTES, |reader| {
        orlop_archive::unpack::unpack(reader, &root, &UnpackOptions::default())
    });
    opening.cancel.check()?;
    let (_, info) = unpacked.map_err(orlop_layer::Error::from)?;
    opening.progress.status("transferring context", info.bytes, info.bytes, true);
    // Owners are the archive's own: whoever made it has decided.
    Ok(Tree::new(root, Ownership::Kept).with_guard(Box::new(staged)))
}

/// Downloads an archive, or a Dockerfile that is a context by itself.
fn address(opening: Opening<'_>, url: String) -> Result<Tree> {
    let store = opening.layers.store();
    let request = DownloadRequest { url, ..DownloadRequest::default() };
    let download = remote::download(opening.cancel, &request)?;
    let (body, _, bytes) = remote::receive(store, download, opening.cancel)?;
    opening.progress.status("transferring context", bytes, bytes, true);
    let file = body.open()?;
    if unpack::is_archive(&file) {
        return archive(opening, body.open()?);
    }
    if bytes > DOCKERFILE_MAX_BYTES {
        let text = format!(
            "{} is neither an archive nor a Dockerfile: longer than {DOCKERFILE_MAX_BYTES} bytes",
            request.url
        );
        return Err(Error::invalid(text));
    }
    let (root, staged) = staged_root(opening.layers)?;
    let mut target = root.create_file("Dockerfile", 0o644).map_err(orlop_layer::Error::from)?;
    std::io::copy(&mut body.open()?, &mut target).map_err(failed)?;
    Ok(Tree::new(root, Ownership::Root).with_guard(Box::new(staged)))
}

fn repository(opening: Opening<'_>, mut source: git::GitSource) -> Result<Tree> {
    source.keep_git_dir |= opening.keep_git_dir;
    source.commit = source.resolve(opening.cancel)?;
    let staged = opening.layers.store().stage()?;
    source.checkout(staged.path(), opening.cancel)?;
    let whole = Root::open(staged.path()).map_err(orlop_layer::Error::from)?;
    let root = whole.descend(&source.subdirectory).map_err(|error| {
        Error::failed(
            ErrorKind::of_io(&error.source),
            format!("subdirectory {:?} of {} not found", source.subdirectory, source.remote),
        )
    })?;
    Ok(Tree::new(root, Ownership::Root).with_guard(Box::new(staged)))
}

fn staged_root(layers: &LayerStore) -> Result<(Root, StagedDirectory)> {
    let staged = layers.store().stage()?;
    Ok((Root::open(staged.path()).map_err(orlop_layer::Error::from)?, staged))
}

fn failed(source: std::io::Error) -> Error {
    let path = "the context".into();
    orlop_layer::Error::File { action: "read", path, source }.into()
}

/// A reader that tells how far it is, and ends with the build.
struct Reported<'a, R> {
    source: R,
    opening: Opening<'a>,
    bytes: u64,
    reported: u64,
}

impl<R: Read> Read for Reported<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.opening.cancel.is_cancelled() {
            return Err(std::io::Error::other("context canceled"));
        }
        let got = self.source.read(buffer)?;
        self.bytes += got as u64;
        if self.bytes - self.reported >= REPORT_BYTES {
            self.reported = self.bytes;
            self.opening.progress.status("transferring context", self.bytes, 0, false);
        }
        Ok(got)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods)] // Trees of our own making.
mod tests {
    use std::fs::File;
    use std::io::Write as _;
    use std::path::Path;
    use std::process::Command;
    use std::sync::Arc;

    use orlop_meta::Store;

    use super::*;
    use crate::progress::Silent;

    struct Fixture {
        directory: tempfile::TempDir,
        layers: LayerStore,
        cancel: Cancel,
    }

    impl Fixture {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let root = directory.path().join("store");
            let store = Store::open(&root, &directory.path().join("run")).unwrap();
            let layers = LayerStore::open(Arc::new(store), Some("vfs")).unwrap();
            Self { directory, layers, cancel: Cancel::default() }
        }

        fn open(&self, source: ContextSource) -> Result<Tree> {
            let progress = StepProgress { progress: &Silent, vertex: 1 };
            let (layers, cancel) = (&self.layers, &self.cancel);
            open(Opening { layers, keep_git_dir: false, progress, cancel }, source)
        }

        fn file(&self, content: &[u8]) -> File {
            let path = self.directory.path().join("input");
            std::fs::write(&path, content).unwrap();
            File::open(path).unwrap()
        }

        fn staged(&self) -> usize {
            std::fs::read_dir(self.layers.store().paths.staging()).unwrap().count()
        }
    }

    fn tar_with(names: &[&str]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for name in names {
            let mut header = tar::Header::new_gnu();
            header.set_size(name.len() as u64);
            header.set_mode(0o644);
            let field = &mut header.as_old_mut().name;
            field[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, name.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn archives_of_any_compression() {
        let fixture = Fixture::new();
        let plain = tar_with(&["Dockerfile", "./sub/f"]);
        let mut packed = orlop_archive::PackWriter::new(orlop_archive::Packing::GZIP, Vec::new());
        packed.write_all(&plain).unwrap();
        for content in [plain, packed.finish().unwrap()] {
            let tree = fixture.open(ContextSource::Tar(fixture.file(&content))).unwrap();
            assert_eq!(tree.read("Dockerfile").unwrap().as_deref(), Some(&b"Dockerfile"[..]));
            assert_eq!(tree.read("sub/f").unwrap().as_deref(), Some(&b"./sub/f"[..]));
            assert_eq!((tree.ownership(), fixture.staged()), (Ownership::Kept, 1));
            drop(tree);
            assert_eq!(fixture.staged(), 0);
        }
        for content in
            [tar_with(&["../escape"]), b"no archive at all".repeat(100), Vec::from(*b"\x1f\x8b!")]
        {
            assert!(fixture.open(ContextSource::Tar(fixture.file(&content))).is_err());
            assert_eq!(fixture.staged(), 0);
        }
        assert!(!fixture.directory.path().join("store/staging/escape").exists());
        assert!(!fixture.directory.path().join("store/escape").exists());
    }

    fn git(directory: &Path, words: &[&str]) {
        let output = Command::new("git")
            .args(["-c", "user.name=n", "-c", "user.email=e@x", "-c", "init.defaultBranch=main"])
            .args(["-c", "protocol.file.allow=always"])
            .args(words)
            .current_dir(directory)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A repository with a branch and a tag that is an object of its own.
    fn repository_at(path: &Path) {
        std::fs::create_dir_all(path.join("sub")).unwrap();
        git(path, &["init", "--quiet"]);
        std::fs::write(path.join("f"), "one").unwrap();
        std::fs::write(path.join("sub/Dockerfile"), "FROM scratch").unwrap();
        git(path, &["add", "."]);
        git(path, &["commit", "--quiet", "-m", "one"]);
        git(path, &["tag", "-a", "v1", "-m", "v1"]);
        std::fs::write(path.join("f"), "two").unwrap();
        git(path, &["commit", "--quiet", "-am", "two"]);
    }

    #[test]
    fn repositories() {
        let fixture = Fixture::new();
        let path = fixture.directory.path().join("r.git");
        repository_at(&path);
        let source = |reference: &str, subdirectory: &str| git::GitSource {
            remote: format!("file://{}", path.display()),
            reference: reference.to_owned(),
            subdirectory: subdirectory.to_owned(),
            ..git::GitSource::default()
        };
        let progress = StepProgress { progress: &Silent, vertex: 1 };
        let (layers, cancel) = (&fixture.layers, &fixture.cancel);
        let opening = Opening { layers, keep_git_dir: false, progress, cancel };
        for (reference, content) in
            [("", "two"), ("main", "two"), ("v1", "one"), ("refs/tags/v1", "one")]
        {
            let tree = repository(opening, source(reference, "")).unwrap();
            assert_eq!(tree.read("f").unwrap().as_deref(), Some(content.as_bytes()), "{reference}");
            assert!(!tree.root().exists(".git").unwrap());
        }
        let tree = repository(opening, source("v1", "sub")).unwrap();
        assert_eq!(tree.read("Dockerfile").unwrap().as_deref(), Some(&b"FROM scratch"[..]));
        assert_eq!(tree.read("../f").unwrap(), None);
        let kept = Opening { keep_git_dir: true, ..opening };
        assert!(repository(kept, source("", "")).unwrap().root().exists(".git/HEAD").unwrap());
        let commit = source("v1", "").resolve(cancel).unwrap();
        let tree = repository(opening, source(&commit, "")).unwrap();
        assert_eq!(tree.read("f").unwrap().as_deref(), Some(&b"one"[..]));
        drop(tree);
        let error = repository(opening, source("none", "")).unwrap_err();
        assert!(error.to_string().starts_with("repository does not contain ref none"), "{error}");
        let error = repository(opening, source("", "nope")).unwrap_err();
        assert!(error.to_string().starts_with("subdirectory \"nope\" of file://"), "{error}");
        let wrong = git::GitSource { checksum: "f00".to_owned(), ..source("v1", "") };
        let error = repository(opening, wrong).unwrap_err();
        assert_eq!(error.to_string(), format!("expected checksum to match f00, got {commit}"));
    }

    /// Serves repositories below a directory, and ends with the test.
    struct Daemon(std::process::Child, u16);

    impl Daemon {
        fn new(base: &Path) -> Self {
            // Nobody else has the port in the moment between: it was given to us just now.
            let port =
                std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let child = Command::new("git")
                .args(["daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1"])
                .arg(format!("--port={port}"))
                .arg(format!("--base-path={}", base.display()))
                .arg(base)
                .stdin(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap();
            let daemon = Self(child, port);
            for _ in 0..1_000 {
                if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return daemon;
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            panic!("git daemon does not answer");
        }
    }

    impl Drop for Daemon {
        fn drop(&mut self) {
            // `git` only starts the daemon, which would stay without it.
            let id = rustix::process::Pid::from_child(&self.0);
            let children = format!("/proc/{id}/task/{id}/children");
            for child in std::fs::read_to_string(children).unwrap_or_default().split_whitespace() {
                if let Some(child) = child.parse().ok().and_then(rustix::process::Pid::from_raw) {
                    let _ = rustix::process::kill_process(child, rustix::process::Signal::KILL);
                }
            }
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    #[test]
    fn submodules_come_with_their_repository() {
        let fixture = Fixture::new();
        let served = fixture.directory.path().join("served");
        let (inner, outer) = (served.join("inner.git"), served.join("outer.git"));
        repository_at(&inner);
        repository_at(&outer);
        let daemon = Daemon::new(&served);
        let address = format!("git://127.0.0.1:{}/inner.git", daemon.1);
        git(&outer, &["submodule", "--quiet", "add", &address, "deps/inner"]);
        git(&outer, &["commit", "--quiet", "-m", "with a submodule"]);
        let remote = format!("git://127.0.0.1:{}/outer.git", daemon.1);
        let tree = fixture.open(ContextSource::Git(remote.clone())).unwrap();
        assert_eq!(tree.read("deps/inner/f").unwrap().as_deref(), Some(&b"two"[..]));
        assert!(!tree.root().exists("deps/inner/.git").unwrap());
        drop(tree);
        let bare = format!("{remote}?submodules=0#:sub");
        let tree = fixture.open(ContextSource::Git(bare)).unwrap();
        assert_eq!(tree.read("Dockerfile").unwrap().as_deref(), Some(&b"FROM scratch"[..]));
        drop(tree);
        // A repository from elsewhere must not make one of this machine appear in an image.
        let local = format!("file://{}", inner.display());
        git(&outer, &["submodule", "--quiet", "add", &local, "deps/local"]);
        git(&outer, &["commit", "--quiet", "-m", "with a submodule of this machine"]);
        let error = fixture.open(ContextSource::Git(remote)).unwrap_err().to_string();
        assert!(error.contains("transport 'file' not allowed"), "{error}");
        assert_eq!(fixture.staged(), 0);
    }
}
