//! Arguments that nobody declares: platforms, proxies, `SOURCE_DATE_EPOCH`.

use std::collections::BTreeMap;

use orlop_dockerfile::Dockerfile;
use orlop_types::platform::Platform;

use super::find;
use crate::document::Epoch;
use crate::request::BuildRequest;
use crate::{Error, Result};

/// Proxy variables, in lower case.
const PROXIES: [&str; 5] = ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"];

/// `BUILDPLATFORM`, `TARGETPLATFORM` and their kin; what the caller gives for them counts more.
pub(crate) fn predefined(
    file: &Dockerfile,
    request: &BuildRequest,
    target: &Platform,
    build_args: &BTreeMap<String, String>,
) -> Vec<(String, String)> {
    let host = Platform::host();
    let stage = match request.target.as_str() {
        "" => file.stages.last().and_then(|stage| stage.name.clone()).unwrap_or_default(),
        target => target.to_owned(),
    };
    let stage = if stage.is_empty() { "default".to_owned() } else { stage };
    [
        ("BUILDPLATFORM", host.to_string()),
        ("BUILDOS", host.os.clone()),
        ("BUILDOSVERSION", String::new()),
        ("BUILDARCH", host.architecture.clone()),
        ("BUILDVARIANT", host.variant.clone()),
        ("TARGETPLATFORM", target.to_string()),
        ("TARGETOS", target.os.clone()),
        ("TARGETOSVERSION", String::new()),
        ("TARGETARCH", target.architecture.clone()),
        ("TARGETVARIANT", target.variant.clone()),
        ("TARGETSTAGE", stage),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), build_args.get(name).cloned().unwrap_or(value)))
    .collect()
}

/// What a RUN finds as proxies without a declaration: each in both cases.
pub(crate) fn proxies(build_args: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut proxies = BTreeMap::new();
    for (name, value) in build_args {
        let lower = name.to_ascii_lowercase();
        if PROXIES.contains(&lower.as_str()) {
            proxies.insert(name.to_ascii_uppercase(), value.clone());
            proxies.insert(lower, value.clone());
        }
    }
    proxies
}

/// The time that no new part of the image may be younger than.
pub(crate) fn epoch(
    request: &BuildRequest,
    build_args: &BTreeMap<String, String>,
    globals: &[(String, String)],
) -> Result<Option<Epoch>> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    let given = build_args.get(NAME).cloned().or_else(|| find(globals, NAME));
    match given.filter(|text| !text.is_empty()) {
        Some(text) => {
            let seconds = text.parse().map_err(|_| {
                Error::invalid(format!(
                    "invalid SOURCE_DATE_EPOCH: {text}: strconv.ParseInt: parsing {text:?}: invalid syntax"
                ))
            })?;
            Epoch::new(seconds).map(Some)
        }
        None => request.source_date_epoch.map(Epoch::new).transpose(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn proxies_come_in_both_cases_and_nothing_else_comes() {
        let arguments = [("HTTP_PROXY", "p"), ("X", "y"), ("no_proxy", "n")];
        let arguments = arguments.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let found: Vec<_> = proxies(&arguments.into()).into_iter().collect();
        let expected =
            [("HTTP_PROXY", "p"), ("NO_PROXY", "n"), ("http_proxy", "p"), ("no_proxy", "n")];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn an_epoch_is_a_number_of_seconds() {
        let given = |text: &str| {
            let arguments = [("SOURCE_DATE_EPOCH".to_owned(), text.to_owned())].into();
            epoch(&BuildRequest::default(), &arguments, &[])
        };
        assert_eq!(given("1700000000").unwrap().unwrap().text, "2023-11-14T22:13:20Z");
        assert!(given("").unwrap().is_none());
        let error = given("soon").unwrap_err().to_string();
        assert!(error.starts_with("invalid SOURCE_DATE_EPOCH: soon"), "{error}");
    }
}
