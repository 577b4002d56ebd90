//! The verbs that only look: ps, events.

use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use futures_util::StreamExt;
use http_body_util::BodyStream;
use hyper::Method;
use mainstay_core::{Event, Severity};
use serde_json::Value;

use crate::cli::Events;
use crate::client::Client;
use crate::state::StateDir;
use crate::terminal::Terminal;

/// Longest line of the event stream that is taken.
const LINE_BYTES_MAX: usize = 1 << 20;

pub(crate) async fn ps(file: &Path, terminal: &Terminal) -> anyhow::Result<ExitCode> {
    let client = Client::to(&StateDir::beside(file))?;
    let status: Value = client.get("/v1/status").await?;
    if terminal.json {
        terminal.say_json(&status)?;
        return Ok(ExitCode::SUCCESS);
    }
    let text = |value: &Value| match value {
        Value::String(s) => s.clone(),
        Value::Null => "-".into(),
        other => other.to_string(),
    };
    let mut rows = vec![["REPLICA", "STATE", "PID", "ADDRESS", "RESTARTS", "NOTE"].map(String::from)];
    for service in status["services"].as_array().into_iter().flatten() {
        for replica in service["replicas"].as_array().into_iter().flatten() {
            let note = if replica["frozen"] == true { "frozen by a drill".into() } else { text(&replica["message"]) };
            let cell = |name: &str| text(&replica[name]);
            rows.push([cell("id"), cell("state"), cell("pid"), cell("addr"), cell("restarts"), note]);
        }
    }
    for line in table(&rows) {
        terminal.say(line);
    }
    Ok(ExitCode::SUCCESS)
}

/// Columns as wide as their widest cell.
fn table<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

pub(crate) async fn events(args: &Events, terminal: &Terminal) -> anyhow::Result<ExitCode> {
    let state = StateDir::beside(&args.file.file);
    let past: Vec<Event> = match Client::to(&state) {
        Ok(client) => client.get(&format!("/v1/events?format=json&limit={}", args.limit)).await?,
        // What a Mainstay saw that is no more can still be read.
        Err(_) if !args.follow && state.event_log().exists() => last_of_log(&state, args.limit)?,
        Err(error) => return Err(error),
    };
    let mut last = 0;
    for event in &past {
        last = event.seq;
        show(event, terminal)?;
    }
    if args.follow {
        follow(&Client::to(&state)?, last, terminal).await?;
    }
    Ok(ExitCode::SUCCESS)
}

fn last_of_log(state: &StateDir, limit: usize) -> anyhow::Result<Vec<Event>> {
    let text = std::fs::read_to_string(state.event_log())?;
    let events: Vec<Event> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    Ok(events[events.len().saturating_sub(limit)..].to_vec())
}

/// Prints events as they come; an end of the stream is an end of Mainstay.
async fn follow(client: &Client, since: u64, terminal: &Terminal) -> anyhow::Result<()> {
    let mut lines = event_lines(client, since).await?;
    loop {
        tokio::select! {
            event = lines.next() => match event {
                Some(event) => show(&event, terminal)?,
                None => bail!("Mainstay has ended"),
            },
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

/// The stream of `/v1/events` as events.
pub(crate) async fn event_lines(
    client: &Client,
    since: u64,
) -> anyhow::Result<impl futures_util::Stream<Item = Event> + Unpin + use<>> {
    let response = client.open(Method::GET, &format!("/v1/events?since={since}"), None).await?;
    let frames = BodyStream::new(response.into_body());
    let events = futures_util::stream::unfold((frames, Vec::<u8>::new()), |(mut frames, mut held)| async move {
        loop {
            if let Some(end) = held.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = held.drain(..=end).collect();
                let event = line.strip_prefix(b"data:").and_then(|json| serde_json::from_slice(json).ok());
                match event {
                    Some(event) => return Some((event, (frames, held))),
                    None => continue,
                }
            }
            if held.len() > LINE_BYTES_MAX {
                return None;
            }
            let data = frames.next().await?.ok()?.into_data().ok()?;
            held.extend_from_slice(&data);
        }
    });
    Ok(Box::pin(events))
}

fn show(event: &Event, terminal: &Terminal) -> anyhow::Result<()> {
    if terminal.json {
        terminal.say(serde_json::to_string(event)?);
        return Ok(());
    }
    let hue = match event.kind.severity() {
        Severity::Info => "0",
        Severity::Warn => "33",
        Severity::Error => "31",
    };
    let text = if terminal.colour { format!("\x1b[{hue}m{}\x1b[0m", event.kind) } else { event.kind.to_string() };
    terminal.say(format!("{}  {text}", time_of_day(event.at)));
    Ok(())
}

/// Hours, minutes, seconds and milliseconds, UTC.
pub(crate) fn time_of_day(wall_ms: i64) -> String {
    let ms = wall_ms.rem_euclid(86_400_000);
    format!("{:02}:{:02}:{:02}.{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["A".to_owned(), "B".to_owned()], ["long".to_owned(), "x".to_owned()]];
        assert_eq!(table(&rows), ["A     B", "long  x"]);
    }

    #[test]
    fn the_time_of_day() {
        assert_eq!(time_of_day(1_700_000_000_123), "22:13:20.123");
    }
}
