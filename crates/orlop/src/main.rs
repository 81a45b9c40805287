//! The `orlop` program: picks the face.
//!
//! * `orlop VERB …`: the command line (`orlop-cli`).
//! * `orlop … monitor`, `… reap`, `… container-ended ID` (hidden): what the engine starts in the
//!   background ([`background`]).

mod background;
mod network;

use std::ffi::OsString;
use std::process::ExitCode;

use background::Background;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match Background::recognise(&arguments) {
        Some(background) => background.run(),
        None => ExitCode::from(u8::try_from(orlop_cli::run(arguments)).unwrap_or(1)),
    }
}
