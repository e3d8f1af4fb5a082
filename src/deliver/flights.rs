//! Requests that have gone out whole and have no response yet, by Message ID: as many as the peer allows (PS3.7 D.3.3.3). Pure.

use std::collections::VecDeque;

/// Requests in flight, oldest first, each with what is to be known of it.
#[derive(Debug)]
pub struct Flights<T> {
    most: usize,
    last: u16,
    flying: VecDeque<(u16, T)>,
}

impl<T> Flights<T> {
    /// At most so many at once, at least one.
    pub fn new(most: u16) -> Flights<T> {
        Flights { most: usize::from(most.max(1)), last: 0, flying: VecDeque::new() }
    }

    /// Another may begin.
    pub fn room(&self) -> bool {
        self.flying.len() < self.most
    }

    /// All are answered.
    pub fn is_empty(&self) -> bool {
        self.flying.is_empty()
    }

    /// A Message ID that no request in flight has; never 0.
    pub fn next_id(&mut self) -> u16 {
        loop {
            self.last = self.last.wrapping_add(1).max(1);
            if !self.flying.iter().any(|(id, _)| *id == self.last) {
                return self.last;
            }
        }
    }

    /// The request with this Message ID has gone out.
    pub fn enter(&mut self, id: u16, what: T) {
        self.flying.push_back((id, what));
    }

    /// The one that a response with this Message ID Being Responded To answers; `None`: none, or it was answered before.
    pub fn answered(&mut self, id: u16) -> Option<T> {
        let at = self.flying.iter().position(|(flying, _)| *flying == id)?;
        self.flying.remove(at).map(|(_, what)| what)
    }

    /// All that will get no response any more, oldest first.
    pub fn lost(&mut self) -> Vec<T> {
        self.flying.drain(..).map(|(_, what)| what).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_answered_once_in_any_order() {
        let mut flights = Flights::new(3);
        for name in ["a", "b", "c"] {
            assert!(flights.room());
            let id = flights.next_id();
            flights.enter(id, name);
        }
        assert!(!flights.room());
        assert_eq!([flights.answered(3), flights.answered(1)], [Some("c"), Some("a")]);
        assert_eq!([flights.answered(3), flights.answered(0), flights.answered(9)], [None; 3]);
        assert!(flights.room() && !flights.is_empty());
        assert_eq!(flights.lost(), ["b"]);
        assert!(flights.is_empty());
    }

    #[test]
    fn an_id_that_is_in_flight_is_passed_over_and_zero_is_none() {
        let mut flights = Flights::new(2);
        let first = flights.next_id();
        flights.enter(first, ());
        let ids: Vec<u16> = (0..=u16::MAX).map(|_| flights.next_id()).collect();
        assert!(!ids.contains(&0) && !ids.contains(&first));
        assert_eq!(ids.last(), Some(&3), "all the others have had their turn");
    }

    #[test]
    fn there_is_always_room_for_one() {
        assert!(Flights::<()>::new(0).room());
    }
}
