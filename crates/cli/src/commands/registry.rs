//! `login`, `logout` and `search`.

use std::io::Read as _;

use orlop_registry::{Client, ClientOptions, Credential, SearchQuery, SearchResult, Stored, Watch};
use orlop_types::filter::Filters;
use serde_json::{Value, json};

use crate::args::{Login, Logout, RegistryCommand, Search};
use crate::failure::{Failure, Outcome};
use crate::format::{ListStyle, ellipsis};
use crate::io::Streams;
use crate::prompt;

/// Docker Hub as references name it, and the key of its credentials.
const HUB: &str = "docker.io";
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// Longest password from standard input.
const PASSWORD_MAX_BYTES: u64 = 64 << 10;
/// Characters of a description.
const DESCRIPTION_MAX_CHARS: usize = 45;
/// Filters that Docker knows.
const FILTERS: [&str; 3] = ["is-automated", "is-official", "stars"];

/// `search`
const RESULTS: ListStyle<'static> = ListStyle {
    row_type: "*registry.searchContext",
    table: "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}",
    quiet: "{{.Name}}",
    headings: &[
        ("Description", "DESCRIPTION"),
        ("IsAutomated", "AUTOMATED"),
        ("IsOfficial", "OFFICIAL"),
        ("Name", "NAME"),
        ("StarCount", "STARS"),
    ],
};

/// Carries a command out.
pub fn dispatch(
    streams: &mut Streams<'_>,
    program: &str,
    command: &RegistryCommand,
    default_format: Option<&str>,
) -> Outcome {
    match command {
        RegistryCommand::Login(args) => {
            login(streams, program, args).map_err(|failure| failure.during("login"))
        }
        RegistryCommand::Logout(args) => {
            logout(streams, args).map_err(|failure| failure.during("logout"))
        }
        RegistryCommand::Search(args) => {
            search(streams, args, default_format).map_err(|failure| failure.during("search"))
        }
    }
}

fn failed(error: orlop_registry::Error) -> Failure {
    orlop_engine::Error::from(error).into()
}

/// The host of a registry as people name it: without scheme and path.
fn host_of(server: Option<&str>) -> &str {
    let server = server.unwrap_or_default();
    let bare = server.split_once("://").map_or(server, |(_, rest)| rest);
    match bare.split('/').next().unwrap_or_default() {
        "" | HUB | "index.docker.io" | "registry-1.docker.io" => HUB,
        host => host,
    }
}

fn login(streams: &mut Streams<'_>, program: &str, args: &Login) -> Outcome {
    let host = host_of(args.server.as_deref());
    let password = given_password(streams, args)?;
    let options = ClientOptions::of_environment().map_err(failed)?;
    let credentials = options.credentials.clone();
    let client = Client::new(options).map_err(failed)?;
    let watch = Watch::default();
    let mut username = args.username.clone().unwrap_or_default();
    if username.is_empty() && password.is_none() {
        let kept = credentials.get(host).map_err(failed)?;
        if !kept.is_empty() {
            let name = match kept.username.as_str() {
                "" => String::new(),
                name => format!(" [Username: {name}]"),
            };
            writeln!(
                streams.err,
                "Authenticating with existing credentials...{name}\n\n Info -> To login with a different account, run \
                 '{program} logout' followed by '{program} login'\n\n"
            )?;
            match client.login(host, &kept, &watch) {
                Ok(outcome) => return succeeded(streams, &outcome.status),
                Err(error) => {
                    writeln!(streams.err, "Login did not succeed, error: {error}")?;
                }
            }
            username = kept.username;
        }
    }
    let typed = ask_for_rest(streams, args, &username, password)?;
    let outcome = client.login(host, &typed, &watch).map_err(failed)?;
    let lasting = if outcome.identity_token.is_empty() {
        typed
    } else {
        Credential {
            identity_token: outcome.identity_token,
            ..Credential::basic(typed.username, "")
        }
    };
    if let Stored::File(path) = credentials.put(host, &lasting).map_err(failed)? {
        writeln!(
            streams.err,
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove this \
             warning. See\nhttps://docs.docker.com/go/credential-store/\n",
            path.display()
        )?;
    }
    succeeded(streams, &outcome.status)
}

