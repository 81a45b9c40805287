//! The grammar of Dockerfiles and of `.dockerignore` files.
//!
//! Pure functions from text to values: no I/O, no variable of the process, so every rule of the
//! Dockerfile reference can be tested by itself. The rules, and the texts of what is wrong, are
//! BuildKit's (`docs/design` says why the line splitting is our own).
//!
//! The way of a Dockerfile through this crate:
//! [`parse`] → [`Dockerfile`] with its [`Stage`]s and [`Instruction`]s, all values unexpanded →
//! [`resolve_globals`] for the `ARG`s above the first `FROM` → per instruction
//! [`Instruction::expanded`] with the environment of its moment → [`StageLints`] for what the build
//! checks have to say about it. [`Ignore`] is `.dockerignore` and `--exclude`; [`glob`] matches
//! sources.

mod directive;
mod error;
mod expand;
mod expose;
mod flag;
pub mod glob;
mod globals;
mod heredoc;
mod ignore;
mod instruction;
mod json;
mod line;
mod lint;
mod mount;
mod parse;
mod quote;
mod shell;
mod stage_lints;
mod suggest;
mod word;

pub use directive::{Directives, detect_syntax};
pub use error::{Error, excerpt};
pub use expand::Expanded;
pub use expose::expose_ports;
pub use globals::{from_lints, resolve_globals};
pub use ignore::{Above, Ignore};
pub use instruction::{
    Add, ArgDefinition, Command, CommandLine, Copy, Healthcheck, Heredoc, InlineFile, Instruction,
    KeyValue, Lines, Run, RunDevice, RunNetwork, RunSecurity, Script, Source, Sources,
};
pub use lint::{Checks, Lint, Rule};
pub use mount::{Mount, MountFlag, MountType, Sharing, csv_fields};
pub use parse::{Dockerfile, GlobalArg, Stage, parse, parse_instruction};
pub use quote::go_quoted;
pub use shell::{Expansion, Lookup, expand, expand_content, expand_with_names, expand_words};
pub use stage_lints::StageLints;
