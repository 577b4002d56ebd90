//! What each policy is worth when something breaks: five kinds of trouble, each met by six stacks, in simulated time.
//!
//! `cargo run --release -p mainstay-policy --example outages` prints the table; `-- docs/policies` also writes a plot of
//! each trouble into that folder. The same seed gives the same numbers.
//!
//! Clients send 500 requests a second, come what may, and wait for one second. The server works on 40 requests at
//! once in 20 ms; with more, all get slower in proportion, and it does not notice that a client has gone. That is what
//! makes overload last: it works for nobody.
#![expect(clippy::print_stdout, reason = "an example is a program")]

use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use mainstay_policy::{BudgetSettings, Clock, Env, Mode, Plain, Policy, PolicySettings};
use tokio::time::{Instant, sleep, sleep_until};
use tower::{Layer, Service, ServiceExt};

const RATE_PER_S: u64 = 500;
const CAPACITY: f64 = 40.0;
const WORK: Duration = Duration::from_millis(20);
const SECONDS: usize = 40;
const TROUBLE: std::ops::Range<usize> = 10..20;

type Error = Box<dyn std::error::Error>;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    Outage,
    BrownOut,
    Slow,
    Flapping,
    Storm,
}

impl Trouble {
    const ALL: [Self; 5] = [Self::Outage, Self::BrownOut, Self::Slow, Self::Flapping, Self::Storm];

    fn title(self) -> &'static str {
        match self {
            Self::Outage => "total outage: everything fails",
            Self::BrownOut => "brown-out: 30 % fails",
            Self::Slow => "slow dependency: 25 times as slow",
            Self::Flapping => "flapping replica: half fails, every second second",
            Self::Storm => "overload: a fifth of the capacity",
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::Outage => "outage",
            Self::BrownOut => "brown-out",
            Self::Slow => "slow",
            Self::Flapping => "flapping",
            Self::Storm => "overload",
        }
    }
}

/// What protects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stack {
    Nothing,
    Naive,
    Budget,
    Breaker,
    Limits,
    Whole,
}

impl Stack {
    const ALL: [Self; 6] = [Self::Nothing, Self::Naive, Self::Budget, Self::Breaker, Self::Limits, Self::Whole];

    fn title(self) -> &'static str {
        match self {
            Self::Nothing => "timeouts only",
            Self::Naive => "3 retries, no budget",
            Self::Budget => "2 retries, budget",
            Self::Breaker => "the same and a breaker",
            Self::Limits => "the same and limits, no breaker",
            Self::Whole => "all of it",
        }
    }

    fn policy(self) -> Policy {
        Policy::standard().with(|settings| {
            let PolicySettings { timeout, retry, breaker, bulkhead, adaptive, .. } = settings;
            timeout.total = Duration::from_secs(1);
            timeout.per_try = Duration::from_millis(250);
            bulkhead.in_flight = 80;
            bulkhead.queue = 40;
            bulkhead.wait = Duration::from_millis(100);
            adaptive.mode = Mode::Enforce;
            adaptive.max = 200;
            if !matches!(self, Self::Breaker | Self::Whole) {
                breaker.mode = Mode::Off;
            }
            if !matches!(self, Self::Limits | Self::Whole) {
                (bulkhead.mode, adaptive.mode) = (Mode::Off, Mode::Off);
            }
            match self {
                Self::Nothing => retry.mode = Mode::Off,
                Self::Naive => (retry.attempts, retry.budget) = (3, BudgetSettings::UNLIMITED),
                _ => {}
            }
        })
    }
}

/// What was counted in each second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Series {
    good: Vec<u64>,
    at_server: Vec<u64>,
}

impl Series {
    fn sum(counts: &[u64], seconds: std::ops::Range<usize>) -> f64 {
        counts[seconds].iter().sum::<u64>() as f64
    }

    /// Calls at the server for each call of a client, while the trouble lasts.
    pub(crate) fn amplification(&self) -> f64 {
        Self::sum(&self.at_server, TROUBLE) / (RATE_PER_S as f64 * TROUBLE.len() as f64)
    }

