//! The instructions of a Dockerfile as values: what was written, parsed but not yet expanded.
//!
//! Every value still holds its variables; [`crate::Instruction::expanded`] gives the same
//! instruction with the variables of one moment of the build put in.

use crate::mount::{Mount, MountFlag};

/// The lines of a Dockerfile that something was written on, counted from 1, both included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lines {
    /// The first line.
    pub first: usize,
    /// The last line, not before the first.
    pub last: usize,
}

impl Lines {
    /// One single line.
    #[must_use]
    pub fn one(line: usize) -> Self {
        Self { first: line, last: line }
    }
}

/// Where and how something was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The name of the instruction as written: `RUN`, `run`, `Run`.
    pub name: String,
    /// The whole instruction as BuildKit shows it: its lines joined, without comments and
    /// here-documents.
    pub text: String,
    /// Its lines, here-documents included.
    pub lines: Lines,
    /// The comment lines directly above it, without `#`.
    pub comments: Vec<String>,
}

/// One instruction of a stage and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Where and how it was written.
    pub source: Source,
    /// What it says.
    pub command: Command,
}

/// What an instruction says. `FROM` is not here: it begins a [`crate::Stage`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `ADD [flags] source… destination`.
    Add(Add),
    /// `ARG name[=default]…`.
    Arg(Vec<ArgDefinition>),
    /// `CMD …`.
    Cmd(CommandLine),
    /// `COPY [flags] source… destination`.
    Copy(Copy),
    /// `ENTRYPOINT …`.
    Entrypoint(CommandLine),
    /// `ENV key=value…`.
    Env(Vec<KeyValue>),
    /// `EXPOSE port[/protocol]…` as words; [`crate::expose_ports`] reads them once expanded.
    Expose(Vec<String>),
    /// `HEALTHCHECK …`.
    Healthcheck(Healthcheck),
    /// `LABEL key=value…`.
    Label(Vec<KeyValue>),
    /// `MAINTAINER name`.
    Maintainer(String),
    /// `ONBUILD instruction`: the text to store in the image, here-documents included;
    /// [`crate::parse_instruction`] reads it when it is triggered.
    Onbuild(String),
    /// `RUN …`.
    Run(Run),
    /// `SHELL ["…", …]`.
    Shell(Vec<String>),
    /// `STOPSIGNAL signal`.
    Stopsignal(String),
    /// `USER user[:group]`.
    User(String),
    /// `VOLUME path…`.
    Volume(Vec<String>),
    /// `WORKDIR path`.
    Workdir(String),
}

impl Command {
    /// The instruction's name in capitals.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Add(_) => "ADD",
            Self::Arg(_) => "ARG",
            Self::Cmd(_) => "CMD",
            Self::Copy(_) => "COPY",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Env(_) => "ENV",
            Self::Expose(_) => "EXPOSE",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::Label(_) => "LABEL",
            Self::Maintainer(_) => "MAINTAINER",
            Self::Onbuild(_) => "ONBUILD",
            Self::Run(_) => "RUN",
            Self::Shell(_) => "SHELL",
            Self::Stopsignal(_) => "STOPSIGNAL",
            Self::User(_) => "USER",
            Self::Volume(_) => "VOLUME",
            Self::Workdir(_) => "WORKDIR",
        }
    }
}

/// One name of `ARG`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgDefinition {
    /// The name.
    pub name: String,
    /// The default, unexpanded; `None` without `=`.
    pub default: Option<String>,
    /// The description out of a comment `# NAME text` above it.
    pub description: Option<String>,
}

/// One pair of `ENV` or `LABEL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// Whether the pair was written as `key value`, without `=`.
    pub legacy: bool,
}

/// A command in shell form or in exec form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandLine {
    /// Text for the shell of the stage.
    Shell(String),
    /// The words of a program and its arguments; may be empty (`CMD []`).
    Exec(Vec<String>),
}

