//! Clients: they want orders, ask again with the same key until they know, or lose patience; and they look at the
//! catalogue. After the faults one more waits until the services answer again and no transaction is open.

use std::rc::Rc;
use std::time::Duration;

use mainstay_txn::Journal as _;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::host::{MAINSTAY, PORT};
use crate::http;
use crate::world::{Told, Wanted, World};

/// Orders of one client.
const ORDERS: u64 = 30;
/// How long one try may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Good answers in a row that count as healed.
const ANSWERS_IN_A_ROW: u32 = 10;

/// Wants orders, spread over `span`, and ends when it knows what became of each.
pub(crate) async fn shopper(world: Rc<World>, name: String, span: Duration, mut rng: fastrand::Rng) -> turmoil::Result {
    let mut tasks = JoinSet::new();
    let gap_ms_max = 2 * span.as_millis() as u64 / ORDERS;
    for i in 0..ORDERS {
        sleep(Duration::from_millis(rng.u64(0..gap_ms_max))).await;
        let wanted = Wanted {
            id: format!("{name}-{i}"),
            quantity: rng.i64(1..=3),
            amount: rng.i64(500..=1500),
            card: if rng.u8(0..4) == 0 { "limited" } else { "good" },
        };
        world.wanted.borrow_mut().insert(wanted.id.clone(), wanted.clone());
        // Some click twice.
        for _ in 0..=u8::from(rng.u8(0..8) == 0) {
            tasks.spawn_local(order(world.clone(), name.clone(), wanted.clone(), rng.fork()));
        }
        tasks.spawn_local(look(world.clone(), name.clone()));
    }
    while let Some(done) = tasks.join_next().await {
        done?;
    }
    Ok(())
}

async fn order(world: Rc<World>, name: String, wanted: Wanted, mut rng: fastrand::Rng) {
    let Wanted { id, quantity, amount, card } = wanted;
    let body = json!({ "order_id": id, "quantity": quantity, "amount_cents": amount, "card": card }).to_string();
    let impatient = rng.u8(0..6) == 0;
    loop {
        world.note(&name, format_args!("POST /checkout {body}"));
        let answer = http::call((MAINSTAY, PORT), "POST", "/checkout", &body, PATIENCE).await;
        let status = answer.as_ref().map(http::Message::status);
        world.note(&name, format_args!("{id} -> {status:?}"));
        let told = match &answer {
            // An answer of the gateway itself says nothing about the order.
            Ok(answer) if answer.header("mainstay-reason").is_some() => None,
            Ok(answer) => match answer.status() {
                200 => Some(Told::Committed),
                409 => Some(Told::RolledBack),
                202 => Some(Told::Accepted),
                _ => None,
            },
            Err(_) => None,
        };
        match told {
            Some(told) => {
                world.told.borrow_mut().entry(id.clone()).or_default().insert(told);
            }
            None => world.unanswered.set(world.unanswered.get() + 1),
        }
        if impatient || matches!(told, Some(Told::Committed | Told::RolledBack)) {
            return;
        }
        sleep(Duration::from_millis(rng.u64(50..1000))).await;
    }
}

async fn look(world: Rc<World>, name: String) -> () {
    let status = catalogue().await;
    world.note(&name, format_args!("GET /catalog/tea -> {status:?}"));
}

async fn catalogue() -> std::io::Result<u16> {
    let answer = http::call((MAINSTAY, PORT), "GET", "/catalog/tea", "", PATIENCE).await?;
    Ok(answer.status())
}

/// Ends when everything is well again.
pub(crate) async fn watcher(world: Rc<World>) -> turmoil::Result {
    let mut in_a_row = 0;
    while world.hurting.get() || in_a_row < ANSWERS_IN_A_ROW || !world.journal.open(1, None).await?.rows.is_empty() {
        sleep(Duration::from_millis(200)).await;
        if !world.hurting.get() {
            let status = catalogue().await;
            world.note("watcher", format_args!("GET /catalog/tea -> {status:?}"));
            in_a_row = if matches!(status, Ok(200)) { in_a_row + 1 } else { 0 };
        }
    }
    world.note("watcher", "all is well");
    Ok(())
}
