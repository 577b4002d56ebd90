//! The output of replicas: a file each that the process itself appends to, bounded by us.
//!
//! The writer keeps its descriptor for life, so the file cannot be renamed away; it is copied to `.1` and cut to nothing.
//! Since the writer appends (O_APPEND), it goes on at the new end. What it writes between the last read of the copy and
//! the cut is lost: a line or two under heavy output, the price for needing nothing of the writer.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// How much of the end of a log is looked at for its last lines.
const TAIL_BYTES_MAX: u64 = 16 * 1024;
/// A longer line is cut.
const TAIL_LINE_CHARS_MAX: usize = 400;

/// Opens a log for a replica to append to.
pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// Moves the end of a log that has grown over `bytes_max` to `.1` and empties it. True: it did.
pub(super) fn bound(path: &Path, bytes_max: u64) -> io::Result<bool> {
    let mut log = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(log) => log,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    let len = log.metadata()?.len();
    if len <= bytes_max {
        return Ok(false);
    }
    log.seek(SeekFrom::Start(len - bytes_max))?;
    // The writer may go on meanwhile, faster than we read: the copy has a bound too.
    let copied = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o640)
        .open(older(path))
        .and_then(|mut copy| io::copy(&mut (&mut log).take(bytes_max.saturating_mul(2)), &mut copy));
    // Emptied even if the copy failed: a full disk is exactly when the log must not grow.
    log.set_len(0)?;
    copied.map(|_| true)
}

/// The last lines, oldest first.
pub(super) fn tail(path: &Path, lines_max: usize) -> Vec<String> {
    let read = |path: &Path| last_lines(path, lines_max).unwrap_or_default();
    let lines = read(path);
    if lines.is_empty() { read(&older(path)) } else { lines }
}

fn last_lines(path: &Path, lines_max: usize) -> io::Result<Vec<String>> {
    let mut log = File::open(path)?;
    let from = log.metadata()?.len().saturating_sub(TAIL_BYTES_MAX);
    log.seek(SeekFrom::Start(from))?;
    let mut end = Vec::new();
    log.take(TAIL_BYTES_MAX).read_to_end(&mut end)?;
    let text = String::from_utf8_lossy(&end);
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let skipped = lines.len().saturating_sub(lines_max);
    Ok(lines[skipped..].iter().map(|l| l.chars().take(TAIL_LINE_CHARS_MAX).collect()).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_log_is_bounded_and_its_writer_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a-1.log");
        assert!(!bound(&path, 100).unwrap(), "no log is no error");
        let mut writer = open(&path).unwrap();
        for i in 0..30 {
            writeln!(writer, "line {i:02}").unwrap();
        }
        assert!(!bound(&path, 1000).unwrap());
        assert!(bound(&path, 100).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
        assert_eq!(std::fs::metadata(older(&path)).unwrap().len(), 100, "the end of it is kept");
        assert_eq!(tail(&path, 2), ["line 28", "line 29"], "an empty log is continued in the older one");
        writeln!(writer, "after\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"after\n\n", "no hole where the old end was");
        assert_eq!(tail(&path, 5), ["after"]);
    }
}
