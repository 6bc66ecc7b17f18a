//! Classes of tenants: `[limits]` as `[limits.class.NAME]` overrides it. Which tenant is of which class,
//! the catalog knows.

use std::collections::BTreeMap;

use figment::Figment;
use figment::providers::Serialized;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::load::explained;
use super::{Durability, Limits, Pack, Settings};
use crate::error::{Error, Result};

/// The class of tenants for which nothing else was said. Its limits are `[limits]`.
pub(crate) const DEFAULT_CLASS: &str = "default";
/// The keys that are not limits.
const DURABILITY: &str = "durability";
const PACKS: &str = "packs";
/// In bytes: a class is a word.
const NAME_MAX: usize = 63;

/// What one class has instead of `[limits]`: any of the same keys, `durability` and `packs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Overrides(Map<String, Value>);

impl Overrides {
    /// The same with `key` set as `freehold.toml` would: `("statement_deadline", "30s")`, `("mailbox", 8)`.
    /// Whether there is such a key, [`Settings::class`] says.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }
}

/// What a tenant of one class gets.
#[derive(Clone, Debug)]
pub struct Class {
    /// Its bounds.
    pub limits: Limits,
    /// What an acknowledged write has survived.
    pub durability: Durability,
    /// The built-in tools, where the class has others than the host.
    pub packs: Option<Vec<Pack>>,
}

impl Settings {
    /// What tenants of class `name` get.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid): there is no such class (the message names those that
    /// there are), or one of its keys is unknown or of a wrong value.
    pub fn class(&self, name: &str) -> Result<Class> {
        let mut overrides = match self.limits.class.get(name) {
            Some(overrides) => overrides.0.clone(),
            None if name == DEFAULT_CLASS => Map::new(),
            None => return Err(self.no_such_class(name)),
        };
        let at = |error| Error::invalid(format!("limits.class.{name}{}", explained(&error, &[DURABILITY, PACKS])));
        let durability = match overrides.remove(DURABILITY) {
            Some(own) => Figment::from(Serialized::default(DURABILITY, own)).extract_inner(DURABILITY).map_err(at)?,
            None => self.durability,
        };
        let packs = match overrides.remove(PACKS) {
            Some(own) => Some(Figment::from(Serialized::default(PACKS, own)).extract_inner(PACKS).map_err(at)?),
            None => None,
        };
        if overrides.contains_key("class") {
            return Err(Error::invalid(format!("limits.class.{name}.class: a class has no classes of its own")));
        }
        let limits = Limits { class: BTreeMap::new(), ..self.limits.clone() };
        let limits = Figment::from(Serialized::defaults(limits)).merge(Serialized::defaults(overrides));
        let limits = limits.extract().map_err(at)?;
        Ok(Class { limits, durability, packs })
    }

    /// Every class by its name, with what it gets.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid): a name is none, or as [`Settings::class`].
    pub(crate) fn classes(&self) -> Result<BTreeMap<String, Class>> {
        let named = self.limits.class.keys().map(String::as_str);
        if let Some(wrong) = named.clone().find(|name| !is_name(name)) {
            return Err(Error::invalid(format!(
                "limits.class.{wrong}: a class is named with 1 to {NAME_MAX} of a-z, 0-9, '-' and '_', \
                 and `{DEFAULT_CLASS}` is [limits] itself"
            )));
        }
        let named = named.chain([DEFAULT_CLASS]);
        named.map(|name| Ok((name.to_owned(), self.class(name)?))).collect()
    }

    fn no_such_class(&self, name: &str) -> Error {
        let known: Vec<_> = [DEFAULT_CLASS].into_iter().chain(self.limits.class.keys().map(String::as_str)).collect();
        Error::invalid(format!(
            "there is no class `{name}`: use one of {}, or add [limits.class.{name}] to the configuration",
            known.join(", ")
        ))
    }
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(plain) && name != DEFAULT_CLASS
}
