//! Places at a door, so many for each address: nobody who knocks a thousand times keeps others out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The places at a door.
#[derive(Debug, Clone)]
pub struct Places {
    /// How many are taken, by whom; nobody is in it with none.
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    of_one: usize,
}

/// A place that is taken as long as this lives.
#[derive(Debug)]
pub struct Place {
    places: Places,
    of: IpAddr,
}

impl Places {
    /// With `of_one` for each address.
    pub fn new(of_one: usize) -> Self {
        Self { taken: Arc::default(), of_one }
    }

    /// One for somebody at `address`, unless all of theirs are taken. Of IPv6 all addresses of one
    /// /64 are one: whoever has one of them has all.
    pub fn take(&self, address: IpAddr) -> Option<Place> {
        let of = neighbourhood(address);
        let mut taken = self.taken();
        let theirs = taken.entry(of).or_default();
        if *theirs >= self.of_one {
            return None;
        }
        *theirs += 1;
        Some(Place { places: self.clone(), of })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        let left = taken.get(&self.of).map_or(0, |theirs| theirs.saturating_sub(1));
        if left == 0 {
            taken.remove(&self.of);
        } else {
            taken.insert(self.of, left);
        }
    }
}

fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail this way")]

    use super::*;

    #[test]
    fn one_address_has_its_places_and_no_more_until_one_is_left() {
        let places = Places::new(2);
        let at = |text: &str| places.take(text.parse().unwrap());
        let (first, second) = (at("192.0.2.1"), at("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some() && at("192.0.2.1").is_none());
        let (near, nearer) = (at("2001:db8::1"), at("2001:db8::2"));
        assert!(near.is_some() && nearer.is_some() && at("2001:db8::3").is_none());
        assert!(at("2001:db8:0:1::1").is_some() && at("192.0.2.2").is_some());
        drop(first);
        assert!(at("192.0.2.1").is_some());
        drop((second, near, nearer));
        assert!(places.taken().is_empty(), "who has left is forgotten");
    }
}
