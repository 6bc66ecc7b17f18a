//! `freehold key`. A running host sees a change within a second.

use clap::Subcommand;
use serde_json::json;

use super::{Place, admin_action, data_dir, say};
use crate::ask::StateKeys;
use crate::auth::{generate_key, list_keys, promote_key, retire_key, signing_of};
use crate::error::Result;

/// Rotation takes three steps, with time for every host and every token between them: generate a key, promote
/// it, and when the last token of the old one has expired, retire that one.
#[derive(Subcommand)]
pub(super) enum KeyCommand {
    /// Make an Ed25519 key and print its name; the first one made signs, later ones only verify at first
    ///
    /// Example: freehold key generate
    Generate {
        #[command(flatten)]
        place: Place,
        /// Only if there is none yet: for scripts that prepare a host
        #[arg(long)]
        if_none: bool,
    },
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
        /// Print a JSON array of objects with kid and signing
        #[arg(long)]
        json: bool,
    },
    /// Let this key sign from now on; tokens of the others stay good
    ///
    /// Example: freehold key promote 0a1b2c3d4e5f6071
    Promote {
        #[command(flatten)]
        place: Place,
        /// Its name, as `key list` prints it
        kid: String,
    },
    /// Take a key out of use: every token that it signed is void
    ///
    /// Example: freehold key retire 0a1b2c3d4e5f6071
    Retire {
        #[command(flatten)]
        place: Place,
        /// Its name, as `key list` prints it
        kid: String,
    },
}

pub(super) fn run(command: &KeyCommand) -> Result<()> {
    match command {
        KeyCommand::Generate { place, if_none: true } if has_keys(place)? => Ok(()),
        KeyCommand::Generate { place, .. } => change(place, "key.generate", generate_key),
        KeyCommand::Promote { place, kid } => change(place, "key.promote", |dir| {
            promote_key(dir, kid)?;
            Ok(kid.clone())
        }),
        KeyCommand::Retire { place, kid } => change(place, "key.retire", |dir| {
            retire_key(dir, kid)?;
            Ok(kid.clone())
        }),
        KeyCommand::RotateState(place) => StateKeys::rotate(&data_dir(&place.settings()?)?.keys()),
        KeyCommand::List { place, json } => {
            let dir = data_dir(&place.settings()?)?.keys();
            let (keys, signing) = (list_keys(&dir)?, signing_of(&dir));
            if *json {
                let told = |kid: &String| json!({ "kid": kid, "signing": signing.as_ref() == Some(kid) });
                return say(json!(keys.iter().map(told).collect::<Vec<_>>()));
            }
            keys.iter().try_for_each(say)
        }
    }
}

fn has_keys(place: &Place) -> Result<bool> {
    Ok(!list_keys(&data_dir(&place.settings()?)?.keys())?.is_empty())
}

fn change(place: &Place, event: &str, work: impl FnOnce(&std::path::Path) -> Result<String>) -> Result<()> {
    let settings = place.settings()?;
    let dir = data_dir(&settings)?;
    let kid = work(&dir.keys())?;
    admin_action(&settings, &dir, event, json!({ "kid": kid }));
    say(kid)
}
