//! Owns the one table that a run ends with.

/// One line of it.
struct Row {
    work: String,
    measured: String,
    against: String,
    ratio: String,
    goal: &'static str,
}

/// What was measured so far.
#[derive(Default)]
pub struct Table(Vec<Row>);

impl Table {
    /// `ours` beside `theirs`, both in `unit`, and what the ratio is to be.
    pub fn ratio(
        &mut self,
        work: impl Into<String>,
        ours: f64,
        theirs: f64,
        unit: &str,
        ratio: f64,
        goal: &'static str,
    ) {
        let told = |value: f64| format!("{value:.1} {unit}");
        self.push(work, told(ours), told(theirs), format!("{ratio:.2}"), goal);
    }

    /// Something that is held against nothing.
    pub fn alone(&mut self, work: impl Into<String>, measured: String, goal: &'static str) {
        self.push(work, measured, String::new(), String::new(), goal);
    }

    pub fn push(
        &mut self,
        work: impl Into<String>,
        measured: String,
        against: String,
        ratio: String,
        goal: &'static str,
    ) {
        self.0.push(Row { work: work.into(), measured, against, ratio, goal });
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = self.0.iter().map(|row| row.work.chars().count()).max().unwrap_or(0);
        writeln!(f, "{:width$}  {:>30}  {:>30}  {:>6}  goal", "work", "measured", "against", "ratio")?;
        for Row { work, measured, against, ratio, goal } in &self.0 {
            writeln!(f, "{work:width$}  {measured:>30}  {against:>30}  {ratio:>6}  {goal}")?;
        }
        Ok(())
    }
}
