//! A shop of three services, each with its own database: what any team could have written, with nothing of Mainstay's.
//!
//! What it brings to a fault-tolerant whole is only what a participant must bring itself, because nobody else can:
//! - every forward effect is deduplicated by `Idempotency-Key`, in the same local transaction as the effect;
//! - every effect can be undone by order id, and an undo that comes before its action blocks the action (`ledger`);
//! - what it acknowledged is on the disk (`database`);
//! - it says whether it can work (`/health`), whether it lives (`/live`), and what it has done (`/audit`).

mod config;
mod database;
mod inventory;
mod ledger;
mod order;
mod payment;
mod peer;
mod web;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;

pub use config::{Config, ConfigError, Service};
pub use database::DatabaseError;

/// How long requests in flight may take after the shutdown signal.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// Why a service could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its environment is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its database cannot be opened.
    #[error("the database {path} cannot be opened: {source}")]
    Database {
        /// Which file.
        path: std::path::PathBuf,
        /// What SQLite or the file system said.
        source: DatabaseError,
    },
    /// Its port cannot be had, or the listener broke.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// Runs one service until `shutdown` completes and what is in flight is answered.
pub async fn run(config: Config, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), Error> {
    let addr = SocketAddr::from(([127, 0, 0, 1], config.port));
    let listener = TcpListener::bind(addr).await.map_err(|source| Error::Listen { addr, source })?;
    serve(config, listener, shutdown).await
}

/// As [`run`], on a listener that is already bound; `config.port` is not looked at.
pub async fn serve(
    config: Config,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let router = match config.service {
        Service::Order => order::router(&config).await,
        Service::Inventory => inventory::router(&config).await,
        Service::Payment => payment::router(&config).await,
    }
    .map_err(|(path, source)| Error::Database { path, source })?;
    let addr = listener.local_addr().map_err(|source| Error::Listen { addr: ([127, 0, 0, 1], 0).into(), source })?;
    tracing::info!(service = config.service.name(), %addr, "listening");

    let (stopping, stopped) = tokio::sync::oneshot::channel();
    let server = axum::serve(listener, router).with_graceful_shutdown(async move {
        shutdown.await;
        // An error only says that the server ended first.
        let _ = stopping.send(());
    });
    let overdue = async {
        // Never sent: the server ended by itself, and there is nothing to be late for.
        if stopped.await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(DRAIN_MAX).await;
    };
    tokio::select! {
        result = IntoFuture::into_future(server) => result.map_err(|source| Error::Listen { addr, source })?,
        () = overdue => tracing::warn!("some requests were still in flight after {DRAIN_MAX:?}"),
    }
    tracing::info!(service = config.service.name(), "stopped");
    Ok(())
}
