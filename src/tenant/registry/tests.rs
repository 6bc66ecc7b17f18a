//! The registry over something that opens at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{Files, Registry, Residency, Resident};
use crate::error::{Error, ErrorKind};
use crate::id::TenantId;

/// Where memory is not short.
const ROOMY: Residency = Residency {
    most: 1,
    bound: "resident_max",
    files: Files { most: u64::MAX, each: 7 },
    idle_after: Duration::from_secs(3_600),
    bytes: 1,
    held: || 0,
};

/// The numbered opening of a tenant.
struct Numbered(usize);

impl Resident for Numbered {
    fn is_closed(&self) -> bool {
        false
    }
    fn is_busy(&self) -> bool {
        false
    }
    async fn rest(&self) {}
    async fn close(&self) {}
}

/// Fifty calls are one try, but for the seconds that they take.
#[tokio::test]
async fn what_cannot_be_opened_is_not_tried_at_every_call() {
    let tries = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&tries);
    let residency = Residency { most: 1, bound: "resident_max", idle_after: Duration::from_secs(60), ..ROOMY };
    let registry = Registry::<Numbered>::new(residency, move |_| {
        seen.fetch_add(1, Ordering::SeqCst);
        async { Err(Error::new(ErrorKind::Unavailable, "damaged")) }
    });
    let (tenant, begun) = (TenantId::parse("acme").expect("a name"), Instant::now());
    for _ in 0..50 {
        let Err(refused) = registry.get(&tenant).await else { panic!("it was opened") };
        assert!(refused.kind() == ErrorKind::Unavailable && refused.retry_after().is_some());
    }
    let most = 1 + begun.elapsed().as_secs();
    assert!(tries.load(Ordering::SeqCst) as u64 <= most, "{tries:?} tries");
}

#[tokio::test]
async fn what_is_renewed_is_opened_anew_when_nobody_holds_it() {
    let opened = Arc::new(AtomicUsize::new(0));
    let residency = Residency { most: 1, bound: "resident_max", idle_after: Duration::from_secs(60), ..ROOMY };
    let registry = Registry::new(residency, move |_| {
        let number = opened.fetch_add(1, Ordering::SeqCst);
        async move { Ok(Numbered(number)) }
    });
    let tenant = TenantId::parse("acme").expect("a name");
    assert_eq!(registry.get(&tenant).await.expect("open").0, 0);
    registry.renew();
    let held = registry.get(&tenant).await.expect("open");
    assert_eq!(held.0, 1, "it was idle");
    registry.renew();
    let (others, name) = (registry.clone(), tenant.clone());
    let mut waiting = tokio::spawn(async move { others.get(&name).await.expect("open").0 });
    let early = tokio::time::timeout(Duration::from_millis(20), &mut waiting).await;
    assert!(early.is_err(), "it waits for who holds it");
    drop(held);
    assert_eq!(waiting.await.expect("no panic"), 2);
    let held = registry.get(&tenant).await.expect("open");
    registry.renew();
    assert_eq!(registry.get(&tenant).await.expect("open").0, 2, "a wait with an end");
    drop(held);
    assert_eq!(registry.get(&tenant).await.expect("open").0, 3);
}

/// Long before its time, where there is no room in memory.
#[tokio::test]
async fn what_is_idle_is_closed_where_memory_is_short() {
    let idle_after = Duration::from_secs(40);
    let registry =
        Registry::new(Residency { idle_after, bytes: 7, held: || 8, ..ROOMY }, |_| async { Ok(Numbered(0)) });
    let tenant = TenantId::parse("acme").expect("a name");
    let is_open = || registry.tenants().slots.contains_key(&tenant);
    let held = registry.get(&tenant).await.expect("open");
    let begun = Instant::now();
    while is_open() && begun.elapsed() < Duration::from_secs(3) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(is_open(), "it was closed in somebody's hands");
    drop(held);
    while is_open() {
        assert!(begun.elapsed() < idle_after, "it was not closed before its time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn nothing_opens_after_the_end() {
    let residency = Residency { most: 1, bound: "resident_max", idle_after: Duration::from_secs(60), ..ROOMY };
    let registry = Registry::new(residency, |_| async { Ok(Numbered(0)) });
    let tenant = TenantId::parse("acme").expect("a name");
    drop(registry.get(&tenant).await.expect("open"));
    registry.close_all().await;
    assert!(registry.get(&tenant).await.is_err());
}

/// Those at rest have no file open, so that more of them stay; what leaves its rest takes the room of one that nobody
/// holds and that is not at rest.
#[tokio::test]
async fn what_rests_takes_no_files() {
    let files = Files { most: 20, each: 7 };
    let residency = Residency { most: 100, files, ..ROOMY };
    let registry = Registry::new(residency, |_| async { Ok(Numbered(0)) });
    let named = |number: usize| TenantId::parse(&format!("tenant-{number}")).expect("a name");
    let used = async |number: usize| drop(registry.get(&named(number)).await.expect("open"));
    // As the sweeper has it when their time has come.
    let all_rest = || while registry.next_to_rest(Duration::ZERO).is_some() {};
    let refused = async |number: usize| {
        let Err(refused) = registry.get(&named(number)).await else { panic!("it was opened") };
        assert_eq!((refused.kind(), refused.bound().map(|bound| bound.name)), (ErrorKind::Busy, Some("open_files")));
    };
    // Two in use are fourteen, and there is no room for a third.
    let held = [registry.get(&named(0)).await.expect("open"), registry.get(&named(1)).await.expect("open")];
    refused(2).await;
    drop(held);
    for number in 2..50 {
        all_rest();
        used(number).await;
        assert_eq!(registry.count(), number + 1);
    }
    all_rest();
    let awake = [registry.get(&named(4)).await.expect("open"), registry.get(&named(3)).await.expect("open")];
    refused(2).await;
    let [_awake, left] = awake;
    drop(left);
    used(2).await;
    assert_eq!(registry.count(), 49);
    assert!(registry.open_one(&named(3)).is_none(), "not the one that was left");
    assert!(registry.open_one(&named(0)).is_some(), "one at rest was closed, which makes no room");
}
