//! Global options of Docker's client, which speaks to a server: taken where they change nothing,
//! refused where they would lead elsewhere.

use std::path::PathBuf;

use clap::Args;

use crate::failure::Failure;

/// Docker's name for "here".
const HERE: &str = "default";

/// Options that scripts give to `docker`.
#[derive(Clone, Debug, Default, Args)]
pub struct DockerOptions {
    /// Log everything, as `--log-level debug` does
    #[arg(short = 'D', long)]
    pub debug: bool,
    /// Server to connect to; there is none, orlop works without
    #[arg(short = 'H', long, value_name = "ADDRESS", hide = true)]
    pub host: Vec<String>,
    /// Docker's context; only `default`
    #[arg(short = 'c', long, value_name = "NAME", hide = true)]
    pub context: Option<String>,
    /// Directory of Docker's client configuration
    #[arg(long, value_name = "DIR", hide = true)]
    pub config: Option<PathBuf>,
    /// Use TLS to reach the server
    #[arg(long, hide = true)]
    pub tls: bool,
    /// Certificates to trust
    #[arg(long, value_name = "FILE", hide = true)]
    pub tlscacert: Option<PathBuf>,
    /// Certificate to show
    #[arg(long, value_name = "FILE", hide = true)]
    pub tlscert: Option<PathBuf>,
    /// Key of that certificate
    #[arg(long, value_name = "FILE", hide = true)]
    pub tlskey: Option<PathBuf>,
    /// Use TLS and check the server
    #[arg(long, hide = true)]
    pub tlsverify: bool,
}

impl DockerOptions {
    /// Refuses what asks for another engine than this one.
    pub fn check(&self) -> Result<(), Failure> {
        if let Some(address) = self.host.first() {
            return Err(Failure::new(format!("cannot connect to {address}: there is no server"))
                .with_hint("orlop works in its own process: leave `--host` away"));
        }
        match self.context.as_deref() {
            None | Some("" | HERE) => {}
            Some(name) => {
                return Err(Failure::new(format!("context \"{name}\": context not found"))
                    .with_hint("orlop works in its own process: the only context is `default`"));
            }
        }
        let tls = self.tls
            || self.tlsverify
            || [&self.tlscacert, &self.tlscert, &self.tlskey].iter().any(|file| file.is_some());
        if tls {
            tracing::debug!("TLS options are not used: there is no server to reach");
        }
        for variable in ["DOCKER_HOST", "DOCKER_CONTEXT"] {
            if let Some(value) = std::env::var_os(variable) {
                tracing::debug!(variable, ?value, "not used: there is no server to reach");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_engine_is_served() {
        let options = |host: &[&str], context: Option<&str>| DockerOptions {
            host: host.iter().map(|&text| text.to_owned()).collect(),
            context: context.map(str::to_owned),
            tlsverify: true,
            ..DockerOptions::default()
        };
        assert_eq!(options(&[], None).check(), Ok(()));
        assert_eq!(options(&[], Some("default")).check(), Ok(()));
        let refused = |options: DockerOptions| options.check().err().map(|failure| failure.why);
        assert_eq!(
            refused(options(&["tcp://h:1"], None)).as_deref(),
            Some("cannot connect to tcp://h:1: there is no server")
        );
        assert_eq!(
            refused(options(&[], Some("x"))).as_deref(),
            Some("context \"x\": context not found")
        );
    }
}
