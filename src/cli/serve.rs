//! `freehold serve`: on HTTP for many tenants, or on standard input for one.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use clap::{Args, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;

use super::{Place, dev, say};
use crate::catalog::Catalog;
use crate::clock::SystemClock;
use crate::config::{DEFAULT_CLASS, Flags, PublicUrl, Settings, TlsFlags};
use crate::drain::Drain;
use crate::error::{Error, ErrorKind, Result};
use crate::host::{AdminListener, Front, Host, Reload, Service, raise_file_limit, serve_behind, stop_signal};
use crate::id::TenantId;
use crate::telemetry;

/// Example: freehold serve --dev
#[derive(Args, Debug)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    place: Place,
    /// Try it: makes a key and the tenants acme and globex, prints a token and curl lines for each.
    /// Loopback only
    #[arg(long, env = "FREEHOLD_DEV")]
    dev: bool,
    /// Where agents connect [default: 127.0.0.1:8000, env: FREEHOLD_LISTEN]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where operators' programs ask, with the token in keys/admin.token; on this machine alone
    /// [default: only the socket admin.sock in the data directory; with --dev any port, env: FREEHOLD_ADMIN_LISTEN]
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<SocketAddr>,
    /// Where /metrics is answered to whoever reaches it, without a token, and nothing else is
    /// [default: nowhere, env: FREEHOLD_METRICS_LISTEN]
    #[arg(long, value_name = "ADDRESS")]
    metrics_listen: Option<SocketAddr>,
    /// The address that agents type [env: FREEHOLD_PUBLIC_URL]
    #[arg(long, value_name = "URL")]
    public_url: Option<PublicUrl>,
    /// Something in front ends TLS: plain HTTP on an address that others reach is meant
    /// [env: FREEHOLD_BEHIND_PROXY]
    #[arg(long)]
    behind_proxy: bool,
    /// Wait so long for another process that still has the data directory, such as the one that this one replaces;
    /// what comes in meanwhile is kept [default: 0s, env: FREEHOLD_WAIT_FOR_LOCK]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    wait_for_lock: Option<Duration>,
    /// The certificate chain, PEM, to speak TLS in this process [env: FREEHOLD_TLS__CERT_FILE]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key, PEM, 0600 [env: FREEHOLD_TLS__KEY_FILE]
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// http: many tenants, each with its own token. stdio: one tenant, on this process's own pipe
    #[arg(long, value_enum, default_value = "http", env = "FREEHOLD_TRANSPORT")]
    transport: Transport,
    /// The tenant that stdio serves [default: local]
    #[arg(long, value_name = "ID", env = "FREEHOLD_TENANT")]
    tenant: Option<TenantId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Transport {
    Http,
    Stdio,
}

pub(super) fn run(host: Host, args: &ServeArgs) -> Result<()> {
    let flags = Flags {
        listen: args.listen,
        admin_listen: args.admin_listen,
        metrics_listen: args.metrics_listen,
        public_url: args.public_url.clone(),
        data_dir: None,
        wait_for_lock: args.wait_for_lock,
        behind_proxy: args.behind_proxy.then_some(true),
        tls: TlsFlags { cert_file: args.tls_cert.clone(), key_file: args.tls_key.clone() },
    };
    let (place, dev) = (args.place.clone(), args.dev);
    let read = move || {
        let mut settings = place.settings_with(flags.clone())?;
        if dev {
            dev::loosen(&mut settings)?;
        }
        Ok(settings)
    };
    let settings = read()?;
    telemetry::start(&settings.log);
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::internal("the runtime can't be started").with_source(error))?;
    runtime.block_on(async {
        match args.transport {
            Transport::Http if args.tenant.is_some() => {
                Err(Error::invalid("--tenant is for --transport stdio: over HTTP the token names the tenant"))
            }
            Transport::Http => http(host, settings, args.dev, Reload::watch(read)?).await,
            Transport::Stdio => stdio(host, settings, args.tenant.clone()).await,
        }
    })
}

async fn http(host: Host, mut settings: Settings, dev: bool, reload: Reload) -> Result<()> {
    if dev {
        dev::prepare(&settings)?;
    }
    raise_open_files(&settings);
    let stop = stop_signal()?;
    let listener = TcpListener::bind(settings.listen).await.map_err(|error| {
        let message = format!("{} can't be listened on: choose another with --listen", settings.listen);
        Error::new(ErrorKind::Unavailable, message).with_source(error)
    })?;
    // Port 0 asked for any: from here on it is the one that was given.
    settings.listen = listener.local_addr().map_err(|error| Error::internal("no address").with_source(error))?;
    let front = Front::open(listener, &settings, Drain::default())?;
    let mut stop = pin!(stop);
    let started = tokio::select! {
        started = front.start(host, &settings) => started,
        () = stop.as_mut() => {
            front.end().await;
            return Ok(());
        }
    };
    let service = started?;
    service.takes_global_spans();
    // A first try has it where a browser finds it too.
    let any = dev.then(|| SocketAddr::from(([127, 0, 0, 1], 0)));
    // Before it is told that it listens: a command may be the first to ask.
    let mut admin = AdminListener::start(&service, settings.admin_listen.or(any)).await?;
    let metrics = admin.expose_metrics(&service).await?;
    let scheme = if settings.speaks_tls() { "https" } else { "http" };
    say(format_args!("listening on {scheme}://{}/mcp", settings.listen))?;
    if let Some((address, token)) = admin.port() {
        say(format_args!("admin on http://{address}, with the token in {}", token.display()))?;
    }
    if let Some(address) = metrics {
        say(format_args!("metrics on http://{address}/metrics, for whoever reaches it"))?;
    }
    if dev {
        dev::greet(&settings)?;
    }
    serve_behind(front, service, admin, Some(reload), stop).await
}

/// Takes as many file descriptors as the system allows, and says so if that is too few for what is set.
fn raise_open_files(settings: &Settings) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    // A connection takes one, a tenant in use up to nine, one at rest none.
    let wanted = settings.connections.max + 9 * settings.tenants.resident_max;
    if current.is_some_and(|current| current < u64::try_from(wanted).unwrap_or(u64::MAX)) {
        tracing::warn!(
            allowed = current,
            wanted,
            "too few open files are allowed for connections.max, and tenants.resident_max all in use: \
             raise the limit (ulimit -n)"
        );
    }
}

/// The person at the pipe owns the files and needs no token; the tenant is made if it is not there.
async fn stdio(host: Host, settings: Settings, tenant: Option<TenantId>) -> Result<()> {
    let tenant = match tenant {
        Some(tenant) => tenant,
        None => TenantId::parse("local")?,
    };
    let stop = stop_signal()?;
    let service = Service::start(host, &settings, true)?;
    service.takes_global_spans();
    match Catalog::open(&super::data_dir(&settings)?)?.create(&tenant, DEFAULT_CLASS, &SystemClock) {
        Err(error) if error.kind() != ErrorKind::Conflict => return Err(error),
        _ => {}
    }
    // Its socket alone: standard output is the protocol's, and a port's address could be told nowhere.
    let admin = AdminListener::start(&service, None).await?;
    let served = tokio::select! {
        served = service.serve_stdio(&tenant) => served,
        () = stop => Ok(()),
    };
    service.close().await;
    drop(admin);
    served
}
