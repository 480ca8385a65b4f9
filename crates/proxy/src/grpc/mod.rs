//! etcd's grpc-proxy: it answers clients itself, from a cluster. One thread does it all; what waits
//! for a client, or is kept for the next one, is bounded.
//!
//! - [`settings`]: what the flags say
//! - [`serve`]: listeners, connections, and which service a call is for
//! - [`pages`], [`fetch`], [`metrics`]: what is not gRPC
//! - [`upstream`]: calls to the cluster
//! - [`operation`], [`plain`], [`namespace`], [`ordering`], [`cache`], [`leasing`], [`kv`]: keys
//! - [`watch`], [`lease`], [`cluster`], [`register`]: the other services that are more than passed on
//! - [`frames`]: streams out of a queue

mod cache;
mod cluster;
mod fetch;
mod frames;
mod kv;
mod lease;
mod leasing;
mod metrics;
mod namespace;
mod operation;
mod ordering;
mod pages;
mod plain;
mod register;
mod serve;
mod settings;
mod upstream;
mod watch;

use std::{rc::Rc, sync::Arc, time::Duration};

use ::client::{Client, Endpoint};
use cli::flags::Parsed;
use proto::etcdserverpb::{MemberListRequest, MemberListResponse};
use server::{config::Logs, rpc::Method, start::Descriptors};
use tls::Acceptor;
use tokio::{net::TcpListener, sync::Semaphore, task::LocalSet};

use self::{
    cluster::{Cluster, Registered},
    kv::Kv,
    lease::Leases,
    leasing::Leasing,
    metrics::Metrics,
    namespace::Namespace,
    ordering::Ordering,
    pages::Pages,
    plain::Plain,
    register::Registrar,
    serve::{Port, Proxy},
    upstream::{Asker, Upstream},
    watch::Hub,
};
use crate::goes;

const ALPN: &[&str] = &["h2", "http/1.1"];
/// Until the members have to have answered who they are.
const SYNC_WITHIN: Duration = Duration::from_secs(5);

/// Runs it; returns only when it cannot.
pub(crate) fn start(flags: &Parsed) -> i32 {
    if let Err(error) = settings::check(flags) {
        eprintln!("{error}");
        return 1;
    }
    let mut logs = Logs::default();
    if flags.bool("debug") {
        logs.level = tracing::Level::DEBUG;
    }
    if let Err(error) = server::logging::start(&logs) {
        eprintln!("{error}");
        return 1;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => LocalSet::new().block_on(&runtime, run(flags)),
        Err(error) => Err(error.to_string()),
    };
    server::logging::flush();
    if let Err(error) = ended {
        eprintln!("{error}");
    }
    1
}

async fn run(flags: &Parsed) -> Result<(), String> {
    let options = settings::listening(flags)?;
    if let Some(options) = &options {
        tracing::info!("tls-info" = options.describe(), "gRPC proxy server TLS");
    }
    let address = flags.text("listen-addr");
    let listener = listen(address)?;
    let acceptor = options.as_ref().map(|options| Acceptor::new(options, ALPN));
    let acceptor = acceptor.transpose().map_err(|error| {
        tracing::error!(level_name = "fatal", error = %error, "failed to create TLS listener");
        error.to_string()
    })?;
    let acceptor = acceptor.map(Arc::new);
    tracing::info!(address, "listening for gRPC proxy client requests");
    let client = settings::upstream(flags).await?;
    let connector = client.config().tls.clone();
    let own = settings::own(flags, options.as_ref(), pages::READ_WITHIN).await?;
    let descriptors = Descriptors::raise(1).map_err(|error| error.to_string())?;
    let seats = usize::try_from(descriptors.clients).unwrap_or(usize::MAX);
    let seats = Arc::new(Semaphore::new(seats.clamp(1, Semaphore::MAX_PERMITS)));
    let metrics_port = metrics_port(flags.text("metrics-addr"), acceptor.as_ref())?;
    if flags.bool("enable-pprof") {
        tracing::info!(path = "/debug/pprof", "gRPC proxy enabled pprof");
    }
    follow_members(&client, flags.duration("endpoints-auto-sync-interval"));
    let proxy = build(flags, client, own, connector).await?;
    if let Some(port) = metrics_port {
        tracing::info!("gRPC proxy server metrics URL serving");
        tokio::task::spawn_local(serve::accept(proxy.clone(), port, seats.clone()));
    }
    tracing::info!(address, "started gRPC proxy");
    server::start::notify_init();
    let port = Port {
        listener,
        acceptor,
        is_whole: true,
    };
    serve::accept(proxy, port, seats).await;
    Ok(())
}

fn listen(address: &str) -> Result<TcpListener, String> {
    TcpListener::from_std(goes::bind(address)?).map_err(|error| error.to_string())
}

