//! The gate under every interleaving that two or three threads can have.

use std::sync::Arc;
use std::task::{Poll, Wake, Waker};

use loom::thread;

use super::gate::{Gate, Joined, Rule};
use super::queue::Queue;
use crate::sync::{AtomicU32, Ordering};
use crate::{Clock, Moment};

/// Room that can change.
struct Room(AtomicU32);

impl Rule for Room {
    type Call = ();

    fn room(&self, _call: ()) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn places(&self) -> u32 {
        4
    }

    fn first(&self, queue: &Queue<()>, _now: Moment) -> Option<u32> {
        queue.oldest()
    }

    fn worse(&self, _queue: &Queue<()>, _call: (), _now: Moment) -> Option<u32> {
        None
    }
}

fn gate() -> Arc<Gate<Room>> {
    Arc::new(Gate::new(Room(AtomicU32::new(1)), Clock::manual().0))
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits as a task does. A wake-up that is lost is a deadlock, which loom reports.
fn pass(gate: &Gate<Room>) {
    if gate.enter(1).is_ok() {
        return;
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let Joined::Waits(slot) = gate.join((), waker.clone()) else { return };
    loop {
        match gate.poll(slot, waker.clone()) {
            Poll::Ready(goes) => return assert!(goes),
            Poll::Pending => thread::park(),
        }
    }
}

fn assert_empty(gate: &Gate<Room>) {
    assert_eq!((gate.in_flight(), gate.waiting()), (0, 0));
}

#[test]
fn never_two_inside_and_no_wake_up_lost() {
    loom::model(|| {
        let (gate, inside) = (gate(), Arc::new(AtomicU32::new(0)));
        let run = {
            let (gate, inside) = (gate.clone(), inside.clone());
            move || {
                pass(&gate);
                assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
                inside.fetch_sub(1, Ordering::Relaxed);
                gate.leave();
            }
        };
        let other = thread::spawn(run.clone());
        run();
        other.join().unwrap();
        assert_empty(&gate);
    });
}

#[test]
fn who_gives_up_while_it_is_its_turn_passes_the_turn_on() {
    loom::model(|| {
        let gate = gate();
        gate.enter(1).unwrap();
        let noop = || Waker::noop().clone();
        let (Joined::Waits(first), Joined::Waits(second)) = (gate.join((), noop()), gate.join((), noop())) else {
            panic!("there is no room")
        };
        let leaves = {
            let gate = gate.clone();
            thread::spawn(move || gate.leave())
        };
        if gate.give_up(first) {
            gate.leave();
        }
        leaves.join().unwrap();
        assert_eq!(gate.poll(second, noop()), Poll::Ready(true));
        gate.leave();
        assert_empty(&gate);
    });
}

#[test]
fn nobody_waits_who_might_go_when_the_room_grows() {
    loom::model(|| {
        let gate = gate();
        gate.enter(1).unwrap();
        let grows = {
            let gate = gate.clone();
            thread::spawn(move || gate.change(|room| room.0.store(2, Ordering::Relaxed)))
        };
        let noop = || Waker::noop().clone();
        let joined = gate.join((), noop());
        grows.join().unwrap();
        if let Joined::Waits(slot) = joined {
            assert_eq!(gate.poll(slot, noop()), Poll::Ready(true));
        }
        assert_eq!((gate.in_flight(), gate.waiting()), (2, 0));
    });
}

#[test]
fn who_joins_while_another_leaves_is_not_forgotten() {
    loom::model(|| {
        let gate = gate();
        gate.enter(1).unwrap();
        let leaves = {
            let gate = gate.clone();
            thread::spawn(move || gate.leave())
        };
        pass(&gate);
        leaves.join().unwrap();
        assert_eq!((gate.in_flight(), gate.waiting()), (1, 0));
    });
}
