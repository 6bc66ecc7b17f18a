//! A tenant's file out of the host, into it, and from one tenant to another.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::lifecycle::served;
use super::past::{Source, moment};
use super::{Admin, Taken};
use crate::clock::LAST_MS;
use crate::config::{DEFAULT_CLASS, Limits};
use crate::db::{Examination, Staged, look_into, take_in};
use crate::error::{Error, ErrorKind, Result};
use crate::id::TenantId;
use crate::store::present;

/// The longest that a file of somebody else may be looked through.
const EXAMINED_WITHIN: Duration = Duration::from_secs(120);
/// Of a copy that is handed out, what is read at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// A copy that is ready to be handed out; dropped, it is gone.
pub(crate) struct Exported {
    admin: Admin,
    file: File,
    /// Its size.
    pub bytes: u64,
    _staged: Staged,
    _taken: Taken,
}

/// A file that a stranger sends, as it comes in.
pub(crate) struct Arriving {
    admin: Admin,
    tenant: TenantId,
    class: String,
    staged: Staged,
    file: File,
    bytes: u64,
    limits: Limits,
    _taken: Taken,
}

impl Admin {
    /// A consistent copy of a tenant's file, taken while its writes go on: an ordinary SQLite file as one commit
    /// left it, without sessions, tasks and secrets.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Conflict`] while something else is done with it.
    pub(crate) async fn export(&self, tenant: TenantId, at: Option<String>, from: Source) -> Result<Exported> {
        let _taken = self.take(&tenant)?;
        let staged = self.copy_at(tenant.clone(), at, from, false).await?;
        let (bytes, file) = (staged.bytes()?, staged.open()?);
        self.record("tenant.export", json!({ "tenant": tenant.as_str(), "bytes": bytes }));
        Ok(Exported { admin: self.clone(), file, bytes, _staged: staged, _taken })
    }

    /// The file as it is, or as it was at `at`.
    async fn copy_at(&self, tenant: TenantId, at: Option<String>, from: Source, for_another: bool) -> Result<Staged> {
        let at_ms = match (at, from) {
            (Some(at), _) => moment(&at)?,
            (None, Source::Storage) => LAST_MS,
            (None, Source::Disk) => return self.copy(tenant, for_another).await,
        };
        let rebuilt = self.past(tenant, at_ms, from).await?;
        self.run(move |_| {
            rebuilt.staged.without_the_present()?;
            if for_another {
                rebuilt.staged.as_another()?;
            }
            Ok(rebuilt.staged)
        })
        .await
    }

    async fn copy(&self, tenant: TenantId, for_another: bool) -> Result<Staged> {
        // Held open, so that what is not in the file yet gets there first.
        let open = {
            let id = tenant.clone();
            self.run(move |parts| served(&parts.catalog, &id)).await?;
            self.0.tenants.get(&tenant).await?
        };
        // Closed never.
        let _turn = self.0.state.copies.acquire().await;
        let staged = self.run(move |parts| {
            let staged = parts.staging.copy_of(&tenant)?;
            if for_another {
                staged.as_another()?;
            }
            Ok(staged)
        });
        let staged = staged.await;
        drop(open);
        staged
    }

    /// A new tenant with all that `from` has, or had, but for its sessions, tasks, reminders and journal. Out of the
    /// storage `from` need not be here: then the new one has the class that it is listed with there.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]: no `from`; [`ErrorKind::Conflict`]: there is a `to`, or something else is done with
    /// one of them.
    pub(crate) async fn fork(&self, from: TenantId, to: TenantId, at: Option<String>, source: Source) -> Result<Value> {
        let _taken = (self.take(&from)?, self.take(&to)?);
        let elsewhere = match source {
            Source::Storage => self.archive()?.catalog().await?,
            Source::Disk => None,
        };
        let (origin, target) = (from.clone(), to.clone());
        let class = self.run(move |parts| {
            let class = match (served(&parts.catalog, &origin), source) {
                (Ok(record), _) => record.class,
                // It need not be here; but what is being deleted comes back under no name.
                (Err(error), Source::Storage) if error.kind() == ErrorKind::NotFound => {
                    let listed = elsewhere.map(|copy| parts.catalog.class_in(&origin, copy.path()));
                    listed.transpose()?.flatten().unwrap_or_else(|| DEFAULT_CLASS.to_owned())
                }
                (Err(error), _) => return Err(error),
            };
            parts.settings().class(&class)?;
            parts.catalog.arriving(&target, &class, &*parts.clock)?;
            Ok(class)
        });
        let remote = source == Source::Storage;
        let told = json!({
            "from": from.as_str(), "to": to.as_str(), "class": class.await?, "at": at, "from_remote": remote,
        });
        let copied = self.copy_at(from, at, source, true).await;
        let made = self.settle(&to, copied).await?;
        self.record("tenant.fork", told);
        Ok(made)
    }

