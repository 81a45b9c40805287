//! Which paths below a directory take part in a copy: ignore rules of the context, `--exclude`, and
//! the pattern of `--parents`.
//!
//! A directory that does not take part by itself is there all the same if something below it does.

use orlop_dockerfile::Ignore;

/// What the filter's rules said about a directory, for what is in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Above(Vec<orlop_dockerfile::Above>);

/// What to do with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// It takes part.
    pub(crate) included: bool,
    /// If it is a directory, something below it may.
    pub(crate) descend: bool,
}

/// Rules for the paths below one directory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter<'a> {
    rules: Vec<Rule<'a>>,
}

#[derive(Clone, Debug)]
struct Rule<'a> {
    patterns: &'a Ignore,
    /// Where the directory is as the patterns see it; with a slash at its end unless empty.
    prefix: String,
    /// Whether what matches is in rather than out.
    includes: bool,
    /// Names that lead to everything that an including pattern can match.
    literal: Vec<String>,
}

impl<'a> Filter<'a> {
    /// Leaves out what matches. `directory` is where the walk begins as the patterns see it.
    pub(crate) fn without(mut self, patterns: &'a Ignore, directory: &str) -> Self {
        if !patterns.is_empty() {
            let prefix = with_slash(directory);
            self.rules.push(Rule { patterns, prefix, includes: false, literal: Vec::new() });
        }
        self
    }

    /// Leaves out what does not match.
    pub(crate) fn only(mut self, patterns: &'a Ignore) -> Self {
        let pattern = patterns.patterns().next().unwrap_or_default();
        let literal = pattern
            .split('/')
            .take_while(|name| !orlop_dockerfile::glob::has_wildcards(name) && !name.contains('\\'))
            .map(str::to_owned)
            .collect();
        self.rules.push(Rule { patterns, prefix: String::new(), includes: true, literal });
        self
    }

    /// Whether everything takes part.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What the rules say about the directory where the walk begins, of its parents' names.
    pub(crate) fn top(&self) -> Above {
        let state = |rule: &Rule<'_>| {
            let mut above = orlop_dockerfile::Above::default();
            for (at, _) in rule.prefix.match_indices('/') {
                above = rule.patterns.ignored_below(&rule.prefix[..at], &above).1;
            }
            above
        };
        Above(self.rules.iter().map(state).collect())
    }

    /// What the rules say about a path, relative to where the walk begins.
    pub(crate) fn judge(&self, path: &[u8], above: &Above) -> (Verdict, Above) {
        let mut verdict = Verdict { included: true, descend: true };
        let path = String::from_utf8_lossy(path);
        let mut states = Vec::with_capacity(self.rules.len());
        for (rule, above) in self.rules.iter().zip(&above.0) {
            let full = format!("{}{path}", rule.prefix);
            let (matches, state) = rule.patterns.ignored_below(&full, above);
            if rule.includes {
                verdict.included &= matches;
                verdict.descend &= matches || rule.may_lead_to(&path);
            } else if matches {
                verdict.included = false;
                verdict.descend &= rule.patterns.may_hold_included(&full);
            }
            states.push(state);
        }
        (verdict, Above(states))
    }
}

impl Rule<'_> {
    fn may_lead_to(&self, directory: &str) -> bool {
        directory.split('/').zip(&self.literal).all(|(name, wanted)| name == wanted)
    }
}

fn with_slash(directory: &str) -> String {
    if directory.is_empty() { String::new() } else { format!("{directory}/") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn verdicts(filter: &Filter<'_>, paths: &[&str]) -> Vec<(bool, bool)> {
        let mut found = Vec::new();
        for path in paths {
            let mut above = filter.top();
            for (at, _) in path.match_indices('/') {
                above = filter.judge(&path.as_bytes()[..at], &above).1;
            }
            let (verdict, _) = filter.judge(path.as_bytes(), &above);
            found.push((verdict.included, verdict.descend));
        }
        found
    }

    #[test]
    fn rules_of_the_context_apply_below_a_directory_of_it() {
        let ignore = Ignore::parse("src/gen\n!src/gen/keep\n*.log\n").unwrap();
        let filter = Filter::default().without(&ignore, "src");
        let paths = ["gen", "gen/x", "gen/keep", "gen/keep/y", "a.log", "b"];
        let want =
            [(false, true), (false, false), (true, true), (true, true), (true, true), (true, true)];
        assert_eq!(verdicts(&filter, &paths), want);
        let below = Filter::default().without(&ignore, "src/gen");
        assert_eq!(verdicts(&below, &["x", "keep"]), [(false, false), (true, true)]);
    }

    #[test]
    fn a_pattern_to_keep_leads_the_way() {
        let only = Ignore::new(&["a/b/*.c"]).unwrap();
        let filter = Filter::default().only(&only);
        let paths = ["a", "b", "a/b", "a/c", "a/b/x.c", "a/b/x.h", "a/b/x.c/below"];
        let want = [
            (false, true),
            (false, false),
            (false, true),
            (false, false),
            (true, true),
            (false, true),
            (true, true),
        ];
        assert_eq!(verdicts(&filter, &paths), want);
    }
}
