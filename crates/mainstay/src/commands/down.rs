//! `mainstay down`: an orderly stop, whether or not a Mainstay is there to do it.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use hyper::Method;
use serde_json::Value;

use crate::client::Client;
use crate::state::StateDir;
use crate::terminal::Terminal;

/// Longer than any orderly stop: drain, grace and KILL of every layer of services.
const STOP_MAX: Duration = Duration::from_secs(120);
/// From TERM to KILL for replicas that a killed Mainstay left.
const ORPHAN_GRACE: Duration = Duration::from_secs(10);
/// How often it is looked whether the process has gone.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(crate) async fn down(file: &Path, terminal: &Terminal) -> anyhow::Result<ExitCode> {
    let state = StateDir::beside(file);
    if !state.is_held() {
        return stop_orphans(&state, terminal).await;
    }
    Client::to(&state)?.send(Method::POST, "/v1/shutdown", &Value::Null).await?;
    let gone = async {
        while state.is_held() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    if tokio::time::timeout(STOP_MAX, gone).await.is_err() {
        bail!("Mainstay was told to stop and still runs after {STOP_MAX:?}; see {}", state.event_log().display());
    }
    terminal.say("stopped");
    Ok(ExitCode::SUCCESS)
}

/// A killed Mainstay leaves its replicas running on purpose; here they are stopped without starting it again.
async fn stop_orphans(state: &StateDir, terminal: &Terminal) -> anyhow::Result<ExitCode> {
    if !state.root().is_dir() {
        terminal.say("nothing is up here");
        return Ok(ExitCode::SUCCESS);
    }
    let _lock = state.lock().await?;
    let stopped = mainstay_runtime::stop_orphans(state.root(), ORPHAN_GRACE).await?;
    if stopped.is_empty() {
        terminal.say("nothing is up here");
    }
    for orphan in stopped {
        let who = orphan.replica.map_or_else(|| "a process of ours".to_owned(), |r| r.to_string());
        terminal.say(format!("{who} stopped (pid {}); no Mainstay was running", orphan.pid));
    }
    state.withdraw();
    Ok(ExitCode::SUCCESS)
}
