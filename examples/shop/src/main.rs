//! `shop order|inventory|payment`: runs one service until SIGTERM or Ctrl-C.

use std::process::ExitCode;

use mainstay_shop::{Config, Service};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
    let Some(service) = std::env::args().nth(1).and_then(|name| Service::from_name(&name)) else {
        tracing::error!("usage: shop order|inventory|payment");
        return ExitCode::from(2);
    };
    let mut term = match signal(SignalKind::terminate()) {
        Ok(term) => term,
        Err(error) => {
            tracing::error!(%error, "SIGTERM cannot be listened for");
            return ExitCode::FAILURE;
        }
    };
    let shutdown = async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    let outcome = match Config::from_env(service) {
        Ok(config) => mainstay_shop::run(config, shutdown).await,
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
