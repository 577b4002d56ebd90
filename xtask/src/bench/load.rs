//! The load generator: a closed loop over connections that stay open. It checks every answer, and reads the proxy's CPU
//! time itself, at the very edges of the window whose requests it counts.
//!
//! It runs in the process of the upstream, takes its orders by HTTP as well, and so costs one wake-up where two
//! processes on one CPU would cost many: the busier the proxy can be kept, the less the figures depend on the load.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::ValueEnum;
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::case::Case;
use super::sample::Sample;
use super::{cpu, http};

/// Enough for the largest answer in one read.
const BUFFER_BYTES: usize = 64 * 1024 + 1024;
/// Rest after a failure, so that a proxy that is down is not drowned.
const PAUSE: Duration = Duration::from_millis(10);
/// What takes longer counts as this long.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// No answer to one question of our own may take longer.
const ASK_MAX: Duration = Duration::from_secs(2);

/// What an order may take beyond its own length, on a machine that has other things to do.
const ORDER_MARGIN: Duration = Duration::from_secs(10);
/// Where orders are sent to.
pub(crate) const MEASURE: &str = "/measure?";

/// One window of load.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Order {
    /// The proxy.
    pub(crate) target: SocketAddr,
    /// Its process, and the CPU it runs on.
    pub(crate) pid: u32,
    pub(crate) cpu: usize,
    pub(crate) case: Case,
    pub(crate) connections: usize,
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
}

impl Order {
    /// As it is sent.
    pub(crate) fn path(&self) -> String {
        let Self { target, pid, cpu, case, connections, warm_up, window } = self;
        let (case, warm_up, window) = (case.name(), warm_up.as_millis(), window.as_millis());
        format!("{MEASURE}{target}&{pid}&{cpu}&{case}&{connections}&{warm_up}&{window}")
    }

    pub(crate) fn read(path: &str) -> Option<Self> {
        let mut words = path.strip_prefix(MEASURE)?.split('&');
        let order = Self {
            target: words.next()?.parse().ok()?,
            pid: words.next()?.parse().ok()?,
            cpu: words.next()?.parse().ok()?,
            case: Case::from_str(words.next()?, false).ok()?,
            connections: words.next()?.parse().ok()?,
            warm_up: Duration::from_millis(words.next()?.parse().ok()?),
            window: Duration::from_millis(words.next()?.parse().ok()?),
        };
        words.next().is_none().then_some(order)
    }
}

struct Seen {
    latency: RefCell<Histogram<u64>>,
    errors: Cell<u64>,
    first_error: RefCell<String>,
}

impl Seen {
    fn failed(&self, error: String) {
        self.errors.set(self.errors.get() + 1);
        let mut first = self.first_error.borrow_mut();
        if first.is_empty() {
            *first = error;
        }
    }
}

/// Carries out an order. `opened`: how many connections the proxies have opened to the upstream until now.
pub(crate) async fn window(order: &Order, opened: impl Fn() -> u64) -> anyhow::Result<Sample> {
    let histogram = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3);
    let seen = Rc::new(Seen {
        latency: RefCell::new(histogram.map_err(|error| anyhow!("histogram: {error:?}"))?),
        errors: Cell::new(0),
        first_error: RefCell::default(),
    });
    let pids = cpu::tree(order.pid);
    let opened_first = opened();
    let request: Rc<[u8]> = order.case.request().into();
    let mut clients = JoinSet::new();
    for _ in 0..order.connections {
        clients.spawn_local(client(order.target, request.clone(), order.case, seen.clone()));
    }
    sleep(order.warm_up).await;

    let opened_before = opened();
    let busy_before = cpu::busy(order.cpu)?;
    let spent_before = cpu::of(&pids)?;
    let begun = Instant::now();
    seen.latency.borrow_mut().reset();
    sleep(order.window).await;
    let latency = seen.latency.borrow().clone();
    let seconds = begun.elapsed().as_secs_f64();
    let spent = cpu::of(&pids)?.since(spent_before);
    let busy = cpu::busy(order.cpu)? - busy_before;
    let opened_after = opened();
    clients.shutdown().await;

    let first_error = seen.first_error.borrow().clone();
    if latency.is_empty() {
        bail!("not one answer through {}: {first_error}", order.target);
    }
    let requests = float(latency.len());
    Ok(Sample {
        requests,
        seconds,
        cpu_us: spent.total() * 1e6 / requests,
        user_us: spent.user * 1e6 / requests,
        p50_us: float(latency.value_at_quantile(0.5)) / 1e3,
        p99_us: float(latency.value_at_quantile(0.99)) / 1e3,
        busy: spent.total() / seconds,
        foreign: (busy - spent.total()).max(0.0) / seconds,
        errors: float(seen.errors.get()),
        first_error,
        opened: float(opened_after - opened_before),
        opened_before: float(opened_before - opened_first),
    })
}