fn succeeded(streams: &mut Streams<'_>, status: &str) -> Outcome {
    streams.line(status)?;
    Ok(0)
}

/// The password of the flags, if there is one.
fn given_password(streams: &mut Streams<'_>, args: &Login) -> Result<Option<String>, Failure> {
    if args.username.as_deref() == Some("") {
        return Err(Failure::new("username is empty"));
    }
    if let Some(password) = &args.password {
        if args.password_stdin {
            return Err(Failure::new(
                "conflicting options: cannot specify both --password and --password-stdin",
            ));
        }
        if password.is_empty() {
            return Err(Failure::new("password is empty"));
        }
        let warning = "WARNING! Using --password via the CLI is insecure. Use --password-stdin.";
        writeln!(streams.err, "{warning}")?;
        return Ok(Some(password.clone()));
    }
    if !args.password_stdin {
        return Ok(None);
    }
    if args.username.is_none() {
        return Err(Failure::new("the --password-stdin option requires --username to be set"));
    }
    let mut password = String::new();
    let read = (&mut *streams.input).take(PASSWORD_MAX_BYTES).read_to_string(&mut password);
    read.map_err(|error| Failure::new(format!("read the password: {error}")))?;
    let password = password.strip_suffix('\n').unwrap_or(&password);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        return Err(Failure::new("password is empty"));
    }
    Ok(Some(password.to_owned()))
}

/// Asks for what the flags left open.
fn ask_for_rest(
    streams: &mut Streams<'_>,
    args: &Login,
    known_name: &str,
    password: Option<String>,
) -> Result<Credential, Failure> {
    let given = args.username.as_deref().map(str::trim).filter(|name| !name.is_empty());
    let is_complete = given.is_some() && password.is_some();
    if !is_complete && !prompt::is_terminal() {
        return Err(Failure::new(
            "Error: Cannot perform an interactive login from a non TTY device",
        ));
    }
    let username = match given {
        Some(name) => name.to_owned(),
        None => {
            let question = match known_name {
                "" => "Username: ".to_owned(),
                name => format!("Username ({name}): "),
            };
            let typed = prompt::line(streams, &question)?;
            if typed.is_empty() { known_name.to_owned() } else { typed }
        }
    };
    if username.is_empty() {
        return Err(Failure::new("Error: Non-null Username Required"));
    }
    let password = match password {
        Some(password) => password,
        None => prompt::secret(streams, "Password: ")?,
    };
    if password.is_empty() {
        return Err(Failure::new("Error: Password Required"));
    }
    Ok(Credential::basic(username, password))
}

fn logout(streams: &mut Streams<'_>, args: &Logout) -> Outcome {
    let host = host_of(args.server.as_deref());
    let shown = if host == HUB { HUB_KEY } else { host };
    streams.line(format!("Removing login credentials for {shown}"))?;
    let credentials = ClientOptions::of_environment().map_err(failed)?.credentials;
    if let Err(error) = credentials.erase(host) {
        streams.out.flush()?;
        writeln!(streams.err, "WARNING: could not erase credentials:\n{shown}: {error}")?;
    }
    Ok(0)
}

fn search(streams: &mut Streams<'_>, args: &Search, default_format: Option<&str>) -> Outcome {
    let chosen = super::filters(&args.filters)?;
    check_filters(&chosen)?;
    if args.limit == Some(0) {
        return Err(Failure::new("limit 0 is outside the range of [1, 100]"));
    }
    let options = ClientOptions::of_environment().map_err(failed)?;
    let client = Client::new(options).map_err(failed)?;
    let query = SearchQuery {
        term: args.term.clone(),
        limit: args.limit.unwrap_or_default(),
        credential: None,
    };
    let found = client.search(&query, &Watch::default()).map_err(failed)?;
    let fitting = found.iter().filter(|result| fits(&chosen, result));
    let rows: Vec<Value> = fitting.map(|result| row(result, args.no_trunc)).collect();
    let format = args.format.as_deref().or(default_format);
    streams.out.write_all(RESULTS.render(format, false, &rows)?.as_bytes())?;
    Ok(0)
}

