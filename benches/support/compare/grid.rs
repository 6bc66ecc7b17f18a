//! Owns the table of the comparison: a row for each measure, a column for each contender, medians of the rounds, and
//! ratios to the first column within each round.

use std::fmt::Write;

use super::super::pair::median;
use super::contender::Contender;

/// What is measured.
#[derive(Clone, Copy, PartialEq)]
pub enum Row {
    Calls,
    CallsP50,
    CallsP99,
    SessionCalls,
    SessionCallsP99,
    WritesOne,
    WritesMany,
    WritesManyP99,
    QuietP99,
    NoisyP99,
    NoiseRatio,
    Idle,
    Memory,
    Session,
    Start,
    Lost,
    SessionAfter,
    Stranger,
    LoadItself,
}

/// How the figures of a row are told.
enum Tell {
    /// With a unit, and as a ratio to the first column's.
    Ratio(&'static str),
    /// As it is.
    Plain(&'static str),
}

const ROWS: [(Row, &str, Tell); 18] = [
    (Row::Calls, "pure tool, 2026-07-28, 16 connections", Tell::Ratio("/s")),
    (Row::CallsP50, "its p50", Tell::Ratio("ms")),
    (Row::CallsP99, "its p99", Tell::Ratio("ms")),
    (Row::SessionCalls, "pure tool, 16 sessions of 2025-11-25", Tell::Ratio("/s")),
    (Row::SessionCallsP99, "its p99", Tell::Ratio("ms")),
    (Row::WritesOne, "durable one-row writes, 1 tenant, one by one", Tell::Ratio("/s")),
    (Row::WritesMany, "durable one-row writes, {tenants} tenants at once", Tell::Ratio("/s")),
    (Row::WritesManyP99, "its p99", Tell::Ratio("ms")),
    (Row::QuietP99, "4 quiet tenants' writes, p99 alone", Tell::Ratio("ms")),
    (Row::NoisyP99, "the same beside one tenant's long SQL ×4, p99", Tell::Ratio("ms")),
    (Row::NoiseRatio, "the same, beside ÷ alone", Tell::Plain("×")),
    (Row::Idle, "memory after the first call", Tell::Ratio("MiB")),
    (Row::Memory, "memory with {tenants} tenants open", Tell::Ratio("MiB")),
    (Row::Session, "memory of a further session, just opened", Tell::Ratio("KiB")),
    (Row::Start, "start until a tool has answered", Tell::Ratio("ms")),
    (Row::Lost, "acknowledged writes that kill -9 lost", Tell::Plain("")),
    (Row::SessionAfter, "the session goes on after kill -9", Tell::Plain("")),
    (Row::Stranger, "A's data for B's token and A's session id", Tell::Plain("")),
];

enum Value {
    Number(f64),
    Words(&'static str),
}

/// What came of one contender in one round.
#[derive(Default)]
pub struct Figures(Vec<(Row, Value)>);

impl Figures {
    pub fn number(&mut self, row: Row, number: f64) {
        self.0.push((row, Value::Number(number)));
    }

    pub fn words(&mut self, row: Row, words: &'static str) {
        self.0.push((row, Value::Words(words)));
    }

    fn of(&self, row: Row) -> Option<f64> {
        self.0.iter().find_map(|(of, value)| match value {
            Value::Number(number) if *of == row => Some(*number),
            _ => None,
        })
    }

    fn said(&self, row: Row) -> Option<&'static str> {
        self.0.iter().find_map(|(of, value)| match value {
            Value::Words(words) if *of == row => Some(*words),
            _ => None,
        })
    }
}

/// All of them.
pub struct Grid<'a> {
    contenders: &'a [Contender],
    tenants: usize,
    rounds: Vec<Vec<Figures>>,
}

impl<'a> Grid<'a> {
    pub fn new(contenders: &'a [Contender], tenants: usize) -> Self {
        Self { contenders, tenants, rounds: contenders.iter().map(|_| Vec::new()).collect() }
    }

    pub fn push(&mut self, contender: usize, figures: Figures) {
        self.rounds[contender].push(figures);
    }

