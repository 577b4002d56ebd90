//! A free loopback port for a replica.
//!
//! The port is free when it is chosen, and the replica binds it a moment later. Ports that the kernel gives to outgoing
//! connections would be taken in between on a busy machine, so one is drawn from below their range; where that
//! range leaves no room, the kernel chooses. Losing the race costs one restart, with another port.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::PoisonError;

use super::spawn::FORKING;

/// Lowest port that is drawn: below are the ports that people choose.
const PORT_MIN: u16 = 20_000;
/// Fewer ports than this to draw from are not worth it.
const ROOM_MIN: u16 = 1_000;
/// So many draws before the kernel is asked.
const DRAWS_MAX: usize = 64;

/// May wait for a process that is just being started.
pub(super) fn free(rng: &mut fastrand::Rng, taken: &BTreeSet<u16>) -> io::Result<u16> {
    let _not_copied = FORKING.lock().unwrap_or_else(PoisonError::into_inner);
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    if let Some(end) = room(&range) {
        for _ in 0..DRAWS_MAX {
            let port = rng.u16(PORT_MIN..end);
            if !taken.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Ok(port);
            }
        }
    }
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The end of the ports to draw from, given the range of the outgoing ones.
fn room(range: &str) -> Option<u16> {
    let low: u16 = range.split_ascii_whitespace().next()?.parse().ok()?;
    (low >= PORT_MIN + ROOM_MIN).then_some(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_free_and_given_once() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut taken = BTreeSet::new();
        for _ in 0..50 {
            assert!(taken.insert(free(&mut rng, &taken).unwrap()));
        }
        assert_eq!(room("32768\t60999\n"), Some(32768));
        for none in ["", "1024 65535", "x"] {
            assert_eq!(room(none), None, "{none}");
        }
    }
}
