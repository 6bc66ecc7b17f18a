//! `freehold config`.

use clap::Subcommand;

use super::{Place, say};
use crate::error::{Error, Result};

#[derive(Subcommand)]
pub(super) enum ConfigCommand {
    /// Read the configuration and say whether it is good
    ///
    /// Example: freehold config check --config freehold.toml
    Check(Place),
    /// Print the settings in force, defaults included, as TOML
    ///
    /// Example: freehold config show
    Show(Place),
}

pub(super) fn run(command: &ConfigCommand) -> Result<()> {
    match command {
        ConfigCommand::Check(place) => {
            place.settings()?;
            say("the configuration is good")
        }
        ConfigCommand::Show(place) => {
            let settings = place.settings()?;
            say(toml::to_string_pretty(&settings)
                .map_err(|error| Error::internal("the settings can't be written").with_source(error))?
                .trim_end())
        }
    }
}
