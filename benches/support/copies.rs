//! Owns what whole copies of a large tenant cost the others, and itself: bases of its past, checkpoints, restores.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use freehold::{Settings, Tenant, TestHost};

use super::Done;
use super::operate::{beside, fill, host_with};
use super::pair::median;
use super::report::Report;
use super::table::Table;

/// How finely the past is kept while bases are made, each time one.
const EVERY: Duration = Duration::from_millis(100);

/// Durable writes of one tenant while another of `bytes` is copied as a whole, over and over, against the same for as
/// long without.
pub async fn copies(bytes: usize, rounds: usize, listen: Duration, table: &mut Table) -> Done {
    let plain = host_with(|_| {})?;
    let often = host_with(|settings: &mut Settings| {
        settings.history.every = EVERY;
        settings.history.base_every = Duration::ZERO;
        settings.history.bases = 2;
    })?;
    bases(&often, &plain, bytes, rounds, listen, table).await?;
    often.close().await;
    let (quiet, large) = (plain.tenant("quiet").await?, plain.tenant("large").await?);
    let mut rows = Rows::new("checkpoints", bytes);
    for _ in 0..rounds {
        let (during, count) = beside(&quiet, checkpoints(&large, listen)).await?;
        rows.add(during, beside(&quiet, tokio::time::sleep(listen)).await?.0, count?, Duration::ZERO);
    }
    rows.into_table(table);
    let mut rows = Rows::new("restores", bytes);
    for _ in 0..rounds {
        let (during, count) = beside(&quiet, restores(&large, listen)).await?;
        rows.add(during, beside(&quiet, tokio::time::sleep(listen)).await?.0, count?, Duration::ZERO);
    }
    rows.into_table(table);
    drop((quiet, large));
    plain.close().await;
    Ok(())
}

/// The large one writes too, one row after the other: it is what bases are made for.
async fn bases(
    often: &TestHost,
    plain: &TestHost,
    bytes: usize,
    rounds: usize,
    listen: Duration,
    table: &mut Table,
) -> Done {
    for host in [often, plain] {
        fill(&host.tenant("large").await?, bytes).await?;
        fill(&host.tenant("quiet").await?, 0).await?;
    }
    let mut rows = Rows::new("bases", bytes);
    for _ in 0..rounds {
        let before = newest_base(often.dir());
        let (quiet, large) = (often.tenant("quiet").await?, often.tenant("large").await?);
        let (during, longest) = beside(&quiet, writes(&large, listen)).await?;
        let count = newest_base(often.dir()) - before;
        let (quiet, large) = (plain.tenant("quiet").await?, plain.tenant("large").await?);
        let (alone, _) = beside(&quiet, writes(&large, listen)).await?;
        rows.add(during, alone, usize::try_from(count)?, longest?);
    }
    rows.into_table(table);
    Ok(())
}

/// The longest that one of its writes took.
async fn writes(large: &Tenant, listen: Duration) -> Done<Duration> {
    let (begun, mut longest) = (Instant::now(), Duration::ZERO);
    while begun.elapsed() < listen {
        let sent = Instant::now();
        large.write(|tx| Ok(tx.execute("INSERT INTO a DEFAULT VALUES", [])?)).await?;
        longest = longest.max(sent.elapsed());
    }
    Ok(longest)
}

async fn checkpoints(large: &Tenant, listen: Duration) -> Done<usize> {
    let (begun, mut count) = (Instant::now(), 0);
    while count == 0 || begun.elapsed() < listen {
        let made = large.checkpoint(None).await?;
        large.delete_checkpoint(made.bookmark).await?;
        count += 1;
    }
    Ok(count)
}

async fn restores(large: &Tenant, listen: Duration) -> Done<usize> {
    let made = large.checkpoint(None).await?;
    let (begun, mut count) = (Instant::now(), 0);
    while count == 0 || begun.elapsed() < listen {
        let undo = large.restore(made.bookmark).await?.undo;
        large.delete_checkpoint(undo).await?;
        count += 1;
    }
    large.delete_checkpoint(made.bookmark).await?;
    Ok(count)
}

/// The highest number of a base of a large tenant below `dir`; 0 if there is none.
fn newest_base(dir: &Path) -> u64 {
    let of = |dir: PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let histories = of(dir.join("tenants")).flat_map(of).filter(|tenant| tenant.ends_with("large"));
    let names = histories.flat_map(|tenant| of(tenant.join("history")));
    let bases = names.filter(|path| path.extension().is_some_and(|kind| kind == "base"));
    let number = |path: PathBuf| path.file_name()?.to_str()?.split('-').next()?.parse().ok();
    bases.filter_map(number).max().unwrap_or(0)
}

/// What the rounds of one kind came to.
struct Rows {
    what: &'static str,
    bytes: usize,
    during: Vec<Report>,
    alone: Vec<Report>,
    count: usize,
    longest: Duration,
}

impl Rows {
    fn new(what: &'static str, bytes: usize) -> Self {
        Self { what, bytes, during: Vec::new(), alone: Vec::new(), count: 0, longest: Duration::ZERO }
    }

    fn add(&mut self, during: Report, alone: Report, count: usize, longest: Duration) {
        self.during.push(during);
        self.alone.push(alone);
        self.count += count;
        self.longest = self.longest.max(longest);
    }

    fn into_table(self, table: &mut Table) {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let p99 = |all: &[Report]| median(all.iter().map(|report| ms(report.p99)).collect());
        let (ours, theirs) = (p99(&self.during), p99(&self.alone));
        let ratios = self.during.iter().zip(&self.alone).map(|(ours, theirs)| ms(ours.p99) / ms(theirs.p99));
        let (what, size) = (self.what, self.bytes / 1_000_000);
        let work = format!("durable writes beside {what} of a tenant of {size} MB ÷ without, p99");
        table.ratio(work, ours, theirs, "ms", median(ratios.collect()), "≤ 50 ms");
        let worst = |all: &[Report]| all.iter().map(|report| ms(report.max)).fold(0.0, f64::max);
        let (ours, theirs) = (worst(&self.during), worst(&self.alone));
        let count = self.count;
        table.ratio(format!("  the longest of them; {count} {what}"), ours, theirs, "ms", ours / theirs, "");
        if !self.longest.is_zero() {
            table.alone("  the longest of that tenant's own writes", format!("{:.1} ms", ms(self.longest)), "≤ 50 ms");
        }
    }
}
