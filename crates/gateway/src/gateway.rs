//! Binds every listener first, then runs one thread with its own runtime per worker.
//!
//! All workers listen on the same addresses with `SO_REUSEPORT` and the kernel spreads the connections: a connection
//! lives and dies on one core. Binding before running means that an address in use is an error before anything has
//! been started.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use mainstay_core::{Endpoints, EventBus, Shutdown};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::core::{Core, WorkerSeat};
use crate::handle::Handle;
use crate::net::TokioNet;
use crate::options::{Options, OptionsError};
use crate::snapshot::{Listener, ListenerId, Snapshot};
use crate::worker::Worker;

/// Connections that the kernel keeps for each worker until they are accepted.
const BACKLOG_LEN_MAX: i32 = 1024;

/// Why the data plane could not be set up. Nothing has been started then.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An option is wrong.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// An address could not be taken.
    #[error("{listener}: cannot listen on {addr}: {source}")]
    Listen {
        /// Which listener.
        listener: ListenerId,
        /// The address that was asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// The data plane, bound and not yet running.
pub struct Gateway {
    core: Arc<Core>,
    seats: Vec<WorkerSeat>,
    listeners: Vec<Vec<(ListenerId, TcpListener)>>,
}

impl Gateway {
    /// Takes every address. The error names the listener and the address that cannot be had.
    pub fn bind(
        options: Options,
        listeners: &[Listener],
        snapshot: Snapshot,
        endpoints: watch::Receiver<Endpoints>,
        bus: EventBus,
    ) -> Result<(Gateway, Handle), BindError> {
        let options = options.validated()?;
        let workers = options.workers;
        let mut bound: Vec<Vec<(ListenerId, TcpListener)>> = (0..workers).map(|_| Vec::new()).collect();
        let mut addresses = Vec::new();
        for listener in listeners {
            let fail = |addr, source| BindError::Listen { listener: listener.id.clone(), addr, source };
            // The first socket is bound alone, without SO_REUSEPORT on its side of the check: another Mainstay on
            // the same port must be an error and not a silent sharing of its traffic.
            let mut addr = listener.addr;
            probe_free(addr).map_err(|e| fail(addr, e))?;
            for worker in &mut bound {
                let socket = listen(addr).map_err(|e| fail(addr, e))?;
                addr = socket.local_addr().map_err(|e| fail(addr, e))?;
                worker.push((listener.id.clone(), socket));
            }
            addresses.push((listener.id.clone(), addr));
        }
        let (core, seats) = Core::new(options, addresses, snapshot, endpoints, bus);
        let handle = Handle::new(core.clone());
        Ok((Gateway { core, seats, listeners: bound }, handle))
    }

    /// Runs until `shutdown`, then until the requests in flight have ended or `drain_max` is over. Blocks the thread:
    /// call it from one of its own.
    pub fn run(self, shutdown: &Shutdown) -> io::Result<()> {
        let mut threads = Vec::new();
        for (seat, listeners) in self.seats.into_iter().zip(self.listeners) {
            let core = self.core.clone();
            let shutdown = shutdown.clone();
            let thread = thread::Builder::new().name(format!("gateway-{}", seat.index())).spawn(move || {
                // However a worker ends, the others end with it: one less would be a slow loss of service. The
                // process is started again.
                let _all_end = shutdown.clone().drop_guard();
                run_worker(core, seat, listeners, &shutdown)
            })?;
            threads.push(thread);
        }
        let mut result = Ok(());
        for thread in threads {
            let ended = thread.join().unwrap_or_else(|_| Err(io::Error::other("a worker of the data plane panicked")));
            if ended.is_err() {
                result = ended;
            }
        }
        result
    }
}

fn run_worker(
    core: Arc<Core>,
    seat: WorkerSeat,
    listeners: Vec<(ListenerId, TcpListener)>,
    shutdown: &Shutdown,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async {
        let listeners = listeners
            .into_iter()
            .map(|(id, socket)| Ok((id, tokio::net::TcpListener::from_std(socket)?)))
            .collect::<io::Result<Vec<_>>>()?;
        Worker::new(core, seat, TokioNet, listeners).run(shutdown.clone()).await;
        Ok(())
    })
}

fn probe_free(addr: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG_LEN_MAX)?;
    Ok(socket.into())
}
