//! Owns what tenants cost while nobody calls: their memory, their wake, and the start of a host that has many.

use std::sync::Arc;
use std::time::{Duration, Instant};

use freehold::{TestHost, rusqlite};

use super::Done;
use super::bare_sqlite::{BUMP, KEY, READ};
use super::pair::median;
use super::process::{Server, resident, said};
use super::table::Table;
use crate::counter;

/// The memory report, in KiB for each tenant: awake, at rest, hibernated, and what as many others added who came and
/// went after them.
type Costs = [f64; 4];

/// In a process of its own: wakes `tenants`, waits until they rest and until they hibernate, and prints what each took.
pub async fn report(tenants: usize) -> Done {
    // They rest after a tenth of it.
    let idle_after = Duration::from_secs(if tenants > 100 { 60 } else { 2 });
    let host = TestHost::start(counter::host(), |settings| {
        settings.tenants.auto_create = true;
        settings.tenants.idle_after = idle_after;
        settings.tenants.resident_max = tenants;
    })?;
    // What a process has once, whoever comes first.
    use_once(&host, "first").await?;
    let before = resident("self")?;
    let each = |now: u64| (now as f64 - before as f64) / tenants as f64;
    for number in 0..tenants {
        use_once(&host, &format!("tenant-{number}")).await?;
    }
    let awake = each(resident("self")?);
    tokio::time::sleep(idle_after / 4).await;
    let resting = each(resident("self")?);
    let gone = async || within(idle_after * 4, || Ok(host.open_tenants() == 0)).await;
    gone().await?;
    let hibernated = each(resident("self")?);
    for number in 0..tenants {
        use_once(&host, &format!("other-{number}")).await?;
    }
    gone().await?;
    println!("{awake} {resting} {hibernated} {}", each(resident("self")?) - hibernated);
    host.close().await;
    Ok(())
}

/// In a process of its own: opens `tenants` without closing any, as fast as they come to rest where files are scarce, and
/// prints how many are open at the end, and the memory of the process in KiB.
pub async fn crowd(tenants: usize) -> Done {
    let rests_after = Duration::from_secs(if tenants > 100 { 10 } else { 1 });
    let host = TestHost::start(counter::host(), |settings| {
        settings.tenants.auto_create = true;
        settings.tenants.idle_after = rests_after * 30;
        settings.tenants.resident_max = tenants;
    })?;
    let limit = std::fs::read_to_string("/proc/self/limits")?;
    let limit = limit
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    // The host's four fifths of them have room for so many in use.
    let batch = limit.map_or(tenants, |limit| limit / 5 * 4 / 9).max(20);
    for number in 0..tenants {
        if number % batch == 0 {
            within(rests_after * 5, || Ok(open_files()? == 0)).await?;
        }
        use_once(&host, &format!("tenant-{number}")).await?;
    }
    within(rests_after * 5, || Ok(open_files()? == 0)).await?;
    println!("{} {}", host.open_tenants(), resident("self")?);
    host.close().await;
    Ok(())
}

/// Waits until `is_so`, at most for `time`.
async fn within(time: Duration, is_so: impl Fn() -> Done<bool>) -> Done {
    let waiting = async {
        while !is_so()? {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Done::Ok(())
    };
    tokio::time::timeout(time, waiting).await?
}

async fn use_once(host: &TestHost, name: &str) -> Done {
    let tenant = host.tenant(name).await?;
    tenant.write(|tx| Ok(tx.prepare_cached(BUMP)?.query_row([KEY], |row| row.get::<_, i64>(0))?)).await?;
    tenant.read(|conn| Ok(conn.prepare_cached(READ)?.query_row([KEY], |row| row.get::<_, i64>(0))?)).await?;
    Ok(())
}

/// Tenants whose file this process has open: of each the index of its log, once.
fn open_files() -> Done<usize> {
    let links = std::fs::read_dir("/proc/self/fd")?.flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok());
    Ok(links.filter(|path| path.ends_with("tenant.db-shm")).count())
}

/// Memory for each of `tenants`.
pub fn memory(tenants: usize, table: &mut Table) -> Done {
    let line = said(&["residents", &tenants.to_string()])?;
    let costs: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [awake, resting, gone, others]: Costs = costs.try_into().map_err(|_| "four figures")?;
    let told = |kib: f64| format!("{kib:.1} KiB");
    table.alone(format!("memory for each of {tenants} tenants, just used"), told(awake), "");
    table.alone("  the same, idle and at rest", told(resting), "≤ 150 KiB");
    table.alone("  the same, hibernated: what the allocator keeps for the next", told(gone), "");
    table.alone("  added by as many others who came and went after them", told(others), "0");
    Ok(())
}