    fn cell(&self, row: Row, tell: &Tell, contender: usize) -> String {
        let mut said: Vec<_> = self.rounds[contender].iter().filter_map(|round| round.said(row)).collect();
        said.dedup();
        if !said.is_empty() {
            return said.join(" / ");
        }
        let numbers: Vec<f64> = self.rounds[contender].iter().filter_map(|round| round.of(row)).collect();
        if numbers.is_empty() {
            return "–".to_owned();
        }
        let number = short(median(numbers));
        match tell {
            Tell::Plain(unit) => format!("{number} {unit}").trim().to_owned(),
            Tell::Ratio(unit) if contender == 0 => format!("{number} {unit}"),
            Tell::Ratio(unit) => {
                let both = self.rounds[contender].iter().zip(&self.rounds[0]);
                let ratios = both.filter_map(|(theirs, ours)| Some(theirs.of(row)? / ours.of(row)?)).collect();
                format!("{}× ({number} {unit})", short(median(ratios)))
            }
        }
    }

    /// The title, then a cell for each contender.
    fn rows(&self) -> impl Iterator<Item = (String, Vec<String>)> {
        ROWS.iter().map(|(row, title, tell)| {
            let title = title.replace("{tenants}", &self.tenants.to_string());
            (title, (0..self.contenders.len()).map(|contender| self.cell(*row, tell, contender)).collect())
        })
    }

    pub fn text(&self) -> String {
        let mut told = String::new();
        for (title, cells) in self.rows() {
            let _ = writeln!(told, "{title}");
            for (contender, cell) in self.contenders.iter().zip(cells) {
                let _ = writeln!(told, "    {:20} {cell}", contender.name);
            }
        }
        told + "\n" + &self.how()
    }

    pub fn markdown(&self) -> String {
        let mut told = "| |".to_owned();
        for contender in self.contenders {
            let _ = write!(told, " {} |", contender.name);
        }
        let _ = writeln!(told, "\n|---|{}", "---|".repeat(self.contenders.len()));
        for (title, cells) in self.rows() {
            let _ = writeln!(told, "| {title} | {} |", cells.join(" | "));
        }
        told + "\n" + &self.how()
    }

    /// What each was told, and what the load takes for itself.
    fn how(&self) -> String {
        let mut told = String::new();
        for contender in self.contenders {
            let _ = writeln!(told, "- **{}**: {}.", contender.name, contender.how);
        }
        // Of the quickest: with the slow ones it is what waiting costs.
        let each = self
            .rounds
            .iter()
            .map(|rounds| median(rounds.iter().filter_map(|round| round.of(Row::LoadItself)).collect()));
        if let Some(least) = each.filter(|each| each.is_finite()).min_by(f64::total_cmp) {
            let most = short(1e6 / least);
            let _ = writeln!(
                told,
                "- The load itself takes {} µs of a core for a call: {most}/s at most with a core of its own.",
                short(least)
            );
        }
        told
    }

    /// The cells that should have a figure and have none, or one that can't be.
    pub fn gaps(&self) -> Vec<String> {
        let mut gaps = Vec::new();
        for (number, contender) in self.contenders.iter().enumerate() {
            for (row, title, _) in &ROWS {
                let wanted = match row {
                    Row::Calls | Row::CallsP50 | Row::CallsP99 => contender.modern,
                    Row::SessionCalls | Row::SessionCallsP99 | Row::Stranger => contender.sessions,
                    Row::Session | Row::SessionAfter => contender.sessions && contender.state,
                    Row::Idle | Row::Start => true,
                    _ => contender.state,
                };
                let has = self.rounds[number].iter().all(|round| {
                    // A session may cost less than memory is counted by, and nothing may be lost.
                    let least = if matches!(row, Row::Session) { f64::NEG_INFINITY } else { 0.0 };
                    round.said(*row).is_some()
                        || round.of(*row).is_some_and(|figure| figure.is_finite() && figure >= least)
                });
                if wanted && !has {
                    gaps.push(format!("{title}, {}", contender.name));
                }
            }
        }
        gaps
    }
}

/// Three digits, or as many as stand before the point.
fn short(number: f64) -> String {
    match number.abs() {
        size if size >= 1000.0 => {
            let digits = format!("{number:.0}");
            let (front, back) = digits.split_at(digits.len() - 3);
            format!("{front},{back}")
        }
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        _ if number == 0.0 => "0".to_owned(),
        _ => format!("{number:.2}"),
    }
}
