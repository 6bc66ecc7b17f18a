//! `read` ⊂ `write` ⊂ `admin`, as three bits.

use std::fmt;

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
}

/// The highest [`Scope`] that a token grants; `None` grants nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scopes(Option<Scope>);

impl Scopes {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self(Some(Scope::Admin))
    }

    /// Reads a space-separated list (RFC 6749 section 3.3). Names that are not ours grant nothing.
    #[must_use]
    pub fn parse(list: &str) -> Self {
        let named = |scope: &Scope| list.split(' ').any(|word| word == scope.name());
        Self(Scope::ALL.into_iter().rev().find(named))
    }

    /// Whether `scope` is granted, by name or by one that implies it.
    #[must_use]
    pub fn allow(self, scope: Scope) -> bool {
        self.0 >= Some(scope)
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let granted: Vec<_> = Scope::ALL.into_iter().filter(|scope| self.allow(*scope)).map(Scope::name).collect();
        f.write_str(&granted.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::{Scope, Scopes};

    #[test]
    fn higher_implies_lower_and_unknown_grants_nothing() {
        assert!(Scopes::parse("admin").allow(Scope::Read));
        assert!(Scopes::parse("read write").allow(Scope::Write));
        assert!(!Scopes::parse("read").allow(Scope::Write));
        assert!(!Scopes::parse("reader Read tool:x").allow(Scope::Read));
        assert_eq!(Scopes::parse("write").to_string(), "read write");
    }
}
