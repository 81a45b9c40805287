//! `commit`, `diff`, `export`: what a container has written.

use orlop_engine::{ChangeKind, CommitRequest};

use super::Session;
use crate::args::{Commit, Diff, Export};
use crate::failure::{Failure, Outcome};
use crate::output_file;
use crate::progress::{Progress, Show};

/// `commit`
pub fn commit(session: &mut Session<'_, '_>, args: Commit) -> Outcome {
    let request = CommitRequest {
        reference: args.reference,
        author: args.author.unwrap_or_default(),
        message: args.message.unwrap_or_default(),
        changes: args.changes,
        keep_running: !args.pause,
        config: None,
    };
    let image = session.engine.container_commit(&args.name, request)?;
    session.streams.line(image.as_str())?;
    Ok(0)
}

/// `diff`
pub fn diff(session: &mut Session<'_, '_>, args: &Diff) -> Outcome {
    for change in session.engine.container_changes(&args.name)? {
        let letter = match change.kind {
            ChangeKind::Modified => b"C ",
            ChangeKind::Added => b"A ",
            ChangeKind::Deleted => b"D ",
        };
        // Names of files need not be text.
        session.streams.out.write_all(&[letter, change.path.as_slice(), b"\n"].concat())?;
    }
    Ok(0)
}

/// `export`
pub fn export(session: &mut Session<'_, '_>, args: &Export) -> Outcome {
    let path = args.output.as_deref();
    output_file::refuse_terminal(path)?;
    let engine = session.engine;
    // An unknown container makes no file.
    engine.inspect(&args.name, Some(orlop_engine::InspectKind::Container))?;
    let progress = Progress::bytes("Exporting", None, Show::Auto);
    let what = "failed to export container";
    let result = output_file::write(&mut session.streams, path, what, |file| {
        let mut output =
            std::io::BufWriter::with_capacity(1 << 20, Counted { file, progress: &progress });
        engine.container_export(&args.name, &mut output).map_err(Failure::from)?;
        std::io::Write::flush(&mut output)?;
        Ok(())
    });
    drop(progress);
    result.map(|()| 0)
}

/// A file that tells how much was written to it.
struct Counted<'a> {
    file: &'a mut std::fs::File,
    progress: &'a Progress,
}

impl std::io::Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let length = self.file.write(bytes)?;
        self.progress.add(length as u64);
        Ok(length)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}
