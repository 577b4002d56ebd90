//! The server behind the proxies: fixed answers, and a count of the connections by which they were asked.
//!
//! A proxy that opens a connection per request would be slow for a reason that is not its own, so the count is shown.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use super::case::{Case, RECEIPT, UPLOAD_BYTES};
use super::load::{self, Order};
use super::{http, runtime};

/// Room for one request: a head, and the upload.
const BUFFER_BYTES: usize = 16 * 1024;

#[derive(Args)]
pub(crate) struct Options {
    #[arg(long)]
    listen: SocketAddr,
}

struct State {
    small: Vec<u8>,
    large: Vec<u8>,
    receipt: Vec<u8>,
    connections: Cell<u64>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let state = Rc::new(State {
        small: answer("200 OK", &vec![b'x'; Case::Get1k.answer_bytes()]),
        large: answer("200 OK", &vec![b'x'; Case::Get64k.answer_bytes()]),
        receipt: answer("200 OK", RECEIPT),
        connections: Cell::new(0),
    });
    let tasks = LocalSet::new();
    tasks.block_on(&runtime()?, async {
        let listener = TcpListener::bind(options.listen).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let state = state.clone();
            // A proxy that goes away is no news here: the load generator counts what failed.
            tokio::task::spawn_local(async move { drop(serve(stream, &state).await) });
        }
    })
}

fn answer(status: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

async fn measured(order: &Order, state: &State) -> Vec<u8> {
    match load::window(order, || state.connections.get()).await {
        Ok(sample) => answer("200 OK", sample.to_json().to_string().as_bytes()),
        Err(error) => answer(&format!("500 {error:#}"), b""),
    }
}

async fn serve(mut stream: TcpStream, state: &State) -> Result<(), String> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut filled = 0;
    let mut counted = false;
    loop {
        let ask = http::head(&buffer[..filled])?.map(|head| {
            let body = head.content_length.unwrap_or(0);
            (head.line.split(' ').nth(1).unwrap_or_default().to_owned(), body, head.end + body)
        });
        let Some((path, body, end)) = ask.filter(|(_, _, end)| *end <= filled) else {
            let read = stream.read(&mut buffer[filled..]).await.map_err(|error| error.to_string())?;
            if read == 0 {
                return Ok(());
            }
            filled += read;
            continue;
        };
        if !counted && !path.starts_with(load::MEASURE) {
            counted = true;
            state.connections.set(state.connections.get() + 1);
        }
        let own;
        let bytes = match path.as_str() {
            "/1k" => &state.small,
            "/64k" => &state.large,
            "/upload" if body == UPLOAD_BYTES => &state.receipt,
            path => {
                own = match Order::read(path) {
                    Some(order) => measured(&order, state).await,
                    None => answer("400 Bad Request", path.as_bytes()),
                };
                &own
            }
        };
        stream.write_all(bytes).await.map_err(|error| error.to_string())?;
        buffer.copy_within(end..filled, 0);
        filled -= end;
    }
}
