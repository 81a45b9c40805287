//! `WWW-Authenticate`: which proof of identity a server wants (RFC 9110 §11), as a pure function.

/// One way to authenticate that a server offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Lower case: `basic`, `bearer`, …
    pub scheme: String,
    /// Parameters in their order, names in lower case.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Reads one header value; what cannot be read is left out, as a client can only ignore it.
#[must_use]
pub fn parse(value: &str) -> Vec<Challenge> {
    let mut rest = value;
    let mut challenges: Vec<Challenge> = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (word, after) = token(rest);
        if word.is_empty() {
            // Not a token: skip one character so that the loop always ends.
            let mut letters = rest.chars();
            if letters.next().is_none() {
                return challenges;
            }
            rest = letters.as_str();
            continue;
        }
        let spaced = after.trim_start_matches([' ', '\t']);
        if let Some(assigned) = spaced.strip_prefix('=')
            && let Some(challenge) = challenges.last_mut()
        {
            let (text, next) = parameter_value(assigned.trim_start_matches([' ', '\t']));
            challenge.parameters.push((word.to_ascii_lowercase(), text));
            rest = next;
        } else {
            challenges
                .push(Challenge { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
            rest = after;
        }
    }
}

/// Splits a leading token off.
fn token(text: &str) -> (&str, &str) {
    let is_token =
        |letter: char| letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/:".contains(letter);
    let end = text.find(|letter| !is_token(letter)).unwrap_or(text.len());
    text.split_at(end)
}

/// Splits a leading parameter value, quoted or not, off.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (word, rest) = token(text);
        return (word.to_owned(), rest);
    };
    let mut value = String::new();
    let mut letters = quoted.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => break,
            '\\' => value.extend(letters.next()),
            other => value.push(other),
        }
    }
    (value, letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &str) -> String {
        let challenges = parse(value);
        let lines = challenges.iter().map(|challenge| {
            let parameters: Vec<String> = challenge
                .parameters
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            format!("{}[{}]", challenge.scheme, parameters.join("|"))
        });
        lines.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn challenges_of_real_servers_are_read() {
        for (value, want) in [
            ("Basic realm=\"Registry Realm\"", "basic[realm=Registry Realm]"),
            (
                "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"repository:a/b:pull,push\"",
                "bearer[realm=https://auth.docker.io/token|service=registry.docker.io|scope=repository:a/b:pull,push]",
            ),
            (
                "Bearer realm=https://a/token , Service = x",
                "bearer[realm=https://a/token|service=x]",
            ),
            (
                "Negotiate, Basic realm=\"a \\\"b\\\"\", charset=UTF-8",
                "negotiate[] basic[realm=a \"b\"|charset=UTF-8]",
            ),
            ("BASIC", "basic[]"),
            ("", ""),
            ("=,=,\"", ""),
            ("Basic realm=\"no end", "basic[realm=no end]"),
        ] {
            assert_eq!(shown(value), want, "{value}");
        }
    }
}
