//! Buffers that are lent while bytes are on their way and given back when a connection rests, so that ten thousand
//! idle connections hold none.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

/// Size of a buffer for what clients send.
pub(crate) const CLIENT_BUF_BYTES: usize = 16 * 1024;
/// Size of a buffer for what upstreams send.
pub(crate) const UPSTREAM_BUF_BYTES: usize = 64 * 1024;
/// Spare buffers of each size that a worker keeps.
const SPARE_MAX: usize = 64;
/// A head buffer that grew beyond this is not kept.
const SCRATCH_BYTES_MAX: usize = 16 * 1024;

/// Bytes read and not yet used. Empty ones own no memory.
#[derive(Default)]
pub(crate) struct Buf {
    data: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buf {
    pub(crate) fn from_vec(data: Vec<u8>) -> Self {
        let end = data.len();
        Self { data, start: 0, end }
    }

    pub(crate) fn unread(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(crate) fn consume(&mut self, n: usize) {
        self.start += n;
        debug_assert!(self.start <= self.end, "only what was read can be used");
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Room behind the unread bytes, after moving them to the front if there is none.
    pub(crate) fn has_space(&mut self) -> bool {
        if self.end == self.data.len() && self.start > 0 {
            self.data.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.len());
        }
        self.end < self.data.len()
    }

    /// Makes the buffer at least twice as large.
    pub(crate) fn grow(&mut self) {
        let len = (self.data.len() * 2).max(CLIENT_BUF_BYTES);
        self.data.resize(len, 0);
    }

    /// Reads into the free room; `Ok(0)` is the end of the stream. There must be room.
    pub(crate) fn poll_read(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(&mut self.data[self.end..]);
        debug_assert!(room.remaining() > 0, "a read into nothing looks like the end of the stream");
        match Pin::new(stream).poll_read(cx, &mut room) {
            Poll::Ready(Ok(())) => {
                let n = room.filled().len();
                self.end += n;
                Poll::Ready(Ok(n))
            }
            Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// The spare buffers of one worker.
#[derive(Default)]
pub(crate) struct Buffers {
    client: RefCell<Vec<Vec<u8>>>,
    upstream: RefCell<Vec<Vec<u8>>>,
    scratch: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    /// Gives `buf` memory, if it has none.
    pub(crate) fn lend_client(&self, buf: &mut Buf) {
        lend(&self.client, buf, CLIENT_BUF_BYTES);
    }

    /// Gives `buf` memory, if it has none.
    pub(crate) fn lend_upstream(&self, buf: &mut Buf) {
        lend(&self.upstream, buf, UPSTREAM_BUF_BYTES);
    }

    /// Takes the memory of `buf` back, if nothing is in it.
    pub(crate) fn take_back(&self, buf: &mut Buf) {
        if buf.is_empty() && !buf.data.is_empty() {
            let data = std::mem::take(buf).data;
            match data.len() {
                CLIENT_BUF_BYTES => keep(&self.client, data),
                UPSTREAM_BUF_BYTES => keep(&self.upstream, data),
                _ => {}
            }
        }
    }

    /// An empty vector for a head.
    pub(crate) fn scratch(&self) -> Vec<u8> {
        self.scratch.borrow_mut().pop().unwrap_or_default()
    }

    /// Gives a vector of [`Self::scratch`] back.
    pub(crate) fn give_scratch(&self, mut data: Vec<u8>) {
        if data.capacity() <= SCRATCH_BYTES_MAX && data.capacity() > 0 {
            data.clear();
            keep(&self.scratch, data);
        }
    }
}

fn lend(spare: &RefCell<Vec<Vec<u8>>>, buf: &mut Buf, len: usize) {
    if buf.data.is_empty() {
        buf.data = spare.borrow_mut().pop().unwrap_or_else(|| vec![0; len]);
    }
}

fn keep(spare: &RefCell<Vec<Vec<u8>>>, data: Vec<u8>) {
    let mut spare = spare.borrow_mut();
    if spare.len() < SPARE_MAX {
        spare.push(data);
    }
}
