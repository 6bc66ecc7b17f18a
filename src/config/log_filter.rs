//! Which events are logged, as an operator writes it.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::error::{Error, Result};

/// `info`, or `info,freehold::tenant=debug`: levels, and levels of parts of the program.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct LogFilter(String);

impl LogFilter {
    /// The same as the library that logs takes it.
    pub(crate) fn directives(&self) -> EnvFilter {
        EnvFilter::builder().parse_lossy(&self.0)
    }
}

impl Default for LogFilter {
    /// rmcp tells arguments and results at DEBUG and session ids at INFO: nothing of that is for a log.
    fn default() -> Self {
        Self("info,rmcp=warn".to_owned())
    }
}

impl FromStr for LogFilter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // To the library a lone word may be a part of the program too: "inof" would be all of it, and silence.
        let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
        let sound = text.split(',').all(|one| one.rsplit('=').next().is_some_and(is_level));
        match EnvFilter::builder().parse(text) {
            Ok(_) if sound => Ok(Self(text.to_owned())),
            _ => Err(Error::invalid("write a level such as \"info\", or several such as \"info,rmcp=warn\"")),
        }
    }
}

impl TryFrom<String> for LogFilter {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<LogFilter> for String {
    fn from(filter: LogFilter) -> Self {
        filter.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_ends_in_levels() {
        for good in ["info", "debug", "off", "info,rmcp=warn", "warn,freehold::http=debug", "info,freehold[span]=trace"]
        {
            assert!(good.parse::<LogFilter>().is_ok(), "{good}");
        }
        for wrong in ["", "inof", "loud and clear", "info,", "info,rmcp", "info,rmcp=loud"] {
            assert!(wrong.parse::<LogFilter>().is_err(), "{wrong:?}");
        }
    }
}