    /// The share of the requests that are answered well and in time.
    fn goodput(&self, seconds: std::ops::Range<usize>) -> f64 {
        let asked = RATE_PER_S as f64 * seconds.len() as f64;
        100.0 * Self::sum(&self.good, seconds) / asked
    }
}

/// The server, and all that goes wrong with it.
#[derive(Clone)]
struct Server(Rc<World>);

struct World {
    trouble: Trouble,
    start: Instant,
    in_flight: Cell<u32>,
    rng: RefCell<fastrand::Rng>,
    at_server: RefCell<Vec<u64>>,
}

impl World {
    fn second(&self) -> usize {
        usize::try_from(self.start.elapsed().as_secs()).unwrap_or(usize::MAX)
    }

    /// How long a request that comes now takes, and whether it fails.
    fn fate(&self) -> (Duration, bool) {
        let now = self.second();
        let troubled = TROUBLE.contains(&now);
        let mut slower = 1.0;
        let mut capacity = CAPACITY;
        let mut failing = 0.0;
        match self.trouble {
            _ if !troubled => {}
            Trouble::Outage => failing = 1.0,
            Trouble::BrownOut => failing = 0.3,
            Trouble::Slow => slower = 25.0,
            Trouble::Flapping if now.is_multiple_of(2) => failing = 0.5,
            Trouble::Flapping => {}
            Trouble::Storm => capacity = CAPACITY / 5.0,
        }
        let crowd = (f64::from(self.in_flight.get()) / capacity).max(1.0);
        let mut rng = self.rng.borrow_mut();
        let fails = rng.f64() < failing;
        let work = WORK.mul_f64(slower * crowd * (0.8 + 0.4 * rng.f64()));
        // A failure comes quickly: nothing was done.
        (if fails { WORK / 10 } else { work }, fails)
    }
}

impl Service<u64> for Server {
    type Response = ();
    type Error = &'static str;
    type Future = Pin<Box<dyn Future<Output = Result<(), &'static str>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: u64) -> Self::Future {
        let world = self.0.clone();
        if let Some(count) = world.at_server.borrow_mut().get_mut(world.second()) {
            *count += 1;
        }
        world.in_flight.set(world.in_flight.get() + 1);
        let (work, fails) = world.fate();
        // A task of its own: the server goes on when the client has gone.
        let working = tokio::task::spawn_local(async move {
            sleep(work).await;
            world.in_flight.set(world.in_flight.get() - 1);
        });
        Box::pin(async move {
            let _ = working.await;
            if fails { Err("failed") } else { Ok(()) }
        })
    }
}

/// One trouble, met by one stack.
pub(crate) fn run(trouble: Trouble, stack: Stack, seed: u64) -> Result<Series, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let world = Rc::new(World {
            trouble,
            start: Instant::now(),
            in_flight: Cell::new(0),
            rng: RefCell::new(fastrand::Rng::with_seed(seed)),
            at_server: RefCell::new(vec![0; SECONDS]),
        });
        let env = Env::new("server").with_clock(Clock::tokio()).with_seed(seed);
        let layer = stack.policy().profiled_by(Plain::repeatable()).layer(&env)?;
        let service = layer.layer(Server(world.clone()));
        let good = Rc::new(RefCell::new(vec![0; SECONDS]));
        let mut last = None;
        for n in 0..RATE_PER_S * SECONDS as u64 {
            let begins = world.start + Duration::from_micros(n * 1_000_000 / RATE_PER_S);
            sleep_until(begins).await;
            let (service, good, world) = (service.clone(), good.clone(), world.clone());
            last = Some(tokio::task::spawn_local(async move {
                // Of the second in which it was asked, or answers to a burst would look like more than all.
                let asked = world.second();
                let answer = service.oneshot(n).await;
                if let (Ok(()), Some(count)) = (answer, good.borrow_mut().get_mut(asked)) {
                    *count += 1;
                }
            }));
        }
        if let Some(last) = last {
            last.await?;
        }
        let series = Series { good: good.borrow().clone(), at_server: world.at_server.borrow().clone() };
        Ok(series)
    })
}

const COLOURS: [&str; 6] = ["#888888", "#d1495b", "#d68c45", "#2e86ab", "#7b5ea7", "#3a9d5d"];

/// What a plot shows.
type Counts = fn(&Series) -> &Vec<u64>;

