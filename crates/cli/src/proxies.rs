//! Proxies of the user's `config.json`, which containers and builds get as Docker's client gives them.

use orlop_registry::Credentials;
use orlop_registry::config_file::ConfigFile;

use crate::commands::Session;
use crate::failure::{Failure, chain};

/// The variables by name. A file that cannot be read is told and counts as empty, as with Docker.
pub fn of_user(session: &mut Session<'_, '_>) -> Result<Vec<(String, String)>, Failure> {
    let read = Credentials::of_environment().and_then(|credentials| credentials.config_file());
    let file = match read {
        Ok(file) => file,
        Err(error) => {
            let text = Failure::new(chain(&error)).reason();
            writeln!(session.streams.err, "WARNING: Error loading config file: {text}")?;
            ConfigFile::default()
        }
    };
    Ok(file.proxy_variables())
}

/// Adds variables that the environment (`NAME=VALUE`, or `NAME` alone) does not name.
pub fn add(environment: &mut Option<Vec<String>>, variables: Vec<(String, String)>) {
    for (name, value) in variables {
        let entries = environment.get_or_insert_default();
        if !entries.iter().any(|entry| entry.split('=').next() == Some(&name)) {
            entries.push(format!("{name}={value}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_named_stays() {
        let variables = |names: &[&str]| -> Vec<_> {
            names.iter().map(|&name| (name.to_owned(), "p".to_owned())).collect()
        };
        let mut environment = Some(vec!["HTTP_PROXY=mine".to_owned(), "NO_PROXY".to_owned()]);
        add(&mut environment, variables(&["HTTP_PROXY", "http_proxy", "NO_PROXY"]));
        let want = ["HTTP_PROXY=mine", "NO_PROXY", "http_proxy=p"].map(str::to_owned);
        assert_eq!(environment, Some(want.to_vec()));
        let mut none = None;
        add(&mut none, Vec::new());
        assert_eq!(none, None);
    }
}
