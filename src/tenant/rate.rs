//! How many requests a second: a bucket for the tenant, and one for each of its callers.
//!
//! A bucket is one number, the moment at which it is full again (GCRA): so a caller whose moment has passed
//! needs no place in memory, and only callers of the last seconds have one.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::auth::Principal;
use crate::config::Limits;
use crate::error::{Error, Result};

/// Callers of one tenant that are told apart at once. When more are in debt, the one that owes least is
/// forgotten: the tenant's own bucket still holds for all of them.
const CALLERS_MOST: usize = 128;

/// The buckets of one tenant.
pub(super) struct Rates {
    tenant: Rule,
    caller: Rule,
    names: RandomState,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tenant: Full,
    /// Sorted by nothing; short.
    callers: Vec<(u64, Full)>,
}

/// When a bucket is full again, in nanoseconds since 1970.
type Full = u64;

/// A rate and a burst, in the form in which they are compared.
struct Rule {
    name: &'static str,
    per_second: u32,
    /// Nanoseconds that one request costs.
    cost: u64,
    /// How far ahead of now a bucket may be full again.
    most: u64,
}

impl Rates {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            tenant: Rule::new("requests_per_second", limits.requests_per_second, limits.burst),
            caller: Rule::new(
                "principal_requests_per_second",
                limits.principal_requests_per_second,
                limits.principal_burst,
            ),
            names: RandomState::new(),
            state: Mutex::default(),
        }
    }

    /// Counts one request of `caller`, against the tenant and against the caller, or against neither.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy), with the rate and when to come back.
    pub(super) fn take(&self, caller: &Principal, now: SystemTime) -> Result<()> {
        let now = nanos(now.duration_since(UNIX_EPOCH).unwrap_or_default());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let tenant = self.tenant.after(state.tenant, now)?;
        if self.caller.is_on() {
            let name = self.names.hash_one((caller.issuer(), caller.subject()));
            let place = state.place_of(name, now);
            let owes = self.caller.after(state.callers[place].1, now)?;
            state.callers[place].1 = owes;
        }
        state.tenant = tenant;
        Ok(())
    }
}

impl State {
    fn place_of(&mut self, caller: u64, now: u64) -> usize {
        if let Some(known) = self.callers.iter().position(|(name, _)| *name == caller) {
            return known;
        }
        if self.callers.len() >= CALLERS_MOST {
            self.callers.retain(|(_, full)| *full > now);
        }
        if self.callers.len() >= CALLERS_MOST
            && let Some(least) = (0..self.callers.len()).min_by_key(|at| self.callers[*at].1)
        {
            self.callers.swap_remove(least);
        }
        self.callers.push((caller, 0));
        self.callers.len() - 1
    }
}

impl Rule {
    fn new(name: &'static str, per_second: u32, burst: u32) -> Self {
        let cost = 1_000_000_000 / u64::from(per_second.max(1));
        Self { name, per_second, cost, most: cost * u64::from(burst) }
    }

    fn is_on(&self) -> bool {
        self.per_second > 0
    }

    /// When the bucket is full again after one request more.
    fn after(&self, full: Full, now: u64) -> Result<Full> {
        if !self.is_on() {
            return Ok(full);
        }
        // Further ahead than a bucket can be: the clock was set back, which must lock nobody out.
        let full = if full > now + self.most { now } else { full.max(now) } + self.cost;
        if full > now + self.most {
            let wait = Duration::from_nanos(full - now - self.most);
            // A whole millisecond, upwards: too early would be refused again.
            let wait = Duration::from_millis(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX) + 1);
            return Err(Error::busy(self.name, u64::from(self.per_second), wait));
        }
        Ok(full)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::{CALLERS_MOST, Rates};
    use crate::auth::{Principal, Scopes};
    use crate::config::Limits;
    use crate::id::TenantId;

    fn rates(tenant: (u32, u32), caller: (u32, u32)) -> Rates {
        Rates::new(&Limits {
            requests_per_second: tenant.0,
            burst: tenant.1,
            principal_requests_per_second: caller.0,
            principal_burst: caller.1,
            ..Limits::default()
        })
    }

    fn caller(subject: &str) -> Principal {
        let tenant = TenantId::parse("a").expect("a name");
        Principal::new(tenant, "i".to_owned(), subject.to_owned(), Scopes::all(), None)
    }

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000) + Duration::from_millis(millis)
    }

    #[test]
    fn a_burst_passes_and_the_rate_goes_on() {
        let rates = rates((10, 3), (0, 0));
        let one = caller("one");
        for _ in 0..3 {
            assert!(rates.take(&one, at(0)).is_ok());
        }
        let refused = rates.take(&one, at(0)).expect_err("the burst is over");
        assert_eq!(refused.bound().map(|bound| (bound.name, bound.value)), Some(("requests_per_second", 10)));
        let wait = refused.retry_after().expect("a time");
        assert!((100..=101).contains(&wait.as_millis()), "{wait:?}");
        assert!(rates.take(&one, at(99)).is_err());
        // What was refused cost nothing.
        assert!(rates.take(&one, at(0) + wait).is_ok());
        assert!(rates.take(&one, at(0) + wait).is_err());
        // Rest saves up a burst, and no more.
        assert_eq!((0..9).filter(|_| rates.take(&one, at(100_000)).is_ok()).count(), 3);
    }

    #[test]
    fn callers_are_told_apart_and_the_tenant_pays_for_all() {
        let rates = rates((10, 5), (10, 2));
        let (one, two, three) = (caller("one"), caller("two"), caller("three"));
        let passed = |who: &Principal| (0..9).filter(|_| rates.take(who, at(0)).is_ok()).count();
        assert_eq!([passed(&one), passed(&two), passed(&three)], [2, 2, 1]);
    }

    #[test]
    fn a_clock_set_back_locks_nobody_out() {
        let rates = rates((10, 3), (10, 3));
        let one = caller("one");
        while rates.take(&one, at(3_600_000)).is_ok() {}
        assert_eq!((0..9).filter(|_| rates.take(&one, at(0)).is_ok()).count(), 3);
        assert!(rates.take(&one, at(101)).is_ok());
    }

    #[test]
    fn a_crowd_of_names_stays_bounded() {
        let rates = rates((1_000_000, 1_000_000), (1, 1));
        for n in 0..1_000 {
            assert!(rates.take(&caller(&format!("c{n}")), at(0)).is_ok());
        }
        assert_eq!(rates.state.lock().expect("whole").callers.len(), CALLERS_MOST);
    }
}
