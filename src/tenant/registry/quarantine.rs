//! Tenants that could not be opened. They are tried again, ever more seldom, and not at every request: a
//! damaged file must not keep the disk busy for others.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind};
use crate::id::TenantId;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);
/// Beyond it the one whose next try comes first is forgotten: it is tried at its next request.
const MOST: usize = 1_024;

#[derive(Default)]
pub(super) struct Quarantine(HashMap<TenantId, Patient>);

struct Patient {
    error: Error,
    wait: Duration,
    until: Instant,
}

impl Quarantine {
    /// What to answer without another try; `None` when it is time for one.
    pub(super) fn refusal(&self, tenant: &TenantId) -> Option<Error> {
        let patient = self.0.get(tenant)?;
        let wait = patient.until.checked_duration_since(Instant::now())?;
        Some(patient.error.repeat().with_retry_after(wait.max(Duration::from_millis(1))))
    }

    /// Takes in a tenant that could not be opened, once more perhaps, and says when it is tried again.
    pub(super) fn failed(&mut self, tenant: &TenantId, error: Error) -> Error {
        if !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Internal) {
            return error;
        }
        let wait = self.0.get(tenant).map_or(FIRST, |patient| (patient.wait * 2).min(LONGEST));
        tracing::error!(
            %tenant,
            error = error.chain(),
            next_try_s = wait.as_secs(),
            "a tenant can't be opened: it is answered 503 until the next try"
        );
        if self.0.len() >= MOST
            && !self.0.contains_key(tenant)
            && let Some(first) =
                self.0.iter().min_by_key(|(_, patient)| patient.until).map(|(tenant, _)| tenant.clone())
        {
            self.0.remove(&first);
        }
        self.0.insert(tenant.clone(), Patient { error: error.repeat(), wait, until: Instant::now() + wait });
        error.with_retry_after(wait)
    }

    /// The tenant could be opened.
    pub(super) fn recovered(&mut self, tenant: &TenantId) {
        if self.0.remove(tenant).is_some() {
            tracing::info!(%tenant, "the tenant can be opened again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FIRST, LONGEST, MOST, Quarantine};
    use crate::error::{Error, ErrorKind};
    use crate::id::TenantId;

    fn damaged() -> Error {
        Error::new(ErrorKind::Unavailable, "damaged")
    }

    #[test]
    fn the_wait_doubles_up_to_its_bound_and_begins_anew() {
        let mut quarantine = Quarantine::default();
        let tenant = TenantId::parse("acme").expect("a name");
        let mut wait = FIRST;
        for _ in 0..20 {
            assert_eq!(quarantine.failed(&tenant, damaged()).retry_after(), Some(wait));
            let refusal = quarantine.refusal(&tenant).expect("no try yet");
            assert!(refusal.kind() == ErrorKind::Unavailable && refusal.retry_after() <= Some(wait));
            wait = (wait * 2).min(LONGEST);
        }
        quarantine.recovered(&tenant);
        assert!(quarantine.refusal(&tenant).is_none());
        assert_eq!(quarantine.failed(&tenant, damaged()).retry_after(), Some(FIRST));
    }

    #[test]
    fn it_takes_in_no_more_than_it_holds_and_only_what_cannot_be_opened() {
        let mut quarantine = Quarantine::default();
        for number in 0..MOST + 10 {
            quarantine.failed(&TenantId::parse(&format!("t{number}")).expect("a name"), damaged());
        }
        assert_eq!(quarantine.0.len(), MOST);
        let unknown = TenantId::parse("unknown").expect("a name");
        quarantine.failed(&unknown, Error::new(ErrorKind::Forbidden, "unknown"));
        assert!(quarantine.refusal(&unknown).is_none());
    }
}