/// Memory of `tenants` that are open at once.
pub fn crowded(tenants: usize, table: &mut Table) -> Done {
    let line = said(&["residents", &tenants.to_string(), "crowd"])?;
    let (open, kib) = line.split_once(' ').ok_or("two figures")?;
    let mib = kib.parse::<f64>()? / 1024.0;
    let work = format!("  {open} of {tenants} tenants open at once, all at rest: the whole process");
    table.alone(work, format!("{mib:.0} MiB"), "≤ 1,024 MiB");
    Ok(())
}

/// A first call to each of `tenants` that is closed, against opening the same files by hand.
pub async fn wake(tenants: usize, rounds: usize, table: &mut Table) -> Done {
    let host = Arc::new(TestHost::start(counter::host(), |settings| {
        settings.tenants.auto_create = true;
        settings.tenants.idle_after = Duration::from_millis(400);
    })?);
    let names: Vec<_> = (0..tenants).map(|number| format!("tenant-{number}")).collect();
    for name in &names {
        use_once(&host, name).await?;
    }
    let mut pairs = Vec::new();
    for _ in 0..rounds {
        within(Duration::from_secs(60), || Ok(host.open_tenants() == 0)).await?;
        // They stay open until all are, as the host's do: one that was closed leaves the next its memory.
        let (mut by_hand, mut open) = (Vec::new(), Vec::new());
        for file in files(host.dir())? {
            let begun = Instant::now();
            let conn = rusqlite::Connection::open(file)?;
            conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -256")?;
            conn.query_row(READ, [KEY], |row| row.get::<_, i64>(0))?;
            by_hand.push(begun.elapsed().as_secs_f64() * 1e3);
            open.push(conn);
        }
        drop(open);
        // On a thread of the runtime, as requests are.
        let ours = tokio::spawn(woken(Arc::clone(&host), names.clone())).await??;
        pairs.push((median(ours), median(by_hand)));
    }
    let (ours, theirs) = pairs.iter().copied().unzip();
    let ratio = median(pairs.iter().map(|(ours, theirs)| ours / theirs).collect());
    table.ratio("wake and first read, p50 ÷ the same file by hand", median(ours), median(theirs), "ms", ratio, "≤ 2");
    if let Some(host) = Arc::into_inner(host) {
        host.close().await;
    }
    Ok(())
}

/// How long the first call to each of `names` took, in milliseconds.
async fn woken(host: Arc<TestHost>, names: Vec<String>) -> freehold::Result<Vec<f64>> {
    let mut took = Vec::new();
    for name in names {
        let begun = Instant::now();
        let tenant = host.tenant(&name).await?;
        tenant.read(|conn| Ok(conn.query_row(READ, [KEY], |row| row.get::<_, i64>(0))?)).await?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(took)
}

fn files(dir: &std::path::Path) -> Done<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for shard in std::fs::read_dir(dir.join("tenants"))? {
        for tenant in std::fs::read_dir(shard?.path())? {
            found.push(tenant?.path().join("tenant.db"));
        }
    }
    Ok(found)
}

/// The start of a host that knows `tenants`, against one that knows two.
pub fn registered(tenants: usize, rounds: usize, table: &mut Table) -> Done {
    let (empty, full) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let start = |dir: &tempfile::TempDir| -> Done<(f64, f64)> {
        let begun = Instant::now();
        let data = dir.path().to_str().ok_or("a path that is text")?;
        let server = Server::start(&["serve", "--dev", "--listen", "127.0.0.1:0", "--data-dir", data], &[])?;
        Ok((begun.elapsed().as_secs_f64() * 1e3, server.resident()? as f64 / 1024.0))
    };
    let _warm = (start(&empty)?, start(&full)?);
    let mut catalog = rusqlite::Connection::open(full.path().join("catalog.db"))?;
    let tx = catalog.transaction()?;
    for number in 0..tenants {
        tx.prepare_cached("INSERT INTO tenant (id, created_at) VALUES (?1, 0)")?
            .execute([format!("tenant-{number}")])?;
        // Folders and files, too, as many as are quickly made.
        if number < 2_000 {
            let folder =
                full.path().join("tenants").join(format!("{:02x}", number % 256)).join(format!("tenant-{number}"));
            std::fs::create_dir_all(&folder)?;
            std::fs::write(folder.join("tenant.db"), [])?;
        }
    }
    tx.commit()?;
    drop(catalog);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push(start(&full)?);
        theirs.push(start(&empty)?);
    }
    let middle = |of: &[(f64, f64)]| {
        let (ms, mib) = of.iter().copied().unzip();
        (median(ms), median(mib))
    };
    let ((more, more_mib), (less, less_mib)) = (middle(&ours), middle(&theirs));
    table.ratio(format!("start with {tenants} tenants, against two"), more, less, "ms", more / less, "± 100 ms");
    let (more, less) = (more_mib, less_mib);
    table.ratio("  the same, memory", more, less, "MiB", more / less, "± 20 MiB");
    Ok(())
}
