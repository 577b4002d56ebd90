//! The floor: a proxy that knows no HTTP. What it costs is the kernel's part, which every proxy pays.

use std::net::SocketAddr;

use clap::Args;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use super::runtime;

/// Enough for the largest answer in one read.
const BUFFER_BYTES: usize = 64 * 1024 + 512;

#[derive(Args)]
pub(crate) struct Options {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    upstream: SocketAddr,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let upstream = options.upstream;
    LocalSet::new().block_on(&runtime()?, async {
        let listener = TcpListener::bind(options.listen).await?;
        loop {
            let (mut client, _) = listener.accept().await?;
            tokio::task::spawn_local(async move {
                let mut server = TcpStream::connect(upstream).await?;
                client.set_nodelay(true)?;
                server.set_nodelay(true)?;
                copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER_BYTES, BUFFER_BYTES).await
            });
        }
    })
}