    /// Begins to take in a file as a new tenant of `class`.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`]: there is one of that name; [`ErrorKind::Invalid`]: no such class.
    pub(crate) fn import(&self, tenant: TenantId, class: String) -> Result<Arriving> {
        let limits = self.0.settings().class(&class)?.limits;
        let taken = self.take(&tenant)?;
        if self.0.catalog.tenant(&tenant).is_ok() {
            return Err(Error::new(ErrorKind::Conflict, format!("tenant {tenant} is there already")));
        }
        let (staged, file) = self.0.staging.receive()?;
        Ok(Arriving { admin: self.clone(), tenant, class, staged, file, bytes: 0, limits, _taken: taken })
    }

    /// Gives a tenant that is arriving its file, and opens it once, so that what can't be served is never there.
    pub(super) async fn settle(&self, tenant: &TenantId, copied: Result<Staged>) -> Result<Value> {
        let opened = async {
            let staged = copied?;
            let id = tenant.clone();
            self.run(move |parts| {
                staged.put(&parts.dir, &id)?;
                // Before anybody can call it: a reminder that comes along must wake it.
                if let Some(at) = present::first_reminder(&look_into(&parts.dir, &id)?)? {
                    parts.wakes.no_later_than(&id, at)?;
                }
                parts.catalog.arrived(&id)
            })
            .await?;
            self.0.tenants.get(tenant).await.map(drop)
        };
        let opened = opened.await;
        let id = tenant.clone();
        if let Err(error) = opened {
            self.0.tenants.close_now(tenant).await;
            self.run(move |parts| {
                parts.undo_arrival(&id);
                Ok(())
            })
            .await?;
            return Err(error);
        }
        self.run(move |parts| Ok(parts.catalog.tenant(&id)?.told())).await
    }
}

impl Exported {
    /// The next bytes of it, until there are no more.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when it can't be read.
    pub(crate) async fn next(mut self) -> Result<Option<(Bytes, Self)>> {
        let admin = self.admin.clone();
        admin
            .run(move |_| {
                let mut bytes = vec![0; CHUNK_BYTES];
                let read = self.file.read(&mut bytes);
                let read = read
                    .map_err(|error| Error::new(ErrorKind::Unavailable, "the copy can't be read").with_source(error))?;
                bytes.truncate(read);
                Ok((read > 0).then(|| (Bytes::from(bytes), self)))
            })
            .await
    }
}

impl Arriving {
    /// Takes in the next bytes of it.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`]: it is larger than a tenant of its class may be; [`ErrorKind::Unavailable`]: the disk
    /// can't.
    pub(crate) async fn take_in(mut self, bytes: Bytes) -> Result<Self> {
        self.bytes += bytes.len() as u64;
        let most = self.limits.database_bytes.as_u64();
        if self.bytes > most {
            return Err(Error::limit(
                "database_bytes",
                most,
                format!("the file is larger than the {most} bytes that a tenant of this class may have"),
            ));
        }
        let admin = self.admin.clone();
        admin
            .run(move |_| {
                take_in(&mut self.file, &bytes)?;
                Ok(self)
            })
            .await
    }

    /// All of it is here: it is looked through, and if it may be a tenant's file it is one from now on.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with what is wrong with it; nothing is left of it then.
    pub(crate) async fn end(self) -> Result<Value> {
        let Self { admin, tenant, class, staged, bytes, limits, file, _taken } = self;
        drop(file);
        let staged = admin
            .run(move |parts| {
                Examination { limits: &limits, app: &parts.app, within: EXAMINED_WITHIN }.look_at(staged.path())?;
                Ok(staged)
            })
            .await?;
        let id = tenant.clone();
        admin.run(move |parts| parts.catalog.arriving(&id, &class, &*parts.clock)).await?;
        let made = admin.settle(&tenant, Ok(staged)).await?;
        admin.record("tenant.import", json!({ "tenant": tenant.as_str(), "bytes": bytes }));
        Ok(made)
    }
}
