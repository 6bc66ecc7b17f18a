//! How an issuer's claim becomes a tenant's name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::TenantId;

/// `"identity"`, `"prefix:idp-"`, `"hash"`, or a table from claim to tenant.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum TenantMap {
    /// The claim is the name. The issuer can name every tenant of this host.
    Identity,
    /// The claim behind this prefix is the name.
    Prefix(String),
    /// `t-` and the first 40 hex digits of SHA-256(issuer, 0, claim): for claims that are no names.
    Hash,
    /// The claims that are known, each with its tenant.
    Table(BTreeMap<String, TenantId>),
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(untagged)]
enum Written {
    Word(String),
    Table(BTreeMap<String, String>),
}

impl TryFrom<Written> for TenantMap {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self> {
        match written {
            Written::Word(word) => match (word.as_str(), word.strip_prefix("prefix:")) {
                ("identity", _) => Ok(Self::Identity),
                ("hash", _) => Ok(Self::Hash),
                (_, Some(prefix)) => Ok(Self::Prefix(prefix.to_owned())),
                _ => Err(Error::invalid("write \"identity\", \"prefix:idp-\", \"hash\", or a table")),
            },
            Written::Table(table) => {
                let named = |(claim, name): (String, String)| Ok((claim, TenantId::parse(&name)?));
                table.into_iter().map(named).collect::<Result<_>>().map(Self::Table)
            }
        }
    }
}

impl From<TenantMap> for Written {
    fn from(map: TenantMap) -> Self {
        match map {
            TenantMap::Identity => Self::Word("identity".to_owned()),
            TenantMap::Hash => Self::Word("hash".to_owned()),
            TenantMap::Prefix(prefix) => Self::Word(format!("prefix:{prefix}")),
            TenantMap::Table(table) => {
                Self::Table(table.into_iter().map(|(claim, tenant)| (claim, tenant.to_string())).collect())
            }
        }
    }
}
