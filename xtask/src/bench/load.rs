//! The load generator: a closed loop over connections that stay open. It checks every answer, and reads the proxy's CPU
//! time itself, at the very edges of the window whose requests it counts.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, timeout};

use super::case::Case;
use super::sample::Sample;
use super::{cpu, http, runtime, upstream};

/// Enough for the largest answer in one read.
const BUFFER_BYTES: usize = 64 * 1024 + 1024;
/// Rest after a failure, so that a proxy that is down is not drowned.
const PAUSE: Duration = Duration::from_millis(10);
/// What takes longer counts as this long.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// No answer to one question of our own may take longer.
const ASK_MAX: Duration = Duration::from_secs(2);

#[derive(Args)]
pub(crate) struct Options {
    /// The proxy.
    #[arg(long)]
    target: SocketAddr,
    /// Its process, and the CPU it runs on.
    #[arg(long)]
    pid: u32,
    #[arg(long)]
    cpu: usize,
    /// The server behind it, asked for its counts.
    #[arg(long)]
    upstream: SocketAddr,
    #[arg(long, value_enum)]
    case: Case,
    #[arg(long)]
    connections: usize,
    #[arg(long)]
    warm_up_ms: u64,
    #[arg(long)]
    window_ms: u64,
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

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let sample = LocalSet::new().block_on(&runtime()?, window(options))?;
    println!("{}", sample.to_json());
    Ok(())
}

async fn window(options: &Options) -> anyhow::Result<Sample> {
    let seen = Rc::new(Seen {
        latency: RefCell::new(
            Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).map_err(|error| anyhow!("histogram: {error:?}"))?,
        ),
        errors: Cell::new(0),
        first_error: RefCell::default(),
    });
    let pids = cpu::tree(options.pid);
    let opened_first = opened(options.upstream).await?;
    let request: Rc<[u8]> = options.case.request().into();
    for _ in 0..options.connections {
        tokio::task::spawn_local(client(options.target, request.clone(), options.case, seen.clone()));
    }
    sleep(Duration::from_millis(options.warm_up_ms)).await;

    let opened_before = opened(options.upstream).await?;
    let busy_before = cpu::busy(options.cpu)?;
    let spent_before = cpu::of(&pids)?;
    let begun = Instant::now();
    seen.latency.borrow_mut().reset();
    sleep(Duration::from_millis(options.window_ms)).await;
    let latency = seen.latency.borrow().clone();
    let seconds = begun.elapsed().as_secs_f64();
    let spent = cpu::of(&pids)?.since(spent_before);
    let busy = cpu::busy(options.cpu)? - busy_before;
    let opened_after = opened(options.upstream).await?;

    let first_error = seen.first_error.borrow().clone();
    if latency.is_empty() {
        bail!("not one answer through {}: {first_error}", options.target);
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

/// How many connections the proxies have opened to the upstream until now.
async fn opened(upstream: SocketAddr) -> anyhow::Result<u64> {
    let counts = timeout(ASK_MAX, ask_once(upstream, upstream::COUNTS)).await?.map_err(|error| anyhow!(error))?;
    counts.split(' ').next().and_then(|n| n.parse().ok()).context("the upstream counts its connections")
}

/// Whether a proxy, or the upstream itself, answers.
pub(crate) async fn answers(target: SocketAddr) -> Result<(), String> {
    let asked = timeout(ASK_MAX, ask_once(target, Case::Get1k.path())).await;
    asked.map_err(|_| "no answer in time".to_owned())?.map(drop)
}
