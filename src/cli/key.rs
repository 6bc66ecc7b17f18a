//! `freehold key`.

use clap::Subcommand;

use super::{Place, data_dir, say};
use crate::ask::StateKeys;
use crate::auth::{generate_key, list_keys};
use crate::error::Result;

#[derive(Subcommand)]
pub(super) enum KeyCommand {
    /// Make an Ed25519 signing key and print its name; the first one made signs
    ///
    /// Example: freehold key generate
    Generate(Place),
    /// Put a fresh key on top of those that seal questions to users on their way; what is on its way still opens.
    /// A running server takes it up at its next start
    ///
    /// Example: freehold key rotate-state
    RotateState(Place),
    /// Print the names of the keys, one a line
    ///
    /// Example: freehold key list --json
    List {
        #[command(flatten)]
        place: Place,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(command: &KeyCommand) -> Result<()> {
    match command {
        KeyCommand::Generate(place) => say(generate_key(&data_dir(&place.settings()?)?.keys())?),
        KeyCommand::RotateState(place) => StateKeys::rotate(&data_dir(&place.settings()?)?.keys()),
        KeyCommand::List { place, json } => {
            let keys = list_keys(&data_dir(&place.settings()?)?.keys())?;
            if *json {
                return say(serde_json::json!(keys));
            }
            keys.iter().try_for_each(say)
        }
    }
}
