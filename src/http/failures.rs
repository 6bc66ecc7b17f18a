//! How many bad tokens one address may send: verifying one costs more than refusing it. A token that was
//! verified before passes all the same, so that a guesser behind the same proxy locks no known client out.

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use crate::config::AuthSettings;
use crate::error::{Error, ErrorKind, Result};

/// Addresses that are remembered. Who spoofs more only makes us forget the others.
const ADDRESSES: usize = 65_536;

/// The failures of late, by address. For each the moment when it will have been forgiven (GCRA).
pub(super) struct Failures {
    forgiven: Option<Cache<IpAddr, Instant>>,
    each: Duration,
    burst: u32,
}

impl Failures {
    pub(super) fn new(settings: &AuthSettings) -> Self {
        let per_minute = settings.failures_per_minute;
        Self {
            forgiven: (per_minute > 0).then(|| Cache::new(ADDRESSES)),
            each: Duration::from_secs(60) / per_minute.max(1),
            burst: settings.failures_burst.max(1),
        }
    }

    /// # Errors
    /// [`ErrorKind::Busy`] with the time to wait when `client` has failed too often.
    pub(super) fn check(&self, client: Option<IpAddr>) -> Result<()> {
        let (Some(forgiven), Some(client)) = (&self.forgiven, client) else { return Ok(()) };
        let Some(until) = forgiven.get(&network(client)) else { return Ok(()) };
        let owed = until.saturating_duration_since(Instant::now());
        let most = self.each * (self.burst - 1);
        if owed <= most {
            return Ok(());
        }
        let wait = owed - most;
        let seconds = wait.as_secs() + 1;
        Err(Error::new(
            ErrorKind::Busy,
            format!("too many bad tokens came from this address: try again in {seconds} s, with a good one"),
        )
        .with_bound("failures_burst", u64::from(self.burst))
        .with_retry_after(wait))
    }

    /// Notes that `client` has failed once more.
    pub(super) fn note(&self, client: Option<IpAddr>) {
        let (Some(forgiven), Some(client)) = (&self.forgiven, client) else { return };
        let (key, now) = (network(client), Instant::now());
        let until = forgiven.get(&key).map_or(now, |until| until.max(now));
        // Two at once may count as one: a bound of tens does not mind.
        forgiven.insert(key, until + self.each);
    }
}

/// One customer of an IPv6 provider has a /64 at least.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_no_more() {
        let settings = AuthSettings { failures_per_minute: 10, failures_burst: 3, ..AuthSettings::default() };
        let failures = Failures::new(&settings);
        let one: IpAddr = "2001:db8::1".parse().expect("an address");
        let same_network: IpAddr = "2001:db8::2".parse().expect("an address");
        let other: IpAddr = "2001:db8:0:1::1".parse().expect("an address");
        for _ in 0..3 {
            assert!(failures.check(Some(one)).is_ok());
            failures.note(Some(one));
        }
        let refused = failures.check(Some(same_network)).expect_err("a fourth");
        assert_eq!(refused.kind(), ErrorKind::Busy);
        assert!(refused.retry_after().is_some_and(|wait| wait <= Duration::from_secs(6)), "{refused:?}");
        assert!(failures.check(Some(other)).is_ok() && failures.check(None).is_ok());
        let off = Failures::new(&AuthSettings { failures_per_minute: 0, ..settings });
        (0..100).for_each(|_| off.note(Some(one)));
        assert!(off.check(Some(one)).is_ok());
    }

    /// Strangers without number: the memory for them has an end.
    #[test]
    fn addresses_are_forgotten() {
        let failures = Failures::new(&AuthSettings::default());
        for address in 0..200_000_u32 {
            failures.note(Some(IpAddr::from(address.to_be_bytes())));
        }
        assert!(failures.forgiven.as_ref().is_some_and(|known| known.len() <= ADDRESSES));
    }
}
