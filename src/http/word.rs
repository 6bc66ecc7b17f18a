//! A short value out of a message that nobody has read yet: borrowed where it can be, and ignored where it is neither
//! text nor a number.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A text, a whole number, or what stands in their place.
#[derive(Debug, Default)]
pub(super) enum Word<'a> {
    Text(Cow<'a, str>),
    Number(i64),
    #[default]
    Other,
}

impl Word<'_> {
    /// The text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// As it is told to others: text or number.
    pub(super) fn told(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Number(number) => Some(Cow::Owned(number.to_string())),
            Self::Other => None,
        }
    }
}

/// By hand: what serde makes of an untagged enum writes an error for each id that is a number.
impl<'de: 'a, 'a> Deserialize<'de> for Word<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AsWord)
    }
}

struct AsWord;

impl<'de> Visitor<'de> for AsWord {
    type Value = Word<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Word<'de>, E> {
        Ok(Word::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Word<'de>, E> {
        Ok(Word::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Word<'de>, E> {
        Ok(Word::Number(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Word<'de>, E> {
        Ok(i64::try_from(number).map_or(Word::Other, Word::Number))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Word<'de>, E> {
        Ok(Word::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Word<'de>, E> {
        Ok(Word::Other)
    }

    fn visit_unit<E>(self) -> Result<Word<'de>, E> {
        Ok(Word::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Word<'de>, A::Error> {
        IgnoredAny.visit_seq(list).map(|_| Word::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Word<'de>, A::Error> {
        IgnoredAny.visit_map(map).map(|_| Word::Other)
    }
}
