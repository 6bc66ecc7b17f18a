//! The one look into a body before anything is begun: what it calls and whether it asks for an answer. A stream
//! that has started can't become a 403. The handler looks again; headers that repeat the body are not believed.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::word::Word;

use crate::auth::{Principal, Scope, insufficient};
use crate::error::{Error, Result};

/// As much of a JSON-RPC message as says what it wants. A name that stands twice does not parse: whoever reads
/// the other one would see another call.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted<'a> {
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    params: Option<Named<'a>>,
    #[serde(borrow, default)]
    id: Option<Word<'a>>,
}

/// An id comes back with every event of a stream.
const ID_BYTES_MAX: usize = 256;

#[derive(Debug, Deserialize)]
struct Named<'a> {
    #[serde(borrow, default)]
    name: Option<Word<'a>>,
}

/// A message of whose parameters nothing is said.
#[derive(Deserialize)]
struct Bare {
    method: Option<IgnoredAny>,
}

/// Whether `body` is a list of messages, or means to be one.
pub(super) fn is_batch(body: &[u8]) -> bool {
    body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[')
}

impl<'a> Wanted<'a> {
    /// What `body` wants; nothing where it is no message, which others refuse in their words. Asked of every
    /// caller: what stands twice is one call to us and perhaps another to whoever reads next.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when a name stands twice, an id is longer than 256 bytes, or parameters are no
    /// object: what can't be looked into is not let past.
    pub(super) fn all(body: &'a [u8]) -> Result<Vec<Self>> {
        let batch = is_batch(body);
        let parsed = if batch {
            serde_json::from_slice(body)
        } else {
            serde_json::from_slice(body).map(|message| vec![message])
        };
        let parsed: Result<Vec<Self>, serde_json::Error> = parsed;
        let long = |one: &Self| matches!(&one.id, Some(Word::Text(text)) if text.len() > ID_BYTES_MAX);
        if parsed.as_ref().is_ok_and(|all| all.iter().any(long)) {
            return Err(Error::invalid(format!("an id is at most {ID_BYTES_MAX} bytes: send a shorter one")));
        }
        parsed.or_else(|error| {
            let bare = if batch {
                serde_json::from_slice(body)
            } else {
                serde_json::from_slice(body).map(|message| vec![message])
            };
            let is_message = bare.is_ok_and(|all: Vec<Bare>| all.iter().any(|one| one.method.is_some()));
            match error.to_string().starts_with("duplicate field") {
                true => Err(Error::invalid("a name stands twice in this message: send each of its fields once")),
                false if is_message => {
                    Err(Error::invalid("a message's `params` are an object, and its `method` is text"))
                }
                false => Ok(Vec::new()),
            }
        })
    }

    /// Whether anything in `body`, of which `all` is wanted, asks for an answer (JSON-RPC 2.0 section 4): it has a
    /// method and an id. What is no message counts as one, for it is answered.
    pub(super) fn any_call(all: &[Self], body: &[u8]) -> bool {
        all.iter().any(|one| one.method.is_some() && one.id.is_some()) || all.is_empty() && !body.is_empty()
    }

    /// The tool that is called, if one is.
    pub(super) fn tool(&self) -> Option<&str> {
        let calls = self.method.as_deref() == Some("tools/call");
        match &self.params.as_ref().filter(|_| calls)?.name {
            Some(Word::Text(name)) => Some(name),
            _ => None,
        }
    }

    /// The method, as the audit has it.
    pub(super) fn method(&self) -> Option<&str> {
        self.method.as_deref()
    }

    /// Refuses what `caller` may not do. `scope_of` knows what a tool needs; of one that it does not know the
    /// handler says that there is none.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Forbidden`] with the scope that is missing.
    pub(super) fn check(&self, caller: &Principal, scope_of: impl Fn(&str) -> Option<Scope>) -> Result<()> {
        if let Some(tool) = self.tool() {
            return match scope_of(tool) {
                Some(scope) if !caller.scopes().allow_tool(tool, scope) => Err(insufficient(scope)),
                _ => Ok(()),
            };
        }
        let reads = self.method().is_some_and(|method| {
            let (family, _) = method.split_once('/').unwrap_or_default();
            matches!(family, "resources" | "prompts" | "completion" | "subscriptions")
        });
        if reads && !caller.scopes().allow(Scope::Read) { Err(insufficient(Scope::Read)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::Wanted;

    #[test]
    fn a_name_that_stands_twice_is_refused_and_nonsense_is_left_to_others() {
        let tool = |body: &[u8]| {
            Wanted::all(body).map(|all| all.iter().filter_map(|one| one.tool().map(str::to_owned)).collect::<Vec<_>>())
        };
        assert_eq!(
            tool(br#"{"method":"tools/call","params":{"name":"a","x":[1]},"id":1}"#).ok(),
            Some(vec!["a".to_owned()])
        );
        assert_eq!(
            tool(br#" [{"method":"tools/call","params":{"name":"a"}},{"method":"ping"}]"#).ok(),
            Some(vec!["a".to_owned()])
        );
        assert_eq!(tool(br#"{"method":"tools/call","params":{"name":"\u0061"}}"#).ok(), Some(vec!["a".to_owned()]));
        for twice in [
            &br#"{"method":"tools/call","params":{"name":"a","name":"b"}}"#[..],
            br#"{"method":"ping","method":"tools/call","params":{"name":"a"}}"#,
            br#"{"method":"tools/call","params":{},"params":{"name":"a"}}"#,
        ] {
            assert!(Wanted::all(twice).is_err());
        }
        for nonsense in [&b"{"[..], b"7", b"", b"\xff"] {
            assert!(Wanted::all(nonsense).is_ok_and(|all| all.is_empty()));
        }
        for closed in [
            &br#"{"method":7}"#[..],
            br#"{"method":"x","params":[1,2]}"#,
            br#"[{"method":"ping"},{"method":"x","params":"y"}]"#,
        ] {
            assert!(Wanted::all(closed).is_err());
        }
    }
}