/// The port of `--metrics-addr`.
fn metrics_port(url: &str, acceptor: Option<&Arc<Acceptor>>) -> Result<Option<Port>, String> {
    if url.is_empty() {
        return Ok(None);
    }
    let (scheme, _) = url.split_once("://").unwrap_or_default();
    let acceptor = match (scheme, acceptor) {
        ("https", None) => {
            return Err(format!(
                "cannot listen on TLS for {url}: KeyFile and CertFile are not presented"
            ));
        }
        ("https", Some(acceptor)) => Some(acceptor.clone()),
        _ => None,
    };
    let listener = listen(goes::without_scheme(url))?;
    tracing::info!(address = url, "gRPC proxy listening for metrics");
    Ok(Some(Port {
        listener,
        acceptor,
        is_whole: false,
    }))
}

/// Puts the parts together, and starts what works by itself.
async fn build(
    flags: &Parsed,
    client: Client,
    own: Option<Client>,
    connector: Option<Arc<tls::Connector>>,
) -> Result<Rc<Proxy>, String> {
    let metrics = Rc::new(Metrics::new());
    let upstream = Rc::new(Upstream::new(client).map_err(|error| error.to_string())?);
    let namespace = Namespace::new(flags.text("namespace"));
    let ordering = flags.bool("experimental-serializable-ordering");
    let plain = Rc::new(Plain {
        upstream: upstream.clone(),
        namespace: namespace.clone(),
        ordering: ordering.then(Ordering::default),
    });
    if let Some(ordering) = &plain.ordering {
        pages::recover_order(&upstream, |revision| ordering.saw(revision)).await;
    }
    let prefix = flags.text("experimental-leasing-prefix");
    let leasing = (!prefix.is_empty()).then(|| Leasing::new(plain.clone(), prefix));
    if let Some(leasing) = &leasing {
        tokio::task::spawn_local(leasing.clone().keep());
    }
    let kv = Rc::new(Kv::new(plain.clone(), leasing, metrics.clone()));
    let registered = Rc::new(Registered::default());
    register(flags, &kv, &plain, &registered);
    Ok(Rc::new(Proxy {
        hub: Hub::new(plain, kv.clone(), metrics.clone()),
        leases: Leases::new(upstream.clone(), namespace),
        cluster: Cluster {
            upstream: upstream.clone(),
            advertised: flags.text("advertise-client-url").to_owned(),
            registered,
        },
        pages: Pages {
            upstream: upstream.clone(),
            kv: kv.clone(),
            metrics: metrics.clone(),
            own,
            connector,
            has_profiles: flags.bool("enable-pprof"),
        },
        limits: settings::limits(flags),
        logs_calls: flags.bool("experimental-enable-grpc-logging"),
        streams: Arc::new(Semaphore::new(settings::STREAMS_MAX)),
        upstream,
        kv,
        metrics,
    }))
}

fn register(flags: &Parsed, kv: &Rc<Kv>, plain: &Rc<Plain>, registered: &Rc<Registered>) {
    let prefix = flags.text("resolver-prefix");
    if prefix.is_empty() {
        return;
    }
    let registrar = Rc::new(Registrar {
        kv: kv.clone(),
        plain: plain.clone(),
        prefix: prefix.to_owned(),
        address: flags.text("advertise-client-url").to_owned(),
        ttl: flags.int("resolver-ttl"),
        registered: registered.clone(),
    });
    tokio::task::spawn_local(registrar.clone().register());
    tokio::task::spawn_local(registrar.follow());
}

/// Asks the members for their addresses after every interval, and uses those.
fn follow_members(client: &Client, interval: Duration) {
    if interval.is_zero() {
        return;
    }
    let client = client.clone();
    tokio::task::spawn_local(async move {
        loop {
            tokio::time::sleep(interval).await;
            if let Err(error) = sync(&client).await {
                tracing::info!(error, "Auto sync endpoints failed.");
            }
        }
    });
}

async fn sync(client: &Client) -> Result<(), String> {
    let upstream = Upstream::new(client.clone()).map_err(|error| error.to_string())?;
    let asker = Asker::own(SYNC_WITHIN);
    let request = MemberListRequest { linearizable: true };
    let asked = upstream.ask::<MemberListResponse>(&asker, Method::MemberList, &request);
    let list = tokio::time::timeout(SYNC_WITHIN, asked).await;
    let list = list
        .map_err(|_| "context deadline exceeded".to_owned())?
        .map_err(|error| error.to_string())?;
    let mut endpoints = Vec::new();
    // One without a name has not started; a learner does not answer.
    let serving =
        |member: &&proto::etcdserverpb::Member| !member.name.is_empty() && !member.is_learner;
    for url in list
        .members
        .iter()
        .filter(serving)
        .flat_map(|member| &member.client_ur_ls)
    {
        endpoints.push(Endpoint::parse(url).map_err(|error| error.to_string())?);
    }
    if endpoints.is_empty() || endpoints == client.endpoints() {
        return Ok(());
    }
    client
        .set_endpoints(&endpoints)
        .map_err(|error| error.to_string())?;
    let shown: Vec<&str> = endpoints.iter().map(Endpoint::as_str).collect();
    let shown = serde_json::Value::from(shown).to_string();
    tracing::info!(
        endpoints = shown,
        "the endpoints are those of the members now"
    );
    Ok(())
}
