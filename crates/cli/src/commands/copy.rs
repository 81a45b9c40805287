//! `cp`

use std::io::IsTerminal;

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
            if destination == STREAM {
                let hint = "redirect it into a file, or name a directory instead of `-`";
                refuse_terminal(&std::io::stdout(), "write an archive to a terminal", hint)?;
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
    let hint = "pipe a tar archive into it, or name a file instead of `-`";
    refuse_terminal(&std::io::stdin(), "read an archive from a terminal", hint)?;
    failed(files.copy_in_archive(std::io::stdin(), destination, options)).map(|()| 0)
}

/// Archives are for files and programs.
fn refuse_terminal(stream: &impl IsTerminal, what: &str, hint: &str) -> Result<(), Failure> {
    match stream.is_terminal() {
        true => Err(Failure::new(format!("cowardly refusing to {what}")).with_hint(hint)),
        false => Ok(()),
    }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_not_for_a_terminal() {
        let open = |path: &str| std::fs::File::options().read(true).write(true).open(path).unwrap();
        assert_eq!(refuse_terminal(&open("/dev/null"), "write", "no"), Ok(()));
        let refused = refuse_terminal(&open("/dev/ptmx"), "write it to a terminal", "redirect it");
        let refused = refused.unwrap_err();
        assert_eq!(refused.why, "cowardly refusing to write it to a terminal");
        assert_eq!(refused.hint.as_deref(), Some("redirect it"));
    }
}
