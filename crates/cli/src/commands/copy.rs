//! `cp`

use std::io::IsTerminal as _;

use orlop_engine::{ContainerFiles, Copied, CopyDirection, CopyOptions};
use orlop_types::size::table_size;

use super::Session;
use crate::args::Copy;
use crate::failure::{Failure, Outcome};
use crate::progress::{Progress, Show};

/// The word for standard input or output.
const STREAM: &str = "-";

/// Carries a copy out.
pub fn copy(session: &mut Session<'_, '_>, args: &Copy) -> Outcome {
    let options = CopyOptions { follow_link: args.follow_link, archive: args.archive };
    match CopyDirection::parse(&args.source, &args.destination)? {
        CopyDirection::Out { container, source, destination } => {
            if destination == STREAM && std::io::stdout().is_terminal() {
                return Err(Failure::new("cowardly refusing to write an archive to a terminal")
                    .with_hint("redirect it into a file, or name a directory instead of `-`"));
            }
            let files = session.engine.container_files(&container)?;
            if destination == STREAM {
                return failed(files.copy_out_archive(&source, session.streams.out, options))
                    .map(|()| 0);
            }
            let progress = Progress::bytes("Copying from container", None, show(args));
            let count = |bytes| progress.add(bytes);
            let copied = failed(files.copy_out(&source, &destination, options, &count))?;
            drop(progress);
            tell(session, args, &copied, "")
        }
        CopyDirection::In { container, source, destination } => {
            let files = session.engine.container_files(&container)?;
            if source == STREAM {
                return from_stream(&files, &destination, options);
            }
            let progress = Progress::bytes("Copying to container", None, show(args));
            let count = |bytes| progress.add(bytes);
            let copied = failed(files.copy_in(&source, &destination, options, &count))?;
            drop(progress);
            tell(session, args, &copied, &format!("{container}:"))
        }
    }
}

fn from_stream(files: &ContainerFiles<'_>, destination: &str, options: CopyOptions) -> Outcome {
    if std::io::stdin().is_terminal() {
        return Err(Failure::new("cowardly refusing to read an archive from a terminal")
            .with_hint("pipe a tar archive into it, or name a file instead of `-`"));
    }
    failed(files.copy_in_archive(std::io::stdin(), destination, options)).map(|()| 0)
}

fn failed<T>(result: Result<T, orlop_engine::ContainerError>) -> Result<T, Failure> {
    Ok(result.map_err(orlop_engine::Error::from)?)
}

fn show(args: &Copy) -> Show {
    Show::unless(args.quiet == Some(true))
}

/// Docker's last line; unless asked for, only people at a terminal get it.
fn tell(session: &mut Session<'_, '_>, args: &Copy, copied: &Copied, container: &str) -> Outcome {
    if !args.quiet.unwrap_or(!std::io::stdout().is_terminal()) {
        let Copied { bytes, destination } = copied;
        let size = table_size(*bytes);
        writeln!(session.streams.err, "Successfully copied {size} to {container}{destination}")?;
    }
    Ok(0)
}
