//! What has changed in a tenant, for whoever listens. It knows no protocol and no listener.

use std::sync::Arc;

/// What a listener may be behind before it has to take everything for changed.
pub(super) const BACKLOG: usize = 128;

/// The resource that a change of the schema changes.
pub(crate) const SCHEMA: &str = "tenant://schema";

/// What the tenant uses and may use.
pub(crate) const USAGE: &str = "tenant://usage";

/// What a listener hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// This has changed.
    One(News),
    /// Anything may have changed: the tenant went back to a checkpoint.
    Everything,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The resource of this URI reads differently now.
    Resource(Arc<str>),
    /// A list has other entries now.
    List(List),
}

/// A list that clients keep a copy of until they are told (`notifications/…/list_changed`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// `tools/list`.
    Tools,
    /// `prompts/list`.
    Prompts,
    /// `resources/list`, templates included.
    Resources,
}