/// One here-document of an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it, without quotes.
    pub name: String,
    /// The text between, with all its line ends and, for `<<-`, still with its leading tabs.
    pub content: String,
    /// Whether variables in it are expanded: the word was not quoted.
    pub expand: bool,
    /// Whether leading tabs are dropped: `<<-`.
    pub chomp: bool,
    /// The number before `<<`, 0 without one.
    pub descriptor: u64,
}

impl Heredoc {
    /// The text with leading tabs dropped where `<<-` asks for it.
    #[must_use]
    pub fn text(&self) -> String {
        if self.chomp { crate::heredoc::chomp(&self.content) } else { self.content.clone() }
    }
}

/// A file of `COPY <<name` or `ADD <<name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InlineFile {
    /// Its name below the destination.
    pub name: String,
    /// Its content.
    pub content: String,
    /// Whether the content is expanded.
    pub expand: bool,
}

/// What `COPY` and `ADD` copy and where to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Paths, patterns, and for `ADD` also URLs.
    pub paths: Vec<String>,
    /// Files that stand in the Dockerfile itself.
    pub files: Vec<InlineFile>,
    /// The last word.
    pub destination: String,
}

/// `COPY`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copy {
    /// What and where to.
    pub sources: Sources,
    /// `--from`: a stage, its index, an image or a named context; variables are not allowed here.
    pub from: Option<String>,
    /// `--chown`.
    pub chown: Option<String>,
    /// `--chmod`, not yet checked.
    pub chmod: Option<String>,
    /// `--link`.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude`, in the order given.
    pub exclude: Vec<String>,
}

/// `ADD`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Add {
    /// What and where to.
    pub sources: Sources,
    /// `--chown`.
    pub chown: Option<String>,
    /// `--chmod`, not yet checked.
    pub chmod: Option<String>,
    /// `--link`.
    pub link: bool,
    /// `--exclude`, in the order given.
    pub exclude: Vec<String>,
    /// `--keep-git-dir`, where it was given.
    pub keep_git_dir: Option<bool>,
    /// `--checksum`.
    pub checksum: Option<String>,
    /// `--unpack`, where it was given.
    pub unpack: Option<bool>,
}

/// `RUN --network`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunNetwork {
    /// The network of the build.
    #[default]
    Default,
    /// Loopback only.
    None,
    /// The host's.
    Host,
}

/// `RUN --security`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunSecurity {
    /// As any container.
    #[default]
    Sandbox,
    /// Without limits.
    Insecure,
}

/// `RUN --device`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunDevice {
    /// The name of the device (CDI).
    pub name: String,
    /// Whether the build fails without it.
    pub required: bool,
}

/// `RUN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The command; never expanded here, the shell does that.
    pub line: CommandLine,
    /// The here-documents of the line, in order. [`Run::script`] says how they are run.
    pub heredocs: Vec<Heredoc>,
    /// The `--mount` flags as written, with what is known of them before expansion.
    pub mount_flags: Vec<MountFlag>,
    /// The mounts; empty until the instruction is expanded.
    pub mounts: Vec<Mount>,
    /// `--network`.
    pub network: RunNetwork,
    /// `--security`.
    pub security: RunSecurity,
    /// `--device`.
    pub devices: Vec<RunDevice>,
}

/// What `RUN` runs once its here-documents have been looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Script {
    /// One text for the shell.
    Shell(String),
    /// A program and its arguments.
    Exec(Vec<String>),
    /// A here-document that begins with `#!`: an executable file `/dev/pipes/NAME`.
    File {
        /// The file's name.
        name: String,
        /// The file's content.
        content: String,
    },
}

/// `HEALTHCHECK`. Durations are nanoseconds, 0 where not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healthcheck {
    /// As in the image's config: `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", text]`.
    pub test: Vec<String>,
    /// `--interval`.
    pub interval_ns: i64,
    /// `--timeout`.
    pub timeout_ns: i64,
    /// `--start-period`.
    pub start_period_ns: i64,
    /// `--start-interval`.
    pub start_interval_ns: i64,
    /// `--retries`.
    pub retries: i32,
}
