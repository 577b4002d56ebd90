//! Three toy services. Each keeps what it has in one ledger that survives its crashes, applies an effect once per
//! idempotency key, and keeps the barrier rule: an undo that comes first blocks the late action.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;
use turmoil::net::{TcpListener, TcpStream};

use crate::host::{EDGE_PORT, MAINSTAY};
use crate::http::{self, Message};
use crate::world::World;

/// Where a replica listens.
pub(crate) const PORT: u16 = 8000;
/// The most that the limited card pays.
const CARD_LIMIT: i64 = 900;

/// What one order has in one service.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entry {
    /// What is taken for it now.
    pub(crate) taken: i64,
    /// How often something was taken.
    pub(crate) applied: u32,
    /// Undone, or never to be done.
    pub(crate) barred: bool,
    /// Sold, or confirmed: there is no way back.
    pub(crate) settled: bool,
    /// Undone after it was settled.
    pub(crate) both: bool,
}

/// The database of one service.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) initial: i64,
    /// Stock on the shelf, money on the cards.
    pub(crate) free: i64,
    pub(crate) entries: BTreeMap<String, Entry>,
    /// Actions that were answered from memory.
    pub(crate) replayed: u64,
    barrier: bool,
    answers: BTreeMap<String, (u16, &'static str)>,
}

impl Ledger {
    pub(crate) fn new(initial: i64, barrier: bool) -> Self {
        Self { initial, free: initial, entries: BTreeMap::new(), replayed: 0, barrier, answers: BTreeMap::new() }
    }

    fn act(&mut self, key: &str, order: &str, amount: i64, refused: bool) -> (u16, &'static str) {
        if let Some(answer) = self.answers.get(key) {
            self.replayed += 1;
            return *answer;
        }
        let entry = self.entries.entry(order.to_owned()).or_default();
        let answer = if entry.barred && self.barrier {
            (409, "undone before")
        } else if refused || amount > self.free {
            (409, "not enough")
        } else {
            self.free -= amount;
            entry.taken += amount;
            entry.applied += 1;
            (201, "applied")
        };
        self.answers.insert(key.to_owned(), answer);
        answer
    }

    fn undo(&mut self, order: &str) -> (u16, &'static str) {
        let entry = self.entries.entry(order.to_owned()).or_default();
        self.free += std::mem::take(&mut entry.taken);
        entry.both |= entry.settled;
        entry.barred = true;
        (200, "undone")
    }

    fn settle(&mut self, order: &str) -> (u16, &'static str) {
        match self.entries.get_mut(order) {
            Some(entry) if entry.applied > 0 => {
                entry.both |= entry.barred;
                entry.settled = true;
                (200, "settled")
            }
            _ => (404, "unknown order"),
        }
    }
}

/// One replica: `order-1`.
pub(crate) struct Replica {
    pub(crate) name: String,
    pub(crate) service: &'static str,
    pub(crate) world: Rc<World>,
    pub(crate) rng: RefCell<fastrand::Rng>,
}

/// What a replica does wrong while the faults are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quirk {
    None,
    /// Says 500 although it did it.
    Garbled,
    /// Asks for a pause.
    Busy,
    /// Says that it still works on it.
    InProgress,
    /// Does it and never answers.
    Hangs,
}

impl Replica {
    pub(crate) async fn serve(self: Rc<Self>) -> turmoil::Result {
        let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            let replica = self.clone();
            tokio::task::spawn_local(async move {
                // A broken connection is the business of whoever called.
                let _ = replica.connection(stream).await;
            });
        }
    }

    async fn connection(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut buf = Vec::new();
        while let Some(request) = http::read(&mut stream, &mut buf).await? {
            let (status, body) = self.answer(&request).await;
            let pause = if status == 503 { "retry-after: 1\r\n" } else { "" };
            let length = body.len();
            let answer = format!("HTTP/1.1 {status} X\r\n{pause}content-length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await?;
        }
        Ok(())
    }

    async fn answer(&self, request: &Message) -> (u16, String) {
        self.work().await;
        let quirk = self.quirk();
        match quirk {
            Quirk::Busy => return (503, String::new()),
            Quirk::InProgress => return (425, String::new()),
            _ => {}
        }
        let (status, text) = match request.word(0) {
            "GET" => self.read(request.word(1)).await,
            method => self.write(method, request),
        };
        // A crash in here is an effect without an answer.
        self.work().await;
        match quirk {
            Quirk::Garbled => (500, String::new()),
            Quirk::Hangs => std::future::pending().await,
            _ => (status, json!({ "why": text }).to_string()),
        }
    }

    fn write(&self, method: &str, request: &Message) -> (u16, &'static str) {
        let input: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let order = input["order_id"].as_str().unwrap_or_default();
        let key = request.header("idempotency-key").unwrap_or_default();
        let path = request.word(1);
        let mut ledger = self.world.ledgers[self.service].borrow_mut();
        let number = |name: &str| input[name].as_i64().unwrap_or_default();
        let (status, what) = match (self.service, method) {
            _ if path.ends_with("/cancel") || path == "/refunds" || method == "DELETE" => ledger.undo(order),
            _ if path.ends_with("/sale") || path.ends_with("/confirm") => ledger.settle(order),
            ("inventory", _) => ledger.act(key, order, number("quantity"), false),
            ("payment", _) => {
                let amount = number("amount_cents");
                ledger.act(key, order, amount, input["card"] == "limited" && amount > CARD_LIMIT)
            }
            _ => ledger.act(key, order, 0, false),
        };
        self.world.note(&self.name, format_args!("{method} {path} {order} [{key}] -> {status} {what}"));
        (status, what)
    }

    /// The catalogue of order asks inventory, by its edge.
    async fn read(&self, path: &str) -> (u16, &'static str) {
        if !path.starts_with("/catalog/") {
            return (200, "in stock");
        }
        match http::call((MAINSTAY, EDGE_PORT), "GET", "/stock/tea", "", Duration::from_secs(1)).await {
            Ok(answer) if answer.status() == 200 => (200, "to be had"),
            _ => (502, "inventory does not answer"),
        }
    }

    async fn work(&self) {
        let ms = self.rng.borrow_mut().u64(0..15);
        sleep(Duration::from_millis(ms)).await;
        while self.world.frozen.borrow().contains(&self.name) {
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn quirk(&self) -> Quirk {
        if !self.world.hurting.get() {
            return Quirk::None;
        }
        match self.rng.borrow_mut().u8(0..100) {
            0..4 => Quirk::Garbled,
            4..6 => Quirk::Busy,
            6..8 => Quirk::InProgress,
            8..10 => Quirk::Hangs,
            _ => Quirk::None,
        }
    }
}
