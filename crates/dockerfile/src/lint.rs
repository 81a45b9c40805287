//! Build checks: what is legal but probably not meant, with BuildKit's names and texts.
//!
//! Here are the rules, the `# check=` options, and the checks that need the text alone.

use crate::directive;
use crate::error::Error;
use crate::instruction::Lines;
use crate::line::LogicalLine;
use crate::parse::Dockerfile;
use crate::quote::go_quoted;
use crate::word::Arguments;

/// A finding of the build checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lint {
    /// The rule that was broken.
    pub rule: Rule,
    /// What exactly was found.
    pub message: String,
    /// Where.
    pub lines: Lines,
}

impl Lint {
    /// Makes a finding.
    #[must_use]
    pub fn new(rule: Rule, message: impl Into<String>, lines: Lines) -> Self {
        Self { rule, message: message.into(), lines }
    }

    /// The finding in one line: `StageNameCasing: Stage name 'A' should be lowercase (line 1)`.
    #[must_use]
    pub fn short(&self) -> String {
        format!("{}: {} (line {})", self.rule.name(), self.message, self.lines.first)
    }
}

macro_rules! rules {
    ($($name:ident, $page:literal, $description:literal;)*) => {
        /// The rules of the build checks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $(#[doc = $description] $name,)*
        }

        impl Rule {
            /// All rules.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name that `# check=skip=` takes.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// What the rule asks for.
            #[must_use]
            pub fn description(self) -> &'static str {
                match self { $(Self::$name => $description,)* }
            }

            fn page(self) -> &'static str {
                match self { $(Self::$name => $page,)* }
            }
        }
    };
}

rules! {
    StageNameCasing, "stage-name-casing", "Stage names should be lowercase";
    FromAsCasing, "from-as-casing", "The 'as' keyword should match the case of the 'from' keyword";
    NoEmptyContinuation, "no-empty-continuation", "Empty continuation lines will become errors in a future release";
    ConsistentInstructionCasing, "consistent-instruction-casing", "All commands within the Dockerfile should use the same casing (either upper or lower)";
    DuplicateStageName, "duplicate-stage-name", "Stage names should be unique";
    ReservedStageName, "reserved-stage-name", "Reserved words should not be used as stage names";
    JSONArgsRecommended, "json-args-recommended", "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals";
    MaintainerDeprecated, "maintainer-deprecated", "The MAINTAINER instruction is deprecated, use a label instead to define an image author";
    UndefinedArgInFrom, "undefined-arg-in-from", "FROM command must use declared ARGs";
    WorkdirRelativePath, "workdir-relative-path", "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes";
    UndefinedVar, "undefined-var", "Variables should be defined before their use";
    MultipleInstructionsDisallowed, "multiple-instructions-disallowed", "Multiple instructions of the same type should not be used in the same stage";
    LegacyKeyValueFormat, "legacy-key-value-format", "Legacy key/value format with whitespace separator should not be used";
    InvalidBaseImagePlatform, "", "Base image platform does not match expected target platform";
    RedundantTargetPlatform, "redundant-target-platform", "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior";
    SecretsUsedInArgOrEnv, "secrets-used-in-arg-or-env", "Sensitive data should not be used in the ARG or ENV commands";
    InvalidDefaultArgInFrom, "invalid-default-arg-in-from", "Default value for global ARG results in an empty or invalid base image name";
    FromPlatformFlagConstDisallowed, "from-platform-flag-const-disallowed", "FROM --platform flag should not use a constant value";
    CopyIgnoredFile, "copy-ignored-file", "Attempting to Copy file that is excluded by .dockerignore";
    InvalidDefinitionDescription, "invalid-definition-description", "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.";
    ExposeProtoCasing, "expose-proto-casing", "Protocol in EXPOSE instruction should be lowercase";
    ExposeInvalidFormat, "expose-invalid-format", "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release";
    WriteBelowVolume, "", "Files written below a VOLUME are kept here, but other builders may drop them";
}

