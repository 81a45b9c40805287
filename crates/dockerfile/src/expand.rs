//! Which parts of which instruction take variables, and the instruction with them put in.

use std::collections::BTreeSet;

use crate::error::Error;
use crate::heredoc;
use crate::instruction::{Command, CommandLine, Instruction, KeyValue, Run, Script, Sources};
use crate::shell::{Lexer, Lookup, expand_content};

/// An instruction with its variables put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expanded {
    /// The instruction; its source is still as written.
    pub instruction: Instruction,
    /// Names that were asked for and had no value.
    pub unmatched: BTreeSet<String>,
}

impl Instruction {
    /// The instruction with its variables put in: all words of it see the same environment.
    ///
    /// `ADD COPY ENV EXPOSE LABEL STOPSIGNAL USER VOLUME WORKDIR` and the `--mount` fields of `RUN`
    /// take variables, and so does the content of unquoted here-documents of `COPY` and `ADD`; the
    /// rest doesn't. `ARG` comes back unchanged: a default is expanded only where it is used (with
    /// [`crate::expand_with_names`]), and each sees the ones before it on its line.
    ///
    /// # Errors
    /// Malformed substitutions, `${name?text}`, every rule of `RUN --mount`, empty volumes and
    /// unknown signals; each with the lines of the instruction.
    pub fn expanded(&self, escape: char, lookup: Lookup<'_>) -> Result<Expanded, Error> {
        let mut expander = Expander { escape, lookup, unmatched: BTreeSet::new() };
        let mut command = self.command.clone();
        expander.command(&mut command).map_err(|error| error.at(self.source.lines))?;
        let instruction = Self { source: self.source.clone(), command };
        Ok(Expanded { instruction, unmatched: expander.unmatched })
    }

    /// The instruction as step names show it (`RUN echo hi`, `COPY a b`), without its number.
    #[must_use]
    pub fn step_text(&self, escape: char, lookup: Lookup<'_>) -> String {
        let mut lexer = Lexer::new(escape);
        let mut text = self.source.text.clone();
        if let Command::Run(run) = &self.command {
            lexer.raw_quotes = true;
            lexer.keep_unset = true;
            if let (Some(_), Some(doc)) = (run.only_heredoc(), run.heredocs.first()) {
                text = format!("{text} ({})", heredoc::summary(&doc.content));
            }
        }
        let text = lexer.word(&text, lookup).map_or(text, |expansion| expansion.text);
        match text.split_once(' ') {
            Some((name, rest)) => format!("{} {rest}", name.to_uppercase()),
            None => text.to_uppercase(),
        }
    }
}

impl Run {
    /// What is run. A line that is one here-document and nothing else runs its content; of other
    /// lines the here-documents are put behind the text, for the shell to read.
    #[must_use]
    pub fn script(&self) -> Script {
        let text = match &self.line {
            CommandLine::Exec(words) => return Script::Exec(words.clone()),
            CommandLine::Shell(text) => text,
        };
        if let (Some(name), Some(doc)) = (self.only_heredoc(), self.heredocs.first()) {
            let content = doc.text();
            if content.starts_with("#!") {
                return Script::File { name, content };
            }
            return Script::Shell(content);
        }
        let mut text = text.clone();
        for doc in &self.heredocs {
            text.push('\n');
            text.push_str(&doc.content);
            text.push_str(&doc.name);
        }
        Script::Shell(text)
    }

    /// The name of the here-document that the whole line is.
    fn only_heredoc(&self) -> Option<String> {
        let CommandLine::Shell(text) = &self.line else { return None };
        let doc = heredoc::from_word(text).ok().flatten()?;
        self.heredocs.first().map(|_| doc.name)
    }
}

struct Expander<'a> {
    escape: char,
    lookup: Lookup<'a>,
    unmatched: BTreeSet<String>,
}

impl Expander<'_> {
    fn command(&mut self, command: &mut Command) -> Result<(), Error> {
        match command {
            Command::Add(add) => {
                self.optional(&mut add.chown)?;
                self.optional(&mut add.chmod)?;
                self.optional(&mut add.checksum)?;
                self.sources(&mut add.sources)
            }
            Command::Copy(copy) => {
                self.optional(&mut copy.chown)?;
                self.optional(&mut copy.chmod)?;
                self.sources(&mut copy.sources)
            }
            Command::Env(pairs) | Command::Label(pairs) => self.pairs(pairs),
            Command::Expose(ports) => self.ports(ports),
            Command::Run(run) => self.mounts(run),
            Command::Stopsignal(signal) => {
                self.word(signal)?;
                signal
                    .parse::<orlop_types::signal::Signal>()
                    .map(|_| ())
                    .map_err(|error| Error::new(error.to_string()).at_word(signal))
            }
            Command::User(word) | Command::Workdir(word) => self.word(word),
            Command::Volume(paths) => {
                for path in paths {
                    self.word(path)?;
                    if path.is_empty() {
                        return Err(Error::new("VOLUME specified can not be an empty string"));
                    }
                }
                Ok(())
            }
            Command::Arg(_)
            | Command::Cmd(_)
            | Command::Entrypoint(_)
            | Command::Healthcheck(_)
            | Command::Maintainer(_)
            | Command::Onbuild(_)
            | Command::Shell(_) => Ok(()),
        }
    }

    fn text(&mut self, text: &str) -> Result<String, Error> {
        let expansion = Lexer::new(self.escape).word(text, self.lookup)?;
        self.unmatched.extend(expansion.unmatched);
        Ok(expansion.text)
    }

    fn word(&mut self, word: &mut String) -> Result<(), Error> {
        *word = self.text(word)?;
        Ok(())
    }

    fn optional(&mut self, word: &mut Option<String>) -> Result<(), Error> {
        if let Some(text) = word {
            self.word(text)?;
        }
        if word.as_ref().is_some_and(String::is_empty) {
            *word = None;
        }
        Ok(())
    }

    fn pairs(&mut self, pairs: &mut [KeyValue]) -> Result<(), Error> {
        for pair in pairs {
            self.word(&mut pair.key)?;
            self.word(&mut pair.value)?;
        }
        Ok(())
    }

    fn sources(&mut self, sources: &mut Sources) -> Result<(), Error> {
        for path in &mut sources.paths {
            self.word(path)?;
        }
        self.word(&mut sources.destination)?;
        for file in sources.files.iter_mut().filter(|file| file.expand) {
            let expansion = expand_content(&file.content, self.lookup)?;
            self.unmatched.extend(expansion.unmatched);
            file.content = expansion.text;
        }
        Ok(())
    }

    /// A port word may expand to several.
    fn ports(&mut self, ports: &mut Vec<String>) -> Result<(), Error> {
        let mut expanded = Vec::new();
        for port in ports.iter() {
            expanded.extend(Lexer::new(self.escape).words(port, self.lookup)?);
        }
        *ports = expanded;
        Ok(())
    }

    fn mounts(&mut self, run: &mut Run) -> Result<(), Error> {
        let mut mounts = Vec::with_capacity(run.mount_flags.len());
        for flag in &run.mount_flags {
            mounts.push(flag.resolve(&mut |value| self.text(value))?);
        }
        run.mounts = mounts;
        Ok(())
    }
}

#[cfg(test)]
#[path = "expand_tests.rs"]
mod tests;
