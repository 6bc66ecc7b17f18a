//! What a token grants: a level, `read` ⊂ `write` ⊂ `admin`, and single tools by name, `tool:<name>`.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, ErrorKind};

/// A right that a token grants over its tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Look at the tenant's state.
    Read,
    /// Change it; implies [`Scope::Read`].
    Write,
    /// Replace it as a whole; implies [`Scope::Write`].
    Admin,
}

impl Scope {
    const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// The name in a token's `scope`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// The scope of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

/// What a token grants: the highest [`Scope`] that it names, and the tools that it names one by one. Such a
/// tool may be called, and does what it does, whatever its own scope is; nothing else may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scopes {
    level: Option<Scope>,
    /// Few tokens name tools: the others carry no list.
    tools: Option<Arc<[Box<str>]>>,
}

impl Scopes {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self { level: Some(Scope::Admin), tools: None }
    }

    /// Reads a space-separated list (RFC 6749 section 3.3). Names that are not ours grant nothing, and a
    /// `*` is a name like any other.
    #[must_use]
    pub fn parse(list: &str) -> Self {
        let level = list.split(' ').filter_map(Scope::named).max();
        let tools: Arc<[Box<str>]> = list
            .split(' ')
            .filter_map(|word| word.strip_prefix("tool:"))
            .filter(|tool| !tool.is_empty())
            .map(Box::from)
            .collect();
        Self { level, tools: (!tools.is_empty()).then_some(tools) }
    }

    /// The first word of `list` that [`Scopes::parse`] would pass over, empty ones aside.
    pub(super) fn unknown_word(list: &str) -> Option<&str> {
        let tool = |word: &str| word.strip_prefix("tool:").is_some_and(|tool| !tool.is_empty());
        list.split(' ').find(|word| Scope::named(word).is_none() && !tool(word))
    }

    /// Whether `scope` is granted, by name or by one that implies it.
    #[must_use]
    pub fn allow(&self, scope: Scope) -> bool {
        self.level >= Some(scope)
    }

    /// Whether `tool`, which needs `scope`, may be called.
    #[must_use]
    pub fn allow_tool(&self, tool: &str, scope: Scope) -> bool {
        self.allow(scope) || self.names_tool(tool)
    }

    /// Whether `tool` is granted by its name.
    #[must_use]
    pub fn names_tool(&self, tool: &str) -> bool {
        self.tools.as_ref().is_some_and(|tools| tools.iter().any(|named| **named == *tool))
    }

    /// The same with `scope` granted.
    #[must_use]
    pub(crate) fn raised_to(&self, scope: Scope) -> Self {
        Self { level: self.level.max(Some(scope)), tools: self.tools.clone() }
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let levels = Scope::ALL.into_iter().filter(|scope| self.allow(*scope)).map(|scope| scope.name().to_owned());
        let tools = self.tools.iter().flat_map(|tools| tools.iter().map(|tool| format!("tool:{tool}")));
        f.write_str(&levels.chain(tools).collect::<Vec<_>>().join(" "))
    }
}

/// A call was refused for want of this scope. The edge puts its name into the challenge (RFC 6750
/// section 3.1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct InsufficientScope(pub(crate) Scope);

impl fmt::Display for InsufficientScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the scope {} is not granted", self.0.name())
    }
}

impl std::error::Error for InsufficientScope {}

/// The refusal of a call that needs `scope`.
pub(crate) fn insufficient(scope: Scope) -> Error {
    let name = scope.name();
    Error::new(ErrorKind::Forbidden, format!("this needs the scope `{name}`: call with a token that has it"))
        .with_reason("insufficient_scope")
        .with_source(InsufficientScope(scope))
}

#[cfg(test)]
mod tests {
    use super::{Scope, Scopes};

    #[test]
    fn higher_implies_lower_and_unknown_grants_nothing() {
        assert!(Scopes::parse("admin").allow(Scope::Read));
        assert!(Scopes::parse("read write").allow(Scope::Write));
        assert!(!Scopes::parse("read").allow(Scope::Write));
        assert!(!Scopes::parse("reader Read tool:x * tool:").allow(Scope::Read));
        assert_eq!(Scopes::parse("write").to_string(), "read write");
    }

    #[test]
    fn a_tool_by_name_is_that_tool_alone() {
        let scopes = Scopes::parse("tool:note_add read tool:x");
        assert!(scopes.allow_tool("note_add", Scope::Admin) && scopes.allow_tool("any", Scope::Read));
        assert!(!scopes.allow_tool("note", Scope::Write) && !scopes.allow_tool("note_add ", Scope::Write));
        assert!(!scopes.allow(Scope::Write) && scopes.raised_to(Scope::Write).allow(Scope::Write));
        assert_eq!(scopes.to_string(), "read tool:note_add tool:x");
        assert!(!Scopes::parse("tool:*").allow_tool("x", Scope::Read));
    }
}