impl Rule {
    /// The page that explains it; empty where there is none.
    #[must_use]
    pub fn url(self) -> String {
        match self.page() {
            "" => String::new(),
            page => format!("https://docs.docker.com/go/dockerfile/rule/{page}/"),
        }
    }

    /// Whether the rule is off unless asked for.
    fn experimental(self) -> bool {
        self == Self::InvalidDefinitionDescription
    }
}

/// The options of `# check=`: `skip=A,B;error=true;experimental=all`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    skip: Named,
    experimental: Named,
    /// Whether a finding fails the build.
    pub error: bool,
}

/// No rule, some, or all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Named {
    all: bool,
    names: Vec<String>,
}

impl Named {
    fn parse(value: &str) -> Self {
        let value = value.trim();
        if value == "all" {
            return Self { all: true, names: Vec::new() };
        }
        Self { all: false, names: value.split(',').map(|name| name.trim().to_owned()).collect() }
    }

    fn has(&self, rule: Rule) -> bool {
        self.all || self.names.iter().any(|name| name == rule.name())
    }

    fn merge(&mut self, other: Self) {
        self.all |= other.all;
        self.names.extend(other.names);
    }
}

impl Checks {
    /// Reads the options.
    ///
    /// # Errors
    /// Options that there aren't.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut checks = Self::default();
        let text = text.trim();
        if text.is_empty() {
            return Ok(checks);
        }
        for part in text.splitn(3, ';') {
            let invalid =
                |what: &str| Error::new(format!("invalid check option {}", go_quoted(what)));
            let (key, value) = part.split_once('=').ok_or_else(|| invalid(part))?;
            match key.trim() {
                "skip" => checks.skip = Named::parse(value),
                "experimental" => checks.experimental = Named::parse(value),
                "error" => {
                    let value = value.trim();
                    checks.error = crate::mount::go_bool(value).ok_or_else(|| {
                        Error::new(format!(
                            "failed to parse check option {}: strconv.ParseBool: parsing {}: invalid syntax",
                            go_quoted(part),
                            go_quoted(value)
                        ))
                    })?;
                }
                other => return Err(invalid(other)),
            }
        }
        Ok(checks)
    }

    /// The options of a file's `# check=`.
    ///
    /// # Errors
    /// As [`Checks::parse`].
    pub fn of(file: &Dockerfile) -> Result<Self, Error> {
        let text = file.directives.check.as_deref().unwrap_or_default();
        // As BuildKit: what follows a blank is no option.
        Self::parse(text.split(' ').next().unwrap_or_default())
            .map_err(|error| error.within("failed to parse check options: "))
    }

    /// These options and those of a comment `# check=…` above an instruction.
    #[must_use]
    pub fn with_comments(&self, comments: &[String]) -> Self {
        let mut merged = self.clone();
        let option = comments
            .iter()
            .filter_map(|comment| directive::key_value(comment))
            .find(|(key, _)| key == "check");
        let own = option.and_then(|(_, value)| Self::parse(value.split(' ').next()?).ok());
        if let Some(own) = own {
            merged.skip.merge(own.skip);
            merged.experimental.merge(own.experimental);
        }
        merged
    }

    /// Whether a rule is checked.
    #[must_use]
    pub fn allows(&self, rule: Rule) -> bool {
        if rule.experimental() { self.experimental.has(rule) } else { !self.skip.has(rule) }
    }

    /// The error that findings are, where `error=true` asks for it.
    #[must_use]
    pub fn violation(&self, lints: &[Lint]) -> Option<Error> {
        if !self.error || lints.is_empty() {
            return None;
        }
        let mut names: Vec<&str> = lints.iter().map(|lint| lint.rule.name()).collect();
        names.sort_unstable();
        names.dedup();
        Some(Error::new(format!("lint violation found for rules: {}", names.join(", "))))
    }
}

/// `NoEmptyContinuation` on the last line of an instruction.
pub(crate) fn empty_continuation(line: usize) -> Lint {
    Lint::new(Rule::NoEmptyContinuation, "Empty continuation line", Lines::one(line))
}

