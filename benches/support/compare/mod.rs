//! Owns the comparison with what else there is: each contender in turn is started on a folder of its own, asked the
//! same by the same load, killed and started again. One server runs at a time. A round asks all of them; what the
//! table says is the middle of the rounds.

mod client;
mod contender;
mod grid;
mod measures;
mod process;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Done;
pub use contender::Place;
use contender::contenders;
use grid::{Figures, Grid};
use measures::measure;

/// Where the script has put the programs that are not ours. Without it there are only Freehold and bare rmcp.
const CACHE: &str = "COMPARE_CACHE";
/// Set for the table as Markdown.
const MARKDOWN: &str = "COMPARE_MARKDOWN";

/// Names of contenders with commas between, for those alone beside Freehold.
const ONLY: &str = "COMPARE_ONLY";

/// How much of each.
pub struct Scale {
    pub rounds: usize,
    /// How long one load lasts.
    pub load: Duration,
    pub tenants: usize,
    /// How many further sessions are opened to see what one takes.
    pub sessions: usize,
}

/// Runs it and prints the table. Fails where a contender could not be run or a row has no figure, and never for a figure.
pub fn run(scale: &Scale) -> Done {
    let dir = tempfile::tempdir()?;
    let place = Place::new(dir.path(), std::env::var_os(CACHE).map(PathBuf::from))?;
    let mut contenders = contenders(&place);
    if let Ok(only) = std::env::var(ONLY) {
        let base = contenders[0].name;
        contenders.retain(|one| one.name == base || only.split(',').any(|name| name == one.name));
    }
    let mut grid = Grid::new(&contenders, scale.tenants);
    for round in 0..scale.rounds {
        for (number, contender) in contenders.iter().enumerate() {
            let folder = dir.path().join(format!("{round}-{number}"));
            std::fs::create_dir(&folder)?;
            let said = match measure(contender, &place, &folder, scale) {
                Ok(figures) => {
                    grid.push(number, figures);
                    "done".to_owned()
                }
                // The others' figures are not lost by it; the end tells that these are missing.
                Err(error) => {
                    grid.push(number, Figures::default());
                    format!("FAILED: {error}; it wrote: {}", last_words(&folder))
                }
            };
            std::fs::remove_dir_all(&folder)?;
            eprintln!("compare: round {} of {}, {}: {said}", round + 1, scale.rounds, contender.name);
        }
    }
    let told = if std::env::var_os(MARKDOWN).is_some() { grid.markdown() } else { grid.text() };
    print!("{told}");
    let gaps = grid.gaps();
    if gaps.is_empty() { Ok(()) } else { Err(format!("no figure for: {}", gaps.join(", ")).into()) }
}

fn last_words(folder: &Path) -> String {
    let said = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    let lines: Vec<_> = said.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}
