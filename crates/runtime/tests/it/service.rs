//! A service for the supervisor's tests: HTTP on `$PORT`; files in `$FLAGS` say how it behaves.
//!
//! `/health` fails while `unready` or `unready-<replica>` is there, `/live` while `unlive` or `unlive-<replica>` is.
//! `/exit` ends it with status 3.
//!
//! `supervise DIR` is a Mainstay in small instead, to be killed: it runs four replicas of this very program.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use mainstay_core::{Clock, EventBus, Shutdown, SystemClock};
use mainstay_runtime::{NothingInFlight, Options, ProcessDriver, ProcessOptions, ServiceSpec, Supervisor};

fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if let [_, mode, dir] = &args[..]
        && mode == "supervise"
    {
        supervise(dir);
    }
    let port: u16 = std::env::var("PORT").expect("the driver sets PORT").parse().expect("a number");
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    let (exit, exited) = sync_channel(1);
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{} listens", std::env::var("MAINSTAY_REPLICA").unwrap_or_default());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let exit = exit.clone();
            std::thread::spawn(move || answer(&stream, &exit));
        }
    });
    let _ = exited.recv();
    std::process::ExitCode::from(3)
}

fn supervise(dir: &str) {
    let program = std::env::current_exe().expect("it runs").to_string_lossy().into_owned();
    let service = |name: &str, replicas, needs: &[&str]| ServiceSpec {
        replicas,
        needs: needs.iter().map(|n| n.parse().expect("a name")).collect(),
        ..ServiceSpec::new(name.parse().expect("a name"), vec![program.clone()], dir)
    };
    let specs = vec![service("order", 2, &["inventory"]), service("inventory", 1, &[]), service("payment", 1, &[])];
    let clock = Arc::new(SystemClock);
    let seed = clock.wall_ms().unsigned_abs();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let ran = runtime.block_on(async {
        let driver = ProcessDriver::new(ProcessOptions::new(dir, seed), clock.clone()).expect("the folder is usable");
        let options = Options { state_dir: dir.into(), seed };
        let bus = EventBus::new(clock.clone());
        let (supervisor, _handle) =
            Supervisor::new(options, specs, Arc::new(driver), Arc::new(NothingInFlight), bus, clock)
                .expect("good specs");
        supervisor.run(Shutdown::new()).await
    });
    ran.expect("it runs until it is killed");
}

fn flag(name: &str) -> bool {
    let dir = PathBuf::from(std::env::var("FLAGS").unwrap_or_default());
    let replica = std::env::var("MAINSTAY_REPLICA").unwrap_or_default();
    dir.join(name).exists() || dir.join(format!("{name}-{replica}")).exists()
}

fn answer(stream: &TcpStream, exit: &SyncSender<()>) {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    let _ = reader.read_line(&mut first);
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
        line.clear();
    }
    let bad = match first.split(' ').nth(1).unwrap_or_default() {
        "/health" => flag("unready"),
        "/live" => flag("unlive"),
        "/exit" => {
            let _ = exit.try_send(());
            return;
        }
        _ => false,
    };
    let status = if bad { "503 Service Unavailable" } else { "200 OK" };
    let mut stream = stream;
    let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}