fn check_filters(chosen: &Filters) -> Result<(), Failure> {
    chosen.check_names(&FILTERS)?;
    for name in FILTERS {
        for value in chosen.values(name) {
            let is_valid = match name {
                "stars" => value.parse::<u64>().is_ok(),
                _ => crate::args::switch(value).is_ok(),
            };
            if !is_valid {
                return Err(Failure::new(format!("invalid filter '{name}={value}'")));
            }
        }
    }
    Ok(())
}

fn fits(chosen: &Filters, result: &SearchResult) -> bool {
    let all = |name: &str, test: &dyn Fn(&str) -> bool| chosen.values(name).all(test);
    let is = |value: bool| move |wanted: &str| crate::args::switch(wanted) == Ok(value);
    all("is-official", &is(result.is_official))
        && all("is-automated", &is(result.is_automated))
        && all("stars", &|least| least.parse().is_ok_and(|least: u64| result.star_count >= least))
}

fn row(result: &SearchResult, is_whole: bool) -> Value {
    let description: String = result
        .description
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    let mark = |flag: bool| if flag { "[OK]" } else { "" };
    json!({
        "Description": if is_whole { description } else { ellipsis(&description, DESCRIPTION_MAX_CHARS) },
        "IsAutomated": mark(result.is_automated),
        "IsOfficial": mark(result.is_official),
        "Name": result.name,
        "StarCount": result.star_count.to_string(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn chosen(raws: &[&str]) -> Filters {
        let raws: Vec<String> = raws.iter().map(|&raw| raw.to_owned()).collect();
        crate::commands::filters(&raws).unwrap()
    }

    #[test]
    fn servers_are_hosts() {
        for (server, want) in [
            (None, HUB),
            (Some("docker.io"), HUB),
            (Some("https://index.docker.io/v1/"), HUB),
            (Some("reg.example:5000"), "reg.example:5000"),
            (Some("https://reg.example/v2/"), "reg.example"),
        ] {
            assert_eq!(host_of(server), want, "{server:?}");
        }
    }

    #[test]
    fn filters_are_checked_and_hold() {
        let result = SearchResult { star_count: 5, is_official: true, ..SearchResult::default() };
        for (raws, want) in [
            (&["stars=5"][..], true),
            (&["stars=6"], false),
            (&["is-official=true"], true),
            (&["is-official=0"], false),
            (&["is-automated=true"], false),
            (&[], true),
        ] {
            assert!(check_filters(&chosen(raws)).is_ok(), "{raws:?}");
            assert_eq!(fits(&chosen(raws), &result), want, "{raws:?}");
        }
        let refusal = |raw: &str| check_filters(&chosen(&[raw])).unwrap_err().why;
        assert_eq!(refusal("x=y"), "invalid filter 'x'");
        assert_eq!(refusal("stars=many"), "invalid filter 'stars=many'");
        assert_eq!(refusal("is-official=maybe"), "invalid filter 'is-official=maybe'");
    }

    #[test]
    fn rows_are_dockers() {
        let result = SearchResult {
            name: "web".to_owned(),
            description: format!("line\n{}", "x".repeat(60)),
            star_count: 12,
            is_official: true,
            is_automated: false,
        };
        let text = RESULTS.render(None, false, &[row(&result, false)]).unwrap();
        assert_eq!(
            text,
            format!(
                "NAME      DESCRIPTION                                     STARS     OFFICIAL\n\
                 web       line {}…   12        [OK]\n",
                "x".repeat(39)
            )
        );
        assert!(row(&result, true)["Description"].as_str().unwrap().ends_with("xx"));
    }
}
