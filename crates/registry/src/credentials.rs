//! Where names and passwords are kept: `config.json`, credential helpers, `DOCKER_AUTH_CONFIG`.
//!
//! A change of the file is made under a lock of its directory, in a new file of mode 0600 that is
//! synced and then renamed over the old one; so a reader sees the old or the new one, whole.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::config_file::ConfigFile;
use crate::credential::Credential;
use crate::error::{Error, Result};
use crate::helper::{Helper, default_helper};

/// The credential store of one user.
#[derive(Clone, Debug)]
pub struct Credentials {
    file: Option<PathBuf>,
    /// `auths` of `DOCKER_AUTH_CONFIG`, which win over the file.
    environment: ConfigFile,
}

/// Where a credential was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Nowhere: the file has the same already.
    Already,
    /// In the file, readable for its owner only, not encrypted.
    File(PathBuf),
    /// With a helper program, by its name in `config.json`.
    Helper(String),
}

impl Credentials {
    /// Knows nobody and stores nothing.
    #[must_use]
    pub fn none() -> Self {
        Self { file: None, environment: ConfigFile::default() }
    }

    /// Uses a `config.json`, which need not exist.
    #[must_use]
    pub fn of_file(path: &Path) -> Self {
        Self { file: Some(path.to_owned()), environment: ConfigFile::default() }
    }

    /// The calling user's: `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`, and
    /// `DOCKER_AUTH_CONFIG`.
    ///
    /// # Errors
    /// A malformed `DOCKER_AUTH_CONFIG`.
    pub fn of_environment() -> Result<Self> {
        let directory = match std::env::var_os("DOCKER_CONFIG").filter(|value| !value.is_empty()) {
            Some(directory) => Some(PathBuf::from(directory)),
            None => std::env::home_dir().map(|home| home.join(".docker")),
        };
        let text = std::env::var("DOCKER_AUTH_CONFIG").unwrap_or_default();
        let environment = ConfigFile::parse(text.as_bytes()).map_err(|error| {
            orlop_types::ParseError::new(format!("invalid DOCKER_AUTH_CONFIG: {error}"))
        })?;
        Ok(Self { file: directory.map(|directory| directory.join("config.json")), environment })
    }

    /// The file, which need not exist.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Reads the file; an absent one is empty.
    ///
    /// # Errors
    /// It cannot be read or is malformed.
    pub fn config_file(&self) -> Result<ConfigFile> {
        let Some(path) = &self.file else { return Ok(ConfigFile::default()) };
        let failed = |source| Error::ConfigFile { path: path.clone(), source };
        match fs::read(path) {
            Ok(bytes) => ConfigFile::parse(&bytes)
                .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(ConfigFile::default()),
            Err(error) => Err(failed(error)),
        }
    }

    /// The credential for a registry (`host[:port]`, `docker.io` for Docker Hub); empty if none.
    ///
    /// # Errors
    /// An unreadable file, a failing helper.
    pub fn get(&self, host: &str) -> Result<Credential> {
        if let Some(credential) = self.environment.credential(host) {
            return Ok(credential.clone());
        }
        let file = self.config_file()?;
        match file.helper(host) {
            "" => Ok(file.credential(host).cloned().unwrap_or_default()),
            name => Helper::new(name).get(host),
        }
    }

    /// The credentials of every registry that is known, by key, for a build that gets them all.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn all(&self) -> Result<BTreeMap<String, Credential>> {
        let file = self.config_file()?;
        let mut all: BTreeMap<String, Credential> = file
            .auths
            .iter()
            .filter(|(_, credential)| !credential.is_empty())
            .map(|(key, credential)| (key.clone(), credential.clone()))
            .collect();
        if !file.creds_store.is_empty() {
            let helper = Helper::new(&file.creds_store);
            for key in helper.list()?.into_keys() {
                let credential = helper.get(&key)?;
                all.insert(key, credential);
            }
        }
        for (host, name) in &file.cred_helpers {
            let credential = Helper::new(name).get(host)?;
            if !credential.is_empty() {
                all.insert(host.clone(), credential);
            }
        }
        all.extend(self.environment.auths.clone());
        Ok(all)
    }

    /// Keeps a credential for a registry.
    ///
    /// # Errors
    /// There is no place for it, the file cannot be written, the helper refuses.
    pub fn put(&self, host: &str, credential: &Credential) -> Result<Stored> {
        self.change(|file| {
            if file.is_new()
                && let Some(name) = default_helper(std::env::var_os("PATH").as_deref())
            {
                file.set_creds_store(name);
            }
            let name = file.helper(host).to_owned();
            if name.is_empty() && file.credential(host) == Some(credential) {
                return Ok(Stored::Already);
            }
            if name.is_empty() {
                file.set(host, credential);
                return Ok(Stored::File(self.file.clone().unwrap_or_default()));
            }
            Helper::new(&name).store(host, credential)?;
            // Docker keeps the bare key beside a helper for programs that only look here.
            file.set(host, &Credential::default());
            Ok(Stored::Helper(name))
        })
    }

    /// Forgets a registry; tells whether it was known.
    ///
    /// # Errors
    /// The file cannot be written, the helper refuses.
    pub fn erase(&self, host: &str) -> Result<bool> {
        self.change(|file| {
            let name = file.helper(host).to_owned();
            let by_helper = if name.is_empty() {
                false
            } else {
                let helper = Helper::new(&name);
                let known = !helper.get(host)?.is_empty();
                helper.erase(host)?;
                known
            };
            Ok(file.remove(host) || by_helper)
        })
    }

    /// Changes the file under the lock of its directory.
    fn change<T>(&self, change: impl FnOnce(&mut ConfigFile) -> Result<T>) -> Result<T> {
        let Some(path) = &self.file else {
            let text = "no place for credentials: set DOCKER_CONFIG or HOME";
            return Err(orlop_types::ParseError::new(text).into());
        };
        let failed = |source| Error::ConfigFile { path: path.clone(), source };
        // The file may be a link into a managed home; the link stays.
        let path = &fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        let directory = path.parent().unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        let lock = File::open(directory).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut file = self.config_file()?;
        let before = file.to_bytes();
        let result = change(&mut file)?;
        let after = file.to_bytes();
        if after != before {
            replace(path, directory, &after).map_err(failed)?;
            lock.sync_all().map_err(failed)?;
        }
        Ok(result)
    }
}

fn replace(path: &Path, directory: &Path, bytes: &[u8]) -> io::Result<()> {
    let number: u64 = rand::random();
    let temporary = directory.join(format!("config.json.{number:016x}"));
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let renamed = written.and_then(|()| fs::rename(&temporary, path));
    if renamed.is_err() {
        // The first failure is the one to tell of.
        let _ = fs::remove_file(&temporary);
    }
    renamed
}