/// Adds a finding unless a comment above the instruction skips its rule.
fn push(lints: &mut Vec<Lint>, comments: &[String], lint: Lint) {
    if Checks::default().with_comments(comments).allows(lint.rule) {
        lints.push(lint);
    }
}

/// `MaintainerDeprecated`.
pub(crate) fn maintainer(lines: Lines, comments: &[String], lints: &mut Vec<Lint>) {
    let text = "Maintainer instruction is deprecated in favor of using label";
    push(lints, comments, Lint::new(Rule::MaintainerDeprecated, text, lines));
}

/// `StageNameCasing` and `FromAsCasing` of a `FROM` line.
pub(crate) fn from_casing(line: &LogicalLine, lints: &mut Vec<Lint>) {
    let Arguments::Words(words) = &line.arguments else { return };
    let [_, keyword, name] = words.as_slice() else { return };
    if *name != name.to_lowercase() {
        let text = format!("Stage name '{name}' should be lowercase");
        push(lints, &line.comments, Lint::new(Rule::StageNameCasing, text, line.lines));
    }
    let from = &line.statement.name;
    let differs = if *from == from.to_lowercase() {
        *keyword != keyword.to_lowercase()
    } else if *from == from.to_uppercase() {
        *keyword != keyword.to_uppercase()
    } else {
        false
    };
    if differs {
        let text = format!("'{keyword}' and '{from}' keywords' casing do not match");
        push(lints, &line.comments, Lint::new(Rule::FromAsCasing, text, line.lines));
    }
}

/// `InvalidDefinitionDescription` of the comment above a `FROM` or an `ARG`.
pub(crate) fn description(
    instruction: &str,
    names: &[&str],
    comments: &[String],
    lines: Lines,
    lints: &mut Vec<Lint>,
) {
    let (Some(comment), Some(first)) = (comments.last(), names.first()) else { return };
    let word = comment.split(' ').next().unwrap_or_default();
    if names.contains(&word) {
        return;
    }
    let name = if names.len() > 1 { "<arg_key>" } else { first };
    let text =
        format!("Comment for {instruction} should follow the format: `# {name} <description>`");
    lints.push(Lint::new(Rule::InvalidDefinitionDescription, text, lines));
}

/// The checks of stage names and of instructions' case.
pub(crate) fn stages(file: &Dockerfile, lints: &mut Vec<Lint>) {
    let mut seen: Vec<&str> = Vec::new();
    for stage in &file.stages {
        let Some(name) = stage.name.as_deref() else { continue };
        if matches!(name, "context" | "scratch") {
            let text = format!(
                "Stage name should not use the same name as reserved stage {}",
                go_quoted(name)
            );
            lints.push(Lint::new(Rule::ReservedStageName, text, stage.source.lines));
        }
        if seen.contains(&name) {
            let text =
                format!("Duplicate stage name {}, stage names should be unique", go_quoted(name));
            lints.push(Lint::new(Rule::DuplicateStageName, text, stage.source.lines));
        }
        seen.push(name);
    }
    casing(file, lints);
}

fn casing(file: &Dockerfile, lints: &mut Vec<Lint>) {
    let names = || {
        file.stages.iter().flat_map(|stage| {
            let own = std::iter::once(&stage.source);
            own.chain(stage.instructions.iter().map(|instruction| &instruction.source))
        })
    };
    let lower = names().filter(|source| source.name == source.name.to_lowercase()).count();
    let upper = names().filter(|source| source.name == source.name.to_uppercase()).count();
    let (wanted, differs): (_, fn(&str) -> bool) = if lower > upper {
        ("lowercase", |name| name != name.to_lowercase())
    } else {
        ("uppercase", |name| name != name.to_uppercase())
    };
    for source in names().filter(|source| differs(&source.name)) {
        let text = format!(
            "Command '{}' should match the case of the command majority ({wanted})",
            source.name
        );
        lints.push(Lint::new(Rule::ConsistentInstructionCasing, text, source.lines));
    }
}

#[cfg(test)]
#[path = "lint_tests.rs"]
mod tests;
