//! Events on disk, one JSON object a line, so that what a killed Mainstay saw can still be read.
//!
//! Two segments: when the current one is full it becomes `.1` and a new one begins, so the log is bounded.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mainstay_core::{Event, EventBus, Shutdown};
use tokio::sync::broadcast::error::RecvError;

/// A segment of the event log.
const SEGMENT_BYTES_MAX: u64 = 8 << 20;

/// The event log cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("event log {path}: {source}")]
pub struct LogError {
    path: PathBuf,
    source: io::Error,
}

/// Writes events until it is told to stop.
pub struct EventLog {
    path: PathBuf,
    file: File,
    written: u64,
}

impl EventLog {
    /// Opens the log for appending.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let wrong = |source| LogError { path: path.to_owned(), source };
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(wrong)?;
        let written = file.metadata().map_err(wrong)?.len();
        Ok(Self { path: path.to_owned(), file, written })
    }

    /// Follows the bus until `shutdown`; what was published before is written too.
    pub async fn run(mut self, bus: EventBus, shutdown: Shutdown) -> Result<(), LogError> {
        let (past, mut live) = bus.subscribe_since(0);
        for event in past {
            self.write(&event)?;
        }
        loop {
            tokio::select! {
                biased;
                event = live.recv() => match event {
                    Ok(event) => self.write(&event)?,
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return Ok(()),
                },
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }

    fn write(&mut self, event: &Arc<Event>) -> Result<(), LogError> {
        self.try_write(event).map_err(|source| LogError { path: self.path.clone(), source })
    }

    fn try_write(&mut self, event: &Event) -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        if self.written + line.len() as u64 > SEGMENT_BYTES_MAX {
            std::fs::rename(&self.path, self.path.with_extension("jsonl.1"))?;
            self.file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            self.written = 0;
        }
        self.file.write_all(&line)?;
        self.written += line.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_core::{EventKind, SystemClock};

    #[tokio::test]
    async fn events_are_written_and_the_log_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let bus = EventBus::new(Arc::new(SystemClock));
        bus.publish(EventKind::Started { app: "shop".into(), adopted: 2 });
        let mut log = EventLog::open(&path).unwrap();
        log.written = SEGMENT_BYTES_MAX - 10;
        let shutdown = Shutdown::new();
        shutdown.cancel();
        log.run(bus, shutdown).await.unwrap();
        let line = std::fs::read_to_string(&path).unwrap();
        assert!(line.contains(r#""kind":"started","app":"shop","adopted":2"#), "{line}");
        assert!(dir.path().join("events.jsonl.1").exists(), "the full segment was set aside");
    }
}
