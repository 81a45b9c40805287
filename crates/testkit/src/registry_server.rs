//! Debian's `docker-registry` on an address of this machine, plain or with TLS and passwords.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::process::run;
use crate::wait::wait_until;

/// Time for a tool to make a key or a password file.
const TOOL_LIMIT: Duration = Duration::from_secs(60);
/// Time for the server to listen on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);

static COUNT: AtomicU32 = AtomicU32::new(0);

/// How the server is to be.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// The address; it must be one of this machine.
    pub address: String,
    /// Whether it speaks TLS, with a certificate of an authority that only [`RegistryServer::authority`] knows.
    pub tls: bool,
    /// The name and the password that it wants.
    pub account: Option<(String, String)>,
    /// Whether only clients with a certificate of the authority may connect.
    pub client_certificates: bool,
    /// A registry that it mirrors.
    pub mirror_of: Option<String>,
}

impl Default for RegistryOptions {
    /// Plain, on the loopback address, for everybody.
    fn default() -> Self {
        Self {
            address: "127.0.0.1".to_owned(),
            tls: false,
            account: None,
            client_certificates: false,
            mirror_of: None,
        }
    }
}

/// A running server; it and its files go when this is dropped.
#[derive(Debug)]
pub struct RegistryServer {
    child: Child,
    folder: PathBuf,
    host: String,
}

impl RegistryServer {
    /// Starts one in the thread's network namespace.
    ///
    /// # Panics
    /// When the programs `docker-registry`, `openssl` or `htpasswd` are missing or do not start.
    #[track_caller]
    #[must_use]
    pub fn start(options: &RegistryOptions) -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("orlop-registry-{}-{number}", std::process::id()));
        std::fs::create_dir_all(folder.join("data")).expect("create a directory for the registry");
        let port = free_port(&options.address);
        let host = format!("{}:{port}", options.address);
        let config = configuration(options, &folder, &host);
        let file = folder.join("config.yml");
        std::fs::write(&file, config).expect("write the registry's configuration");
        let log = std::fs::File::create(folder.join("log")).expect("create the registry's log");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn()
            .expect("start docker-registry (Debian package docker-registry)");
        let server = Self { child, folder, host };
        wait_until("docker-registry to listen", START_LIMIT, || {
            std::net::TcpStream::connect(&server.host).map(drop).map_err(|error| {
                let log = std::fs::read_to_string(server.folder.join("log")).unwrap_or_default();
                format!("{error}; log: {log}")
            })
        });
        server
    }

    /// `ADDRESS:PORT`.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The certificate of the authority that signed the server's.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// A client's certificate and key that the authority signed.
    #[must_use]
    pub fn client_identity(&self) -> (PathBuf, PathBuf) {
        (self.folder.join("client.crt"), self.folder.join("client.key"))
    }

    /// The directory with everything that was pushed.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }
}

impl Drop for RegistryServer {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn free_port(address: &str) -> u16 {
    let listener = TcpListener::bind((address, 0)).expect("a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

fn configuration(options: &RegistryOptions, folder: &Path, host: &str) -> String {
    let folder_text = folder.display();
    let mut text = format!(
        "version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {folder_text}/data\n  delete:\n    enabled: true\nhttp:\n  addr: {host}\n  secret: for-tests\n"
    );
    if options.tls {
        make_certificates(folder, &options.address);
        text += &format!(
            "  tls:\n    certificate: {folder_text}/server.crt\n    key: {folder_text}/server.key\n"
        );
    }
    if options.client_certificates {
        text += &format!("    clientcas:\n      - {folder_text}/ca.crt\n");
    }
    if let Some((name, password)) = &options.account {
        let output = run(
            Command::new("htpasswd").args(["-i", "-B", "-n", name]),
            password.as_bytes(),
            TOOL_LIMIT,
        );
        std::fs::write(folder.join("htpasswd"), output.ok()).expect("write the password file");
        text += &format!(
            "auth:\n  htpasswd:\n    realm: Registry Realm\n    path: {folder_text}/htpasswd\n"
        );
    }
    if let Some(origin) = &options.mirror_of {
        text += &format!("proxy:\n  remoteurl: {origin}\n");
    }
    text
}

/// An authority, and certificates of it for an address and for a client.
fn make_certificates(folder: &Path, address: &str) {
    let openssl = |words: &str| {
        let words = words.split_whitespace();
        run(Command::new("openssl").current_dir(folder).args(words), b"", TOOL_LIMIT).ok();
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {key} -days 30 -subj /CN=Authority -keyout ca.key -out ca.crt"));
    for (name, usage) in [("server", "serverAuth"), ("client", "clientAuth")] {
        openssl(&format!("req {key} -subj /CN={name} -keyout {name}.key -out {name}.csr"));
        let extensions = format!(
            "subjectAltName=IP:{address},DNS:localhost\nbasicConstraints=CA:FALSE\nextendedKeyUsage={usage}\n"
        );
        std::fs::write(folder.join("extensions"), extensions).expect("write a file for openssl");
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile extensions -out {name}.crt"
        ));
    }
}
