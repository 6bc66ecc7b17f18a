//! What every tenant's schema should be, and what one tenant's is.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use rusqlite::Connection;

use super::{DataDir, Migrations, look_into};
use crate::error::{ErrorKind, Result};
use crate::hex::hex;
use crate::id::TenantId;

/// Differences that are told of one tenant at most.
const TOLD_MAX: usize = 20;

/// The schema that this program's migrations make.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    owners: [Migrations; 2],
    /// Every object by name, with the text that made it.
    objects: BTreeMap<String, String>,
    target: String,
}

/// What there is of one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// No file yet: the one that comes has every migration.
    Nothing,
    /// So many steps of the host's list and of the program's are behind it.
    At {
        /// Of the host's.
        host: usize,
        /// Of the program's.
        app: usize,
        /// Whether these are all.
        current: bool,
        /// How it differs from what the migrations make; empty while it is not current.
        drift: Vec<String>,
    },
}

impl Expected {
    /// Runs all migrations in memory and looks at what they made.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: a migration fails even in an empty file.
    pub(crate) fn new(app: &Migrations) -> Result<Self> {
        let owners = [Migrations::of_host(), app.clone()];
        let mut conn = Connection::open_in_memory()?;
        owners.iter().try_for_each(|owner| owner.apply(&mut conn))?;
        let objects = objects(&conn)?;
        let mut hash = digest::Context::new(&digest::SHA256);
        let made = objects.iter().flat_map(|(name, sql)| [name.as_str(), sql]);
        for text in made.chain(owners.iter().flat_map(Migrations::texts)) {
            hash.update(text.as_bytes());
            hash.update(b"\0");
        }
        let hash = hex(&hash.finish().as_ref()[..6]);
        let target = format!("host-{}-app-{}-{hash}", owners[0].len(), owners[1].len());
        Ok(Self { owners, objects, target })
    }

    /// A name for this schema, another for every other.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// The names of the migrations that a file with `host` and `app` steps behind it still wants.
    pub(crate) fn missing(&self, host: usize, app: usize) -> Vec<String> {
        let named = |owner: &Migrations, done| owner.names().skip(done).map(str::to_owned).collect::<Vec<_>>();
        [named(&self.owners[0], host), named(&self.owners[1], app)].concat()
    }

    /// How far `tenant`'s file is. It is not changed, and a running host goes on beside it.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: the file is newer than this program, damaged or out of reach.
    pub(crate) fn look(&self, dir: &DataDir, tenant: &TenantId) -> Result<Found> {
        let conn = match look_into(dir, tenant) {
            Ok(conn) => conn,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(error),
        };
        let (host, app) = (self.owners[0].check(&conn)?, self.owners[1].check(&conn)?);
        let current = host == self.owners[0].len() && app == self.owners[1].len();
        let drift = if current { self.drift(&conn)? } else { Vec::new() };
        Ok(Found::At { host, app, current, drift })
    }

    /// What the migrations make and the file has not, or has otherwise. What a tenant made for itself is its own.
    fn drift(&self, conn: &Connection) -> Result<Vec<String>> {
        let there = objects(conn)?;
        let differs = |(name, sql): (&String, &String)| match there.get(name) {
            None => Some(format!("{name} is missing")),
            Some(other) if !words(other).eq(words(sql)) => Some(format!("{name} is defined in another way")),
            Some(_) => None,
        };
        Ok(self.objects.iter().filter_map(differs).take(TOLD_MAX).collect())
    }
}

/// The text of a definition, however it is spaced.
fn words(sql: &str) -> impl Iterator<Item = &str> {
    sql.split_whitespace()
}

fn objects(conn: &Connection) -> Result<BTreeMap<String, String>> {
    let mut listed = conn.prepare("SELECT name, coalesce(sql, '') FROM sqlite_schema")?;
    let rows = listed.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
