//! Who waits for the next frame of a body that several read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// Copies that wait for the next frame: at most one waker for each copy there is.
#[derive(Default)]
pub(super) struct Waiting(Mutex<Vec<(u64, Waker)>>);

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Vec<(u64, Waker)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, id: u64, waker: &Waker) {
        let waker = waker.clone();
        let mut waiting = self.lock();
        let old = match waiting.iter_mut().find(|(other, _)| *other == id) {
            Some((_, old)) => Some(std::mem::replace(old, waker)),
            None => {
                waiting.push((id, waker));
                None
            }
        };
        drop(waiting);
        drop(old);
    }

    pub(super) fn remove(&self, id: u64) {
        let mut waiting = self.lock();
        let old = waiting.iter().position(|(other, _)| *other == id).map(|at| waiting.swap_remove(at));
        drop(waiting);
        drop(old);
    }

    pub(super) fn wake_others(&self, id: u64) {
        self.remove(id);
        self.wake_all();
    }

    pub(super) fn wake_all(&self) {
        let waiting = std::mem::take(&mut *self.lock());
        for (_, waker) in waiting {
            waker.wake();
        }
    }
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_all();
    }
}
