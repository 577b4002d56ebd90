//! `history.jsonl`: one line per thing a client did or saw, in the shape that Jepsen's and Elle's checkers read.
//!
//! Lines go through a bounded queue to one task, so that a slow disk slows the load instead of filling memory; the
//! report then says that the load was not held.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

/// Lines that wait for the disk at once.
pub const HISTORY_QUEUE_LEN_MAX: usize = 8192;

/// One line of the history.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) index: u64,
    pub(crate) process: u64,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) f: String,
    pub(crate) value: serde_json::Value,
    /// Nanoseconds since the start of the load.
    #[serde(serialize_with = "nanos")]
    pub(crate) time: Duration,
}

fn nanos<S: serde::Serializer>(time: &Duration, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u64(time.as_nanos() as u64)
}

/// The task that writes. Ends when every sender is gone.
pub(crate) struct HistoryWriter {
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl HistoryWriter {
    /// Creates the file, or replaces it.
    pub(crate) async fn create(path: &Path) -> std::io::Result<(mpsc::Sender<Line>, Self)> {
        if let Some(folder) = path.parent() {
            tokio::fs::create_dir_all(folder).await?;
        }
        let file = tokio::fs::File::create(path).await?;
        let (sender, mut lines) = mpsc::channel::<Line>(HISTORY_QUEUE_LEN_MAX);
        let task = tokio::spawn(async move {
            let mut file = tokio::io::BufWriter::new(file);
            let mut index = 0;
            while let Some(mut line) = lines.recv().await {
                line.index = index;
                index += 1;
                let mut text = serde_json::to_vec(&line).expect("a line has only text keys");
                text.push(b'\n');
                file.write_all(&text).await?;
            }
            file.flush().await
        });
        Ok((sender, Self { task }))
    }

    /// Waits until everything is on its way to the disk.
    pub(crate) async fn finish(self) -> std::io::Result<()> {
        self.task.await.unwrap_or_else(|e| Err(std::io::Error::other(e)))
    }
}
