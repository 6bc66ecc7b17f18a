//! Who is connected: so many in all, so many from one address.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::AddressBlock;

/// The connections that are open, counted.
pub(super) struct Census {
    max: usize,
    per_address: usize,
    /// Not counted by address: whoever is behind them is many.
    many: Vec<AddressBlock>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    all: usize,
    /// No more entries than connections are open.
    by_address: HashMap<IpAddr, usize>,
}

/// One connection's place. Dropped, it is free.
pub(super) struct Seat {
    census: Arc<Census>,
    address: Option<IpAddr>,
}

impl Census {
    pub(super) fn new(max: usize, per_address: usize, mut many: Vec<AddressBlock>) -> Arc<Self> {
        // This machine's own programs: a tunnel, a proxy, the operator.
        many.extend(AddressBlock::loopback());
        Arc::new(Self { max, per_address, many, open: Mutex::default() })
    }

    /// A place for a connection from `peer`, or the name of the bound that is reached.
    pub(super) fn seat(self: &Arc<Self>, peer: IpAddr) -> Result<Seat, &'static str> {
        {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            if open.all >= self.max {
                return Err("connections.max");
            }
            open.all += 1;
        }
        let mut seat = Seat { census: Arc::clone(self), address: None };
        seat.belongs_to(peer)?;
        Ok(seat)
    }
}

impl Seat {
    /// Counts this connection as one of `client`'s. Once, and again for whom a balancer speaks that is many.
    pub(super) fn belongs_to(&mut self, client: IpAddr) -> Result<(), &'static str> {
        if self.address.is_some() || self.census.many.iter().any(|block| block.contains(client)) {
            return Ok(());
        }
        let address = household(client);
        let mut open = self.census.open.lock().unwrap_or_else(PoisonError::into_inner);
        let here = open.by_address.entry(address).or_default();
        if *here >= self.census.per_address {
            return Err("connections.per_address");
        }
        *here += 1;
        self.address = Some(address);
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.census.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all -= 1;
        let Some(address) = self.address else { return };
        if let Entry::Occupied(mut here) = open.by_address.entry(address) {
            *here.get_mut() -= 1;
            if *here.get() == 0 {
                here.remove();
            }
        }
    }
}

/// The address that one subscriber has: in IPv6 that is a /64, with more addresses than anybody can count.
fn household(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(six) => IpAddr::from((six.to_bits() & !u128::from(u64::MAX)).to_be_bytes()),
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let at = |text: &str| text.parse::<IpAddr>().expect("an address");
        let census = Census::new(5, 2, vec!["10.0.0.0/8".parse().expect("a block")]);
        let one = census.seat(at("2001:db8::1")).ok();
        let two = census.seat(at("2001:db8::ffff:2")).ok();
        assert!(one.is_some() && two.is_some());
        assert_eq!(census.seat(at("2001:db8::3")).err(), Some("connections.per_address"));
        drop(one);
        let three = census.seat(at("2001:db8::3")).ok();
        assert!(three.is_some());
        let proxied: Vec<_> = (0..3).filter_map(|_| census.seat(at("10.0.0.1")).ok()).collect();
        assert_eq!(proxied.len(), 3, "a proxy's callers are many");
        assert_eq!(census.seat(at("127.0.0.1")).err(), Some("connections.max"));
        drop((two, three, proxied));
        let open = census.open.lock().expect("nobody panicked");
        assert!(open.all == 0 && open.by_address.is_empty(), "nothing is remembered of those who left");
    }
}
