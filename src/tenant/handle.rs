//! One resident tenant as the host holds it: its mailbox, its readers, and what bounds both.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rusqlite::{Connection, Transaction};
use tokio::sync::{OnceCell, Semaphore, broadcast, oneshot};
use tokio::time::timeout;

use super::Tenant;
use super::actor::{Mailbox, Message, Refused};
use super::behind::Behind;
use super::executor::{Credit, Executor};
use super::job::{Job, Later, once};
use super::journal::Journal;
use super::meter::{Meter, Tab};
use super::news::{self, Heard, List, News};
use super::quota::Quota;
use super::seal::Secret;
use super::tops::Tops;
use super::usage::Told;
use crate::auth::Principal;
use crate::catalog::Wakes;
use crate::clock::Clock;
use crate::config::{JournalSettings, Limits};
use crate::db::{Caller, Checkpoints, Database, Mode, Readers, Template, Writer};
use crate::error::{Error, ErrorKind, Result};
use crate::id::TenantId;

/// What a caller is told to wait when a queue is full: some commits' worth.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// One resident tenant, on nobody's behalf yet. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Handle(pub(super) Arc<Inner>);

pub(super) struct Inner {
    id: TenantId,
    pub(super) limits: Limits,
    /// What the tenant's cursors are sealed with, once it is known.
    pub(super) secret: OnceCell<Secret>,
    pub(super) journal: Arc<Journal>,
    quota: Arc<Quota>,
    pub(super) mailbox: Mailbox,
    behind: Arc<Behind>,
    pub(super) checkpoints: Checkpoints,
    pub(super) template: Template,
    /// A checkpoint is made, or gone back to, one at a time.
    pub(super) copying: Arc<Semaphore>,
    pub(super) readers: Readers,
    /// One permit per reader connection.
    pub(super) reading: Arc<Semaphore>,
    /// Reads that run or wait.
    reads: AtomicUsize,
    pub(super) executor: Executor,
    /// What the tenant has computed lately, reads and writes alike.
    pub(super) credit: Arc<Credit>,
    meter: Arc<Meter>,
    news: broadcast::Sender<Heard>,
    around: Surroundings,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.around.tops.leave(&self.id, &self.meter);
    }
}

/// What a tenant has of the process around it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Surroundings {
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// When it is to be opened for its reminders.
    pub wakes: Arc<Wakes>,
    /// What is kept of its calls.
    pub journal: JournalSettings,
    /// Where it is counted what it does.
    pub tops: Tops,
}

impl Handle {
    /// Starts the actor of `database`, on the account that it was opened on.
    #[must_use]
    pub(crate) fn start(
        id: TenantId,
        database: Database,
        limits: Limits,
        (executor, credit): (Executor, Arc<Credit>),
        around: Surroundings,
    ) -> Self {
        let behind = Arc::new(Behind::new(limits.behind));
        let reading = Arc::new(Semaphore::new(limits.readers));
        let meter = around.tops.enter(&id);
        let quota = Arc::new(Quota::new(&limits));
        let Database { writer, readers, checkpoints, template, bytes } = database;
        let journal = Journal::new(around.journal, Told::new(bytes));
        let mailbox =
            Mailbox::start(writer, Arc::clone(&behind), limits.mailbox, executor.clone(), Arc::clone(&credit));
        let (secret, reads, news) = (OnceCell::new(), 0.into(), broadcast::Sender::new(news::BACKLOG));
        Self(Arc::new(Inner {
            id,
            limits,
            secret,
            journal,
            quota,
            mailbox,
            behind,
            checkpoints,
            template,
            copying: Arc::new(Semaphore::new(1)),
            readers,
            reading,
            reads,
            executor,
            credit,
            meter,
            news,
            around,
        }))
    }

    /// The tenant's name.
    #[must_use]
    pub(crate) fn id(&self) -> &TenantId {
        &self.0.id
    }

    /// The tenant's bounds.
    #[must_use]
    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// What the tenant has under way, and may have.
    #[must_use]
    pub(crate) fn quota(&self) -> &Arc<Quota> {
        &self.0.quota
    }

