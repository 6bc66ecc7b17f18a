//! How far long work is, on standard error and only where somebody watches.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::remark;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Operator;

/// A bar of bytes or of tenants. Nothing is shown where standard error is no terminal.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Bytes of `what`.
    pub(super) fn bytes(what: &'static str, length: u64) -> Self {
        Self::new(what, length, "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}")
    }

    /// Tenants of `what`.
    pub(super) fn tenants(what: &'static str, count: u64) -> Self {
        Self::new(what, count, "{msg} {bar:30} {pos}/{len} tenants, {eta} left")
    }

    fn new(what: &'static str, length: u64, style: &str) -> Self {
        let shown = std::io::stderr().is_terminal();
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(length), target).with_message(what);
        // Its own text: it is as good as the tests that run it.
        Self(ProgressStyle::with_template(style).map(|style| bar.clone().with_style(style)).unwrap_or(bar))
    }

    /// So much more is done.
    pub(super) fn advance(&self, by: u64) {
        self.0.inc(by);
    }

    /// Does what writes to the terminal, with the bar out of its way.
    fn beside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }

    /// So much is done of so much.
    pub(super) fn at(&self, done: u64, of: u64) {
        self.0.set_length(of);
        self.0.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Runs long work to its result; what fails on the way is told at once.
pub(super) async fn long(operator: &Operator, what: &'static str, path: &str, asked: &Value) -> Result<Value> {
    long_with(operator, what, path, asked, |_| Ok(())).await
}

/// As [`long`]; `each` hears every word of it.
pub(super) async fn long_with(
    operator: &Operator,
    what: &'static str,
    path: &str,
    asked: &Value,
    mut each: impl FnMut(&Value) -> Result<()>,
) -> Result<Value> {
    let progress = Progress::tenants(what, 0);
    let mut result = None;
    operator
        .lines(path, asked, |word| {
            progress.beside(|| each(&word))?;
            if let (Some(done), Some(of)) = (word["progress"]["looked"].as_u64(), word["progress"]["of"].as_u64()) {
                progress.at(done, of);
            }
            if let Some(failure) = word.get("failure") {
                let told = |key: &str| failure[key].as_str().unwrap_or_default().to_owned();
                progress.beside(|| remark(format_args!("{}: {}", told("tenant"), told("error").escape_debug())));
            }
            if let Some(end) = word.get("result") {
                result = Some(end.clone());
            }
            Ok(())
        })
        .await?;
    result.ok_or_else(|| Error::new(ErrorKind::Unavailable, "it broke off: run it again to go on"))
}