/// Two plots above each other: what the clients got, and what the server had to bear.
fn plot(trouble: Trouble, all: &[(Stack, Series)]) -> Result<String, std::fmt::Error> {
    let (width, height, left, gap) = (720.0, 150.0, 46.0, 46.0);
    let x = |second: f64| left + second / (SECONDS - 1) as f64 * (width - left - 10.0);
    let mut svg = String::new();
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 470" font-family="sans-serif" font-size="11">"#
    )?;
    writeln!(
        svg,
        "<style>text{{fill:#333}}.axis{{stroke:#999}}.bad{{fill:#d1495b;opacity:.08}}@media(prefers-color-scheme:dark){{text{{fill:#ddd}}}}</style>"
    )?;
    writeln!(svg, r#"<text x="{left}" y="16" font-size="13">{}</text>"#, trouble.title())?;
    let panels: [(&str, Counts); 2] =
        [("good answers a second", |s| &s.good), ("calls at the server a second", |s| &s.at_server)];
    for (n, (title, counts)) in panels.into_iter().enumerate() {
        let top = 44.0 + n as f64 * (height + gap);
        let most = all.iter().flat_map(|(_, series)| counts(series)).copied().max().unwrap_or(0).max(RATE_PER_S) as f64;
        let y = |count: f64| top + height - count / (most * 1.05) * height;
        let (from, to) = (x(TROUBLE.start as f64), x(TROUBLE.end as f64));
        writeln!(svg, r#"<rect class="bad" x="{from:.0}" y="{top}" width="{:.0}" height="{height}"/>"#, to - from)?;
        writeln!(svg, r#"<text x="{left}" y="{}">{title}</text>"#, top - 6.0)?;
        writeln!(svg, r#"<path class="axis" fill="none" d="M{left} {top}V{}H{}"/>"#, top + height, width - 10.0)?;
        for mark in [0.0, RATE_PER_S as f64, most] {
            writeln!(svg, r#"<text x="{}" y="{:.0}" text-anchor="end">{mark}</text>"#, left - 5.0, y(mark) + 4.0)?;
        }
        for ((_, series), colour) in all.iter().zip(COLOURS) {
            let points: Vec<_> = counts(series)
                .iter()
                .enumerate()
                .map(|(second, count)| format!("{:.0},{:.0}", x(second as f64), y(*count as f64)))
                .collect();
            writeln!(
                svg,
                r#"<polyline fill="none" stroke="{colour}" stroke-width="1.6" points="{}"/>"#,
                points.join(" ")
            )?;
        }
    }
    for (n, ((stack, _), colour)) in all.iter().zip(COLOURS).enumerate() {
        let (x, y) = (left + (n % 3) as f64 * 225.0, 430.0 + (n / 3) as f64 * 20.0);
        writeln!(svg, r#"<rect x="{x}" y="{}" width="14" height="4" fill="{colour}"/>"#, y - 6.0)?;
        writeln!(svg, r#"<text x="{}" y="{y}">{}</text>"#, x + 20.0, stack.title())?;
    }
    writeln!(svg, "</svg>")?;
    Ok(svg)
}

#[cfg_attr(test, expect(dead_code, reason = "tests ask for the table"))]
fn main() -> Result<(), Error> {
    table(std::env::args().nth(1).as_deref())
}

/// Prints all troubles and all stacks, and draws them into `folder` if there is one.
pub(crate) fn table(folder: Option<&str>) -> Result<(), Error> {
    println!("| trouble | stack | calls at the server for each | good while it lasts | good after |");
    println!("|---|---|---|---|---|");
    for trouble in Trouble::ALL {
        let mut all = Vec::new();
        for stack in Stack::ALL {
            let series = run(trouble, stack, 1)?;
            println!(
                "| {} | {} | {:.2} | {:.1} % | {:.1} % |",
                trouble.title(),
                stack.title(),
                series.amplification(),
                series.goodput(TROUBLE),
                series.goodput(TROUBLE.end..SECONDS - 1),
            );
            all.push((stack, series));
        }
        if let Some(folder) = folder {
            std::fs::write(format!("{folder}/{}.svg", trouble.file()), plot(trouble, &all)?)?;
        }
    }
    Ok(())
}
