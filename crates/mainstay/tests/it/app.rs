//! An app in a folder of its own, run by the real binary, and ended whatever happens.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, MutexGuard};

use crate::http;

/// Longer than anything takes that will happen at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// These tests start many processes and measure nothing: one at a time they do not starve each other.
pub(crate) async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// Waits until `probe` says something, or fails with what was waited for.
pub(crate) async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain: {what}"))
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The real binary with `args`, in `dir`.
pub(crate) async fn mainstay(dir: &Path, args: &[&str]) -> Output {
    command(dir, args).output().await.unwrap()
}

pub(crate) fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    command.args(args).current_dir(dir).stdin(Stdio::null()).env("NO_COLOR", "1").env_remove("MAINSTAY_FILE");
    command
}

/// Both outputs, for looking into.
pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A folder with a file in it.
pub(crate) struct Folder {
    dir: tempfile::TempDir,
    pub(crate) ingress: SocketAddr,
    pub(crate) console: SocketAddr,
}

impl Folder {
    /// `body` is the file without `app` and `listen`; `@SHOP@` in it becomes the command of the shop's services.
    pub(crate) fn new(body: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [ingress, console] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let folder = Self { dir, ingress, console };
        folder.write(body);
        folder
    }

    /// Replaces the file.
    pub(crate) fn write(&self, body: &str) {
        let shop = format!("{} shop", env!("CARGO_BIN_EXE_mainstay"));
        let data = self.path().join("data").display().to_string();
        let body = body.replace("@SHOP@", &shop).replace("@DATA@", &data);
        let head = format!("app: test\nlisten: {{ ingress: \"{}\", console: \"{}\" }}\n", self.ingress, self.console);
        std::fs::write(self.path().join("mainstay.yaml"), head + &body).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path().join(".mainstay")
    }

    /// `mainstay up`, as a child.
    pub(crate) fn up(&self) -> Up<'_> {
        Up { folder: self, child: self.spawn() }
    }

    fn spawn(&self) -> Child {
        let log = std::fs::File::create(self.path().join("up.log")).unwrap();
        command(self.path(), &["up"]).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    }

    /// What `up` said.
    pub(crate) fn up_said(&self) -> String {
        std::fs::read_to_string(self.path().join("up.log")).unwrap_or_default()
    }

    pub(crate) async fn status(&self) -> Option<Value> {
        http::get(self.console, "/v1/status").await.ok().map(|a| a.json())
    }

    /// (replica, pid) of every running replica, as the records on disk have it.
    pub(crate) fn pids(&self) -> Vec<(String, i32)> {
        let records = std::fs::read_dir(self.state().join("run/replicas")).into_iter().flatten().flatten();
        let mut pids: Vec<_> = records
            .filter_map(|entry| {
                let record: Value = serde_json::from_slice(&std::fs::read(entry.path()).ok()?).ok()?;
                Some((entry.path().file_stem()?.to_str()?.to_owned(), record["pid"].as_i64()? as i32))
            })
            .collect();
        pids.sort();
        pids
    }
}

impl Drop for Folder {
    /// Whatever a failed test left running was started by it: its replicas are ended by their ids.
    fn drop(&mut self) {
        for (_, pid) in self.pids() {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

/// A running `mainstay up`.
pub(crate) struct Up<'a> {
    folder: &'a Folder,
    child: Child,
}

impl Up<'_> {
    /// Waits until every replica takes traffic.
    pub(crate) async fn ready(&mut self) -> Value {
        until(&format!("everything ready; up said: {}", self.folder.up_said()), async || {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("`up` ended ({status}): {}", self.folder.up_said());
            }
            let status = self.folder.status().await?;
            let services = status["services"].as_array()?.clone();
            services.iter().all(|s| s["ready"] == s["wanted"]).then_some(status)
        })
        .await
    }

    /// SIGKILL; the replicas stay.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGKILL, and the next one as soon as it is gone: what an init system does.
    pub(crate) async fn kill_and_start(&mut self) {
        self.child.kill().await.unwrap();
        self.child = self.folder.spawn();
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().unwrap() as i32
    }

    /// Asks for an orderly stop.
    pub(crate) fn terminate(&self) {
        let pid = rustix::process::Pid::from_raw(self.pid()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// TERM and the orderly stop that follows.
    pub(crate) async fn stop(mut self) {
        self.terminate();
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("an orderly stop ends").unwrap();
        assert!(status.success(), "{status}: {}", self.folder.up_said());
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(mut self) -> (Option<i32>, String) {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends by itself").unwrap();
        (status.code(), self.folder.up_said())
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        let _ = self.child.start_kill();
    }
}

/// Whether a process is there and no zombie.
pub(crate) fn alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// The shop, with two replicas of each service and the routes of a checkout.
pub(crate) const SHOP: &str = r#"
services:
  inventory: { run: "@SHOP@ inventory", replicas: 2, env: &env { SHOP_DATA: "@DATA@" }, policy: quick, probes: &probes { ready: { http: /health, every: 300ms, timeout: 1s }, live: { http: /live, every: 500ms, timeout: 1s, fail_after: 5 } } }
  payment: { run: "@SHOP@ payment", replicas: 2, env: *env, policy: quick, probes: *probes }
  order: { run: "@SHOP@ order", needs: [inventory, payment], replicas: 2, env: *env, policy: quick, probes: *probes }
policies:
  quick: { timeout: 4s, per_try: 1s }
routes:
  - { match: "POST /checkout", transaction: checkout }
  - { match: "/orders/*", to: order }
  - { match: "GET /catalog/*", to: order }
  - { match: "GET /stock/*", to: inventory }
  - { match: "POST /reservations", to: inventory }
transactions:
  checkout:
    kind: saga
    key: $.order_id
    deadline: 20s
    steps:
      - { name: place, call: "POST order/orders", undo: "POST order/orders/{key}/cancel" }
      - { name: reserve, call: "POST inventory/reservations", undo: "DELETE inventory/reservations/{key}" }
      - { name: charge, call: "POST payment/charges", undo: "POST payment/refunds", pivot: true }
      - { name: sell, call: "POST inventory/reservations/{key}/sale" }
      - { name: confirm, call: "POST order/orders/{key}/confirm" }
invariants:
  no_lost_order: { every: acked, ends_in: [completed, compensated], in: "order/audit" }
  no_double_charge: { at_most_once: "payment/charges" }
  no_double_reservation: { at_most_once: "inventory/reservations" }
  stock_conserved: { http: "GET inventory/audit", equals: { $.totals.initial: "$.totals.available + $.totals.reserved + $.totals.sold" } }
  money_conserved: { http: "GET payment/audit", equals: { $.totals.charged: "$.totals.captured + $.totals.refunded" } }
  no_oversell: { http: "GET inventory/audit", at_least: { $.totals.min_available: 0 } }
  all_terminal: { terminal_within: 40s }
"#;

/// The body of a checkout that goes through.
pub(crate) fn order(id: &str) -> String {
    format!(r#"{{"order_id":"{id}","sku":"tea","quantity":1,"card":"visa-1","amount_cents":700}}"#)
}