#[expect(clippy::cast_precision_loss, reason = "counts and nanoseconds of seconds are far below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

async fn client(target: SocketAddr, request: Rc<[u8]>, case: Case, seen: Rc<Seen>) {
    loop {
        let Err(error) = ask_forever(target, &request, case.answer_bytes(), &seen).await;
        seen.failed(error);
        sleep(PAUSE).await;
    }
}

async fn ask_forever(
    target: SocketAddr,
    request: &[u8],
    answer_bytes: usize,
    seen: &Seen,
) -> Result<std::convert::Infallible, String> {
    let mut stream = connect(target).await?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut begun = Instant::now();
    loop {
        ask(&mut stream, request, &mut buffer, Some(answer_bytes)).await?;
        let ended = Instant::now();
        let nanos = u64::try_from((ended - begun).as_nanos()).unwrap_or(u64::MAX);
        seen.latency.borrow_mut().saturating_record(nanos);
        begun = ended;
    }
}

async fn connect(target: SocketAddr) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(target).await.map_err(|error| format!("connect: {error}"))?;
    stream.set_nodelay(true).map_err(|error| format!("connect: {error}"))?;
    Ok(stream)
}

/// Sends one request and reads its whole answer. The body is left in the buffer only where it came with its head.
async fn ask(
    stream: &mut TcpStream,
    request: &[u8],
    buffer: &mut [u8],
    answer_bytes: Option<usize>,
) -> Result<std::ops::Range<usize>, String> {
    stream.write_all(request).await.map_err(|error| format!("write: {error}"))?;
    let mut filled = 0;
    let (body, length) = loop {
        filled += read(stream, &mut buffer[filled..]).await?;
        if let Some(head) = http::head(&buffer[..filled])? {
            let length = answer_bytes.or(head.content_length).unwrap_or(0);
            break (http::accepted(&head, length)?, length);
        }
    };
    let mut missing = (body + length).checked_sub(filled).ok_or("more than the whole answer")?;
    while missing > 0 {
        let got = read(stream, buffer).await?;
        missing = missing.checked_sub(got).ok_or("more than the whole answer")?;
    }
    Ok(body..(body + length).min(filled))
}

async fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<usize, String> {
    match stream.read(buffer).await {
        Ok(0) => Err("closed in the middle".to_owned()),
        Ok(read) => Ok(read),
        Err(error) => Err(format!("read: {error}")),
    }
}

async fn ask_once(target: SocketAddr, path: &str) -> Result<String, String> {
    let mut stream = connect(target).await?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let request = format!("GET {path} HTTP/1.1\r\nhost: bench.local\r\n\r\n");
    let body = ask(&mut stream, request.as_bytes(), &mut buffer, None).await?;
    Ok(String::from_utf8_lossy(&buffer[body]).into_owned())
}

/// Sends an order, and waits for what it showed.
pub(crate) async fn order(upstream: SocketAddr, order: &Order) -> anyhow::Result<String> {
    let (path, longest) = (order.path(), order.warm_up + order.window + ORDER_MARGIN);
    timeout(longest, ask_once(upstream, &path)).await?.map_err(|error| anyhow!(error))
}

/// Whether a proxy, or the upstream itself, answers.
pub(crate) async fn answers(target: SocketAddr) -> Result<(), String> {
    let asked = timeout(ASK_MAX, ask_once(target, Case::Get1k.path())).await;
    asked.map_err(|_| "no answer in time".to_owned())?.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_arrives_as_it_was_sent() {
        let order = Order {
            target: SocketAddr::from(([127, 0, 0, 1], 8080)),
            pid: 12,
            cpu: 1,
            case: Case::Post4k,
            connections: 64,
            warm_up: Duration::from_millis(400),
            window: Duration::from_secs(2),
        };
        assert_eq!(Order::read(&order.path()), Some(order));
        assert_eq!(Order::read("/measure?127.0.0.1:80&1"), None);
    }
}
