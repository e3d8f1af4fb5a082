//! How many connections and associations there are, altogether and by peer address.

use crate::config::Listen;
use crate::dimse::negotiate::Busy;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections beyond the associations that may be open at a time, altogether: those that negotiate or are being closed.
const SPARE: usize = 64;
/// The same by peer, so that one that only connects cannot take all of them.
const SPARE_PER_PEER: usize = 16;

/// Counts of one kind.
#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_peer: HashMap<IpAddr, usize>,
}

impl Counts {
    fn take(&mut self, peer: IpAddr, most: usize, most_per_peer: usize) -> Result<(), Busy> {
        if self.all >= most {
            return Err(Busy::Node);
        }
        let of_peer = self.by_peer.entry(peer).or_default();
        if *of_peer >= most_per_peer {
            return Err(Busy::Peer);
        }
        *of_peer += 1;
        self.all += 1;
        Ok(())
    }

    fn give(&mut self, peer: IpAddr) {
        self.all -= 1;
        if let Some(of_peer) = self.by_peer.get_mut(&peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                self.by_peer.remove(&peer);
            }
        }
    }
}

/// Both kinds; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots {
    connections: Arc<Mutex<Counts>>,
    associations: Arc<Mutex<Counts>>,
}

/// Given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    counts: Arc<Mutex<Counts>>,
    peer: IpAddr,
}

impl Drop for Slot {
    fn drop(&mut self) {
        lock(&self.counts).give(self.peer);
    }
}

impl Slots {
    /// For a connection just accepted.
    pub(super) fn connection(&self, peer: IpAddr, listen: &Listen) -> Result<Slot, Busy> {
        let most_per_peer = listen.max_associations_per_peer.min(listen.max_associations) + SPARE_PER_PEER;
        take(&self.connections, peer, listen.max_associations + SPARE, most_per_peer)
    }

    /// For an association about to be accepted.
    pub(super) fn association(&self, peer: IpAddr, listen: &Listen) -> Result<Slot, Busy> {
        take(&self.associations, peer, listen.max_associations, listen.max_associations_per_peer)
    }

    /// Associations that are open.
    pub(super) fn open(&self) -> usize {
        lock(&self.associations).all
    }
}

fn take(counts: &Arc<Mutex<Counts>>, peer: IpAddr, most: usize, most_per_peer: usize) -> Result<Slot, Busy> {
    lock(counts).take(peer, most, most_per_peer)?;
    Ok(Slot { counts: Arc::clone(counts), peer })
}

/// The counts stay true whoever panicked elsewhere.
fn lock(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_by_peer_and_altogether_and_slots_come_back() {
        let listen = Listen { max_associations: 3, max_associations_per_peer: 2, ..Listen::default() };
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let slots = Slots::default();
        let first = slots.association(a, &listen).unwrap();
        let _second = slots.association(a, &listen).unwrap();
        assert_eq!(slots.association(a, &listen).unwrap_err(), Busy::Peer);
        let _third = slots.association(b, &listen).unwrap();
        assert_eq!(slots.association(b, &listen).unwrap_err(), Busy::Node);
        assert_eq!(slots.open(), 3);
        drop(first);
        assert_eq!(slots.open(), 2);
        let _again = slots.association(a, &listen).unwrap();
        assert_eq!(slots.association(b, &listen).unwrap_err(), Busy::Node);
    }

    #[test]
    fn refused_ones_leave_no_trace() {
        let listen = Listen { max_associations: 1, max_associations_per_peer: 1, ..Listen::default() };
        let slots = Slots::default();
        let one = slots.association(IpAddr::from([10, 0, 0, 1]), &listen).unwrap();
        for n in 2..200 {
            assert!(slots.association(IpAddr::from([10, 0, 0, n]), &listen).is_err());
        }
        drop(one);
        assert!(lock(&slots.associations).by_peer.is_empty());
        assert_eq!(lock(&slots.associations).all, 0);
    }
}
