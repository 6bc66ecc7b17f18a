//! Owns what is asked of a contender, in order, and the figures that come of it. It knows no contender by name.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::super::load::Load;
use super::super::report::Report;
use super::client::{Caller, value};
use super::contender::{Contender, Place};
use super::grid::{Figures, Row};
use super::process::Running;
use super::{Done, Scale};

/// Connections of a load that is not of many tenants.
const CONNECTIONS: usize = 16;
const ADD: &str = r#"{"a":2,"b":3}"#;
const KEY: &str = r#"{"key":"hits"}"#;
/// Some 0.1 s of SQLite on one core.
const BURN: &str = r#"{"sql":"WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1000000) SELECT count(*) FROM c"}"#;
/// A quiet tenant's pace, how many there are, and how many such reads the noisy one has under way.
const PACE: Duration = Duration::from_millis(40);
const QUIET: usize = 4;
const NOISE: usize = 4;
/// Tenants that write when the process is killed.
const WRITERS: usize = 8;
/// A start may take so long; a process for each of 64 sessions as well.
const PATIENCE: Duration = Duration::from_secs(60);
/// Sessions where each is a process.
const FEW: usize = 8;

/// All of it, on one contender with its data in `folder`.
pub fn measure(contender: &Contender, place: &Place, folder: &Path, scale: &Scale) -> Done<Figures> {
    let mut figures = Figures::default();
    let (server, addr, took) = start(contender, place, folder)?;
    figures.number(Row::Start, took.as_secs_f64() * 1e3);
    figures.number(Row::Idle, server.memory()?);
    let caller = |tenant: &str| Caller::new(contender, place, addr, tenant);
    calls(contender, &caller("pure")?, addr, scale, &mut figures)?;
    if contender.state {
        let one = load(addr, vec![caller("one")?.call("increment", KEY, 1)], r#""value":"#, 1, scale.load);
        let report = run(&one)?;
        figures.number(Row::WritesOne, report.per_second());
        let tenants = at_once(scale.tenants, |number| caller(&format!("tenant-{number}")))?;
        let requests = tenants.iter().map(|tenant| tenant.call("increment", KEY, 1)).collect();
        let report = run(&load(addr, requests, r#""value":"#, scale.tenants, scale.load))?;
        figures.number(Row::WritesMany, report.per_second());
        figures.number(Row::WritesManyP99, ms(report.p99));
        figures.number(Row::Memory, server.memory()?);
        noise(contender, &caller, addr, scale, &mut figures)?;
        if contender.sessions {
            let (before, count) =
                (server.memory()?, if contender.process_each { FEW.min(scale.sessions) } else { scale.sessions });
            let opened = at_once(count, |number| tenants[number % tenants.len()].without_session().with_session())?;
            figures.number(Row::Session, (server.memory()? - before) * 1024.0 / opened.len() as f64);
        }
    }
    if contender.sessions {
        figures.words(Row::Stranger, stranger(contender, &caller)?);
    }
    if contender.state {
        crash(contender, place, folder, (server, addr), &mut figures)?;
    }
    Ok(figures)
}

/// Starts it, and waits until a tool has answered.
fn start(contender: &Contender, place: &Place, folder: &Path) -> Done<(Running, std::net::SocketAddr, Duration)> {
    let begun = Instant::now();
    let mut server = Running::start(contender.command(place, folder), &folder.join("log"))?;
    while server.lives()? && begun.elapsed() < PATIENCE {
        if let Some(addr) = server.address()
            && let Ok(caller) = Caller::new(contender, place, addr, "first")
            && let Ok((200, body)) = caller.ask("add", ADD)
            && body.contains(r#""sum":5"#)
        {
            return Ok((server, addr, begun.elapsed()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Err("it did not come to answer".into())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn load(
    addr: std::net::SocketAddr,
    requests: Vec<Vec<u8>>,
    expected: &str,
    connections: usize,
    deadline: Duration,
) -> Load {
    let requests = requests.into_iter().map(Into::into).collect();
    let expected = Arc::from(expected.as_bytes());
    Load { addr, requests, expected, connections, calls: usize::MAX, deadline, every: Duration::ZERO }
}

/// Runs it; an answer that is not the right one is the end of the comparison.
fn run(load: &Load) -> Done<Report> {
    let report = load.run_blocking();
    if report.failures > 0 || report.calls == 0 {
        return Err(format!("{} calls failed, {} did not", report.failures, report.calls).into());
    }
    Ok(report)
}

/// Does it `count` times, eight at once; what comes of it is in order.
fn at_once<T: Send>(count: usize, once: impl Fn(usize) -> Done<T> + Sync) -> Done<Vec<T>> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, T)>, String> {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(done);
            }
            done.push((number, once(number).map_err(|error| error.to_string())?));
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.join().map_err(|_| "a worker fell")??);
        }
        all.sort_by_key(|(number, _)| *number);
        Ok(all.into_iter().map(|(_, one)| one).collect())
    })
}

/// A pure tool in both generations.
fn calls(
    contender: &Contender,
    caller: &Caller,
    addr: std::net::SocketAddr,
    scale: &Scale,
    figures: &mut Figures,
) -> Done {
    let both = |requests: Vec<Vec<u8>>| -> Done<Report> {
        let work = |time| load(addr, requests.clone(), r#""sum":5"#, CONNECTIONS, time);
        run(&work(scale.load / 4))?;
        run(&work(scale.load))
    };
    if contender.modern {
        let before = own_time()?;
        let report = both(vec![caller.without_session().call("add", ADD, 1)])?;
        // The warming up is in it too: a quarter more calls.
        figures.number(Row::LoadItself, (own_time()? - before) * 1e6 / (report.calls as f64 * 1.25));
        figures.number(Row::Calls, report.per_second());
        figures.number(Row::CallsP50, ms(report.p50));
        figures.number(Row::CallsP99, ms(report.p99));
    }
    if contender.sessions {
        let callers = (0..CONNECTIONS).map(|_| caller.with_session()).collect::<Done<Vec<_>>>()?;
        let report = both(callers.iter().enumerate().map(|(id, caller)| caller.call("add", ADD, id + 1)).collect())?;
        figures.number(Row::SessionCalls, report.per_second());
        figures.number(Row::SessionCallsP99, ms(report.p99));
    }
    Ok(())
}

/// The processor time of this process, in seconds.
fn own_time() -> Done<f64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Ok(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
}

/// What quiet tenants notice of one whose reads take long.
fn noise(
    contender: &Contender,
    caller: &(impl Fn(&str) -> Done<Caller> + Sync),
    addr: std::net::SocketAddr,
    scale: &Scale,
    figures: &mut Figures,
) -> Done {
    let quiet = at_once(QUIET, |number| caller(&format!("quiet-{number}")))?;
    let requests = quiet.iter().map(|quiet| quiet.call("increment", KEY, 1)).collect();
    let calm = Load { every: PACE, ..load(addr, requests, r#""value":"#, QUIET, scale.load * 2) };
    let noisy = caller("noisy")?;
    let reads = (1..=NOISE).map(|id| noisy.call(contender.query, BURN, id)).collect();
    let noise = load(addr, reads, "1000000", NOISE, scale.load * 2);
    run(&Load { deadline: scale.load / 4, ..calm.clone() })?;
    let alone = run(&calm)?;
    let (with, noise) = std::thread::scope(|scope| {
        let noise = scope.spawn(|| noise.run_blocking());
        (calm.run_blocking(), noise.join())
    });
    let noise = noise.map_err(|_| "the noise fell")?;
    // A call of the noisy one that comes late is its own business.
    if noise.calls == 0 || with.failures > 0 {
        return Err(format!("beside noise: {} calls of it, {} quiet ones failed", noise.calls, with.failures).into());
    }
    figures.number(Row::QuietP99, ms(alone.p99));
    figures.number(Row::NoisyP99, ms(with.p99));
    figures.number(Row::NoiseRatio, ms(with.p99) / ms(alone.p99));
    Ok(())
}

/// What B gets who knows A's session id.
fn stranger(contender: &Contender, caller: &impl Fn(&str) -> Done<Caller>) -> Done<&'static str> {
    let (alice, bob) = (caller("alice")?.without_session().with_session()?, caller("bob")?.without_session());
    let intruder = bob.in_session_of(&alice);
    if !contender.state {
        let (status, body) = intruder.ask("add", ADD)?;
        return Ok(if status == 200 && body.contains(r#""sum":5"#) {
            "the session is anybody's; no data"
        } else {
            "no: refused"
        });
    }
    let private = r#"{"key":"private"}"#;
    let mut last = 0;
    for _ in 0..5 {
        last = value(&alice.ask("increment", private)?.1).ok_or("no value")?;
    }
    let (status, body) = intruder.ask("increment", private)?;
    Ok(match value(&body).filter(|_| status == 200) {
        Some(found) if found == last + 1 && !contender.tokens => "yes: nobody is asked who they are",
        Some(found) if found == last + 1 => "yes",
        Some(_) => "no: B's own, in A's session",
        None => "no: refused",
    })
}

/// kill -9 while tenants write: what was acknowledged and is gone, and whether a session goes on.
fn crash(
    contender: &Contender,
    place: &Place,
    folder: &Path,
    (server, addr): (Running, std::net::SocketAddr),
    figures: &mut Figures,
) -> Done {
    let writers = at_once(WRITERS, |number| Caller::new(contender, place, addr, &format!("writer-{number}")))?;
    let sessions = contender.sessions.then(|| writers[0].without_session().with_session()).transpose()?;
    if let Some(caller) = &sessions {
        caller.ask("increment", r#"{"key":"session"}"#)?;
    }
    // Each has a key of its own: some contenders have one file for all.
    let key = |number: usize| format!(r#"{{"key":"writer-{number}"}}"#);
    let acknowledged: Vec<AtomicUsize> = (0..WRITERS).map(|_| AtomicUsize::new(0)).collect();
    let write = |number: usize| {
        let Ok(mut link) = writers[number].link() else { return };
        let request = writers[number].call("increment", &key(number), 1);
        while let Ok((200, body)) = link.ask(&request) {
            let Some(value) = value(&body) else { return };
            acknowledged[number].store(usize::try_from(value).unwrap_or(0), Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        for number in 0..WRITERS {
            scope.spawn(move || write(number));
        }
        let begun = Instant::now();
        let all_write = || acknowledged.iter().all(|writer| writer.load(Ordering::Relaxed) >= 5);
        while !all_write() && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(server);
    });
    let (_server, addr, _) = start(contender, place, folder)?;
    let mut lost = 0;
    for (number, acknowledged) in acknowledged.iter().enumerate() {
        let acknowledged = acknowledged.load(Ordering::Relaxed) as u64;
        let caller = Caller::new(contender, place, addr, &format!("writer-{number}"))?;
        let (_, body) = caller.ask("increment", &key(number))?;
        let found = value(&body).ok_or("no value after the crash")? - 1;
        if acknowledged == 0 {
            return Err("a writer had no answer before the crash".into());
        }
        lost += acknowledged.saturating_sub(found);
    }
    figures.number(Row::Lost, lost as f64);
    if let Some(caller) = sessions {
        let (status, body) = caller.at(addr).ask("increment", r#"{"key":"session"}"#)?;
        figures.words(Row::SessionAfter, if status == 200 && value(&body) == Some(2) { "yes" } else { "no" });
    }
    Ok(())
}