    /// What the tenant has computed.
    pub(super) fn credit(&self) -> &Arc<Credit> {
        &self.0.credit
    }

    /// What it has done since it was opened.
    #[must_use]
    pub(crate) fn meter(&self) -> &Meter {
        &self.0.meter
    }

    /// Whether it has computed more than its share of late, so that its work begins in the background.
    #[must_use]
    pub(crate) fn is_in_debt(&self) -> bool {
        self.0.credit.is_spent()
    }

    /// The time of day.
    #[must_use]
    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.around.clock
    }

    /// When it is to be opened for its reminders.
    #[must_use]
    pub(crate) fn wakes(&self) -> &Arc<Wakes> {
        &self.0.around.wakes
    }

    /// The tenant as `principal` may use it.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when the principal is another tenant's: routing chose by it, so this can't be.
    pub(crate) fn on_behalf_of(&self, principal: Principal) -> Result<Tenant> {
        if *principal.tenant() != self.0.id {
            return Err(Error::internal("a principal was routed to another tenant"));
        }
        Ok(Tenant { handle: self.clone(), principal, spent: None })
    }

    /// Tells who subscribed to `uri` that it reads differently now. Waits for nobody: a listener that can't
    /// keep up takes everything for changed.
    pub(crate) fn notify(&self, uri: impl Into<Arc<str>>) {
        self.tell(News::Resource(uri.into()));
    }

    /// Tells every listener that `list` has other entries now.
    pub(crate) fn list_changed(&self, list: List) {
        self.tell(News::List(list));
    }

    /// Tells every listener that all that it has heard of may read differently now.
    pub(super) fn everything_changed(&self) {
        // An error says that nobody listens.
        let _ = self.0.news.send(Heard::Everything);
    }

    /// What changes from now on.
    #[must_use]
    pub(crate) fn news(&self) -> broadcast::Receiver<Heard> {
        self.0.news.subscribe()
    }

    /// A way to tell that a resource has changed, for work that must not hold the tenant open.
    pub(super) fn teller(&self) -> impl Fn(&'static str) + Send + use<> {
        let news = self.0.news.clone();
        move |uri| {
            // An error says that nobody listens.
            let _ = news.send(Heard::One(News::Resource(uri.into())));
        }
    }

    fn tell(&self, news: News) {
        // An error says that nobody listens.
        let _ = self.0.news.send(Heard::One(news));
    }

    /// Whether the actor has ended, so that the tenant has to be opened anew.
    #[must_use]
    pub(crate) fn is_closed(&self) -> bool {
        self.0.mailbox.is_closed()
    }

    /// Runs `work` in a transaction and returns after its commit, whatever the caller's scopes: with
    /// [`Mode::Host`], the host's own way to its tables in this file.
    ///
    /// # Errors
    /// As [`Tenant::write`], but for the scope.
    pub(crate) async fn write<T, F>(&self, mode: Mode, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    {
        self.send(mode, false, None, once(work)).await
    }

    /// Takes in `work` of the host's own, for which nobody waits: it is durable with the tenant's next commit, or a
    /// second later, and before the file is closed. If it fails, the log says so. kill -9 may lose it until then.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`]: `limits.behind` of them wait; [`ErrorKind::Unavailable`]: the tenant is being closed.
    pub(crate) fn later(&self, work: impl FnOnce(&Transaction<'_>) -> Result<()> + Send + 'static) -> Result<()> {
        self.later_or(work, || {})
    }

    /// As [`Handle::later`]; where `work` fails, or its commit, `failed` is called.
    ///
    /// # Errors
    /// As [`Handle::later`], and `failed` is not called.
    pub(crate) fn later_or(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<()> + Send + 'static,
        failed: impl FnOnce() + Send + 'static,
    ) -> Result<()> {
        self.0.behind.push(Box::new(Later { work: once(work), failed }))
    }

    /// Runs `work` on the tenant's threads and account, not in a transaction.
    ///
    /// # Errors
    /// What `work` returns; [`ErrorKind::Internal`]: it panicked, or no thread could be had for it.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        self.0.executor.run(&self.0.credit, work).await?
    }

    /// Lends `work` the writer between two commits. What was asked for before it is durable by then.
    pub(super) async fn with_writer<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let lent = move |writer: &mut Writer| {
            // Who asked is gone: what it asked for is done all the same.
            let _ = reply.send(work(writer));
        };
        self.post(Message::Lend(Box::new(lent)))?;
        answer.await.unwrap_or_else(|_| Err(closing()))
    }

    fn post(&self, message: Message) -> Result<()> {
        self.0.mailbox.post(message).map_err(|refused| match refused {
            Refused::Full => Error::busy("mailbox", self.0.limits.mailbox as u64, RETRY_AFTER),
            Refused::Closed => closing(),
        })
    }

    pub(super) async fn send<T, F>(
        &self,
        mode: Mode,
        repeats: bool,
        spent: Option<&Arc<Meter>>,
        mut work: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&Transaction<'_>) -> Result<T> + Send + 'static,
    {
        let limits = &self.0.limits;
        let tab = Tab::open(&self.0.meter, spent);
        let (watched, work) = (tab.watched(), move |tx: &Transaction<'_>| tab.write(|| work(tx)));
        let (job, turn, _waiting, mut answer) = Job::new(mode, repeats, work, self.0.news.clone());
        self.post(Message::Write(Box::new(job)))?;
        let answered = match timeout(limits.queue_deadline, &mut answer).await {
            Ok(answered) => answered,
            Err(_) if turn.give_up() => return Err(waited(limits)),
            // It has begun: its own deadline bounds it, and its answer must not be lost.
            Err(_) => answer.await,
        };
        watched.iter().filter(|_| matches!(answered, Ok(Ok(_)))).for_each(Tab::committed);
        answered.unwrap_or_else(|_| Err(closing()))
    }

    /// Runs `work` on a connection that can only read, whatever the caller's scopes.
    ///
    /// # Errors
    /// As [`Handle::write`].
    pub(crate) async fn read<T, F>(&self, mode: Mode, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.fetch(mode, None, work).await
    }

    pub(super) async fn fetch<T, F>(&self, mode: Mode, spent: Option<&Arc<Meter>>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let tab = Tab::open(&self.0.meter, spent);
        let limits = &self.0.limits;
        let place = Place::take(self)?;
        let permit = timeout(limits.queue_deadline, Arc::clone(&self.0.reading).acquire_owned()).await;
        let permit = permit.map_err(|_| waited(limits))?.map_err(|_| closing())?;
        let (caller, _waiting) = Caller::new();
        let job = move || {
            // Kept until the reader is back, even when the caller is long gone.
            let (_permit, place) = (permit, place);
            place.0.0.readers.read(mode, caller, |conn| tab.read(|| work(conn)))
        };
        self.0.executor.run(&self.0.credit, job).await?
    }
}

/// A read's place in the queue; leaving it is what dropping does.
struct Place(Handle);

impl Place {
    fn take(handle: &Handle) -> Result<Self> {
        let Inner { limits, reads, .. } = &*handle.0;
        let most = limits.readers + limits.reads_waiting;
        let place = Self(handle.clone());
        if reads.fetch_add(1, Ordering::AcqRel) >= most {
            return Err(Error::busy("reads_waiting", limits.reads_waiting as u64, RETRY_AFTER));
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.reads.fetch_sub(1, Ordering::AcqRel);
    }
}

fn waited(limits: &Limits) -> Error {
    let millis = u64::try_from(limits.queue_deadline.as_millis()).unwrap_or(u64::MAX);
    Error::busy("queue_deadline", millis, Duration::from_secs(1))
}

fn closing() -> Error {
    Error::new(ErrorKind::Unavailable, "the tenant is being closed; call again")
        .with_retry_after(Duration::from_secs(1))
}
