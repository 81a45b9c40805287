//! A bounded queue between a task of the runtime that gets bytes and a thread that reads them.

use std::fmt;
use std::future::Future;
use std::io::{self, Read};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

use crate::error::{Error, Result};
use crate::runtime::runtime;

/// Pieces that wait for the reader; each is what one read of a socket gave (at most 400 kB).
const QUEUE: usize = 16;

enum Piece {
    Bytes(Bytes),
    End,
    Failed(Error),
}

/// The task's side.
pub(crate) struct PieceSender(mpsc::Sender<Piece>);

impl PieceSender {
    /// Hands bytes over; waits while the reader is behind.
    pub(crate) async fn send(&self, bytes: Bytes) -> Result<()> {
        // The reader was dropped: nobody wants the rest.
        self.0.send(Piece::Bytes(bytes)).await.map_err(|_| Error::Cancelled)
    }
}

/// The reader's side. Its end is reached only when the task said that all is well.
pub(crate) struct PieceReader {
    pieces: mpsc::Receiver<Piece>,
    current: Bytes,
    ended: bool,
}

impl fmt::Debug for PieceReader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PieceReader").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl PieceReader {
    /// Starts the task that sends the bytes.
    pub(crate) fn fill<F>(task: impl FnOnce(PieceSender) -> F) -> Result<Self>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let (sender, pieces) = mpsc::channel(QUEUE);
        let filling = task(PieceSender(sender.clone()));
        runtime()?.spawn(async move {
            let end = match filling.await {
                Ok(()) => Piece::End,
                Err(error) => Piece::Failed(error),
            };
            // Nobody may be left to hear it.
            let _ = sender.send(end).await;
        });
        Ok(Self { pieces, current: Bytes::new(), ended: false })
    }
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.current.is_empty() {
            if self.ended {
                return Ok(0);
            }
            match self.pieces.blocking_recv() {
                Some(Piece::Bytes(bytes)) => self.current = bytes,
                Some(Piece::End) => self.ended = true,
                Some(Piece::Failed(error)) => return Err(error.into()),
                // Also what every read after a failure gets.
                None => return Err(io::Error::other("the transfer has ended")),
            }
        }
        let count = buffer.len().min(self.current.len());
        self.current.copy_to_slice(buffer.get_mut(..count).unwrap_or_default());
        Ok(count)
    }
}
