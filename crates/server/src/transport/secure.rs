//! TLS on listeners and towards other members: the self-signed certificates of
//! `--auto-tls`, the acceptors, the connector, and the log lines of etcd about
//! them. A listener with an https URL never serves a connection that has not
//! come through here.

use std::{io, net::SocketAddr, path::Path, rc::Rc, sync::Arc};

use member::Error;
use tls::{Accepted, Acceptor, Connector, Options, Refused};
use tokio::net::{TcpStream, UnixStream};

use super::Surface;
use crate::{
    config::{Config, Discovery, ListenTarget, ListenUrl},
    runtime::Runtime,
};

/// What the listeners need for TLS.
#[derive(Clone, Default)]
pub struct Security {
    client: Option<Arc<Acceptor>>,
    metrics: Option<Arc<Acceptor>>,
    peer: Option<Arc<Acceptor>>,
}

/// HTTP/2 and HTTP/1.1 for clients; the peer protocol is HTTP/1.1.
const CLIENT_ALPN: &[&str] = &["h2", "http/1.1"];
const PEER_ALPN: &[&str] = &["http/1.1"];

impl Security {
    /// Makes what `--auto-tls` asks for, reads all certificate files, and puts
    /// the connector towards other members into `config`.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub fn open(config: &mut Config) -> Result<Security, Error> {
        let dir = config.data_dir.join("fixtures");
        let years = config.security.self_signed_years;
        if config.security.peer_auto {
            let hosts = hosts(&[&config.listen_peer]);
            self_signed(&mut config.security.peer, "peer", &dir, &hosts, years)?;
        }
        let peer = &config.security.peer;
        if peer.identity.is_some() {
            tracing::info!("tls-info" = peer.describe(), "starting with peer TLS");
        }
        warn_plain(&config.listen_peer, peer, "--peer-client-cert-auth");
        let peer_acceptor = acceptor(peer, PEER_ALPN, &[&config.listen_peer])?;
        if peer.identity.is_some() || peer.trusted_ca.is_some() {
            let mut dialling = peer.dialling();
            // As etcd: without a CA of its own, a cluster found by SRV records is
            // known by its domain.
            if let Discovery::Srv { domain, .. } = &config.discovery
                && peer.trusted_ca.is_none()
                && config
                    .advertise_peer
                    .iter()
                    .any(|u| u.starts_with("https://"))
            {
                dialling.server_name = Some(domain.clone());
            }
            let connector = Connector::new(dialling).map_err(unusable)?;
            config.security.connector = Some(Arc::new(connector));
        }

        if config.security.client_auto {
            let hosts = hosts(&[&config.listen_client, &config.listen_client_http]);
            self_signed(&mut config.security.client, "client", &dir, &hosts, years)?;
        }
        let client = &config.security.client;
        if client.identity.is_some() {
            tracing::info!("tls-info" = client.describe(), "starting with client TLS");
        }
        for urls in [&config.listen_client, &config.listen_client_http] {
            warn_plain(urls, client, "--client-cert-auth");
        }
        // etcd checks where a client of the metrics comes from, as it does with peers.
        let scraped = Options {
            check_remote: true,
            ..client.clone()
        };
        Ok(Security {
            metrics: acceptor(&scraped, CLIENT_ALPN, &[&config.listen_metrics])?,
            client: acceptor(
                client,
                CLIENT_ALPN,
                &[&config.listen_client, &config.listen_client_http],
            )?,
            peer: peer_acceptor,
        })
    }

    /// The acceptor of a listener with an https URL.
    pub(super) fn of(&self, surface: Surface) -> Option<Arc<Acceptor>> {
        match surface {
            Surface::Peer => self.peer.clone(),
            Surface::Metrics => self.metrics.clone(),
            Surface::Client | Surface::ClientGrpc | Surface::ClientHttp => self.client.clone(),
        }
    }
}

/// An acceptor, if one of the URLs wants it. Files are read even if none does:
/// a wrong one is a mistake.
fn acceptor(
    options: &Options,
    alpn: &[&str],
    urls: &[&[ListenUrl]],
) -> Result<Option<Arc<Acceptor>>, Error> {
    if options.identity.is_none() {
        return Ok(None);
    }
    let acceptor = Acceptor::new(options, alpn).map_err(unusable)?;
    let wanted = urls.iter().any(|urls| urls.iter().any(|url| url.secure));
    Ok(wanted.then(|| Arc::new(acceptor)))
}

fn unusable(error: tls::Error) -> Error {
    Error::new(error.to_string())
}

fn self_signed(
    options: &mut Options,
    side: &str,
    dir: &Path,
    hosts: &[String],
    years: u64,
) -> Result<(), Error> {
    if options.identity.is_some() {
        tracing::warn!("ignoring {side} auto TLS since certs given");
        return Ok(());
    }
    let identity = tls::self_signed(&dir.join(side), hosts, years).map_err(|error| {
        tracing::error!(level_name = "fatal", error = %error, "failed to get {side} self-signed certs");
        unusable(error)
    })?;
    // etcd puts the new identity in place of all that was said about this side.
    *options = Options {
        identity: Some(identity.clone()),
        client_identity: Some(identity),
        self_signed: true,
        check_remote: options.check_remote,
        protocol: options.protocol.clone(),
        ..Options::default()
    };
    Ok(())
}

/// `host:port` of each URL.
fn hosts(urls: &[&[ListenUrl]]) -> Vec<String> {
    urls.iter()
        .flat_map(|urls| urls.iter())
        .filter_map(|url| match url.target {
            ListenTarget::Tcp(_) => url.url.split_once("://").map(|(_, host)| host.to_owned()),
            ListenTarget::Unix(_) => None,
        })
        .collect()
}

fn warn_plain(urls: &[ListenUrl], options: &Options, auth_flag: &str) {
    for url in urls.iter().filter(|url| !url.secure) {
        if options.identity.is_some() {
            tracing::warn!(
                url = url.url,
                "scheme is HTTP while key and cert files are present; ignoring key and cert files"
            );
        }
        if options.client_cert_auth {
            tracing::warn!(
                url = url.url,
                "scheme is HTTP while {auth_flag} is enabled; ignoring client cert auth for this URL"
            );
        }
    }
}

/// Shakes hands on a TCP connection; logs a refusal.
pub(super) async fn tcp(
    rt: &Rc<Runtime>,
    acceptor: &Acceptor,
    surface: Surface,
    stream: TcpStream,
) -> Option<Accepted<TcpStream>> {
    let remote = stream.peer_addr().ok();
    accepted(rt, surface, remote, acceptor.accept_tcp(stream)).await
}

/// Shakes hands on a unix connection; logs a refusal.
pub(super) async fn unix(
    rt: &Rc<Runtime>,
    acceptor: &Acceptor,
    surface: Surface,
    stream: UnixStream,
) -> Option<Accepted<UnixStream>> {
    accepted(rt, surface, None, acceptor.accept(stream, None)).await
}

async fn accepted<S>(
    rt: &Rc<Runtime>,
    surface: Surface,
    remote: Option<SocketAddr>,
    handshake: impl Future<Output = Result<Accepted<S>, Refused>>,
) -> Option<Accepted<S>> {
    let mut stop = rt.core.end_of(surface);
    let outcome = tokio::select! {
        outcome = handshake => outcome,
        // Nothing has been asked yet, so nothing is owed.
        _ = stop.wait_for(|stop| *stop) => return None,
    };
    match outcome {
        Ok(accepted) => Some(accepted),
        Err(refused) => {
            log(surface, remote, &refused);
            None
        }
    }
}

fn log(surface: Surface, remote: Option<SocketAddr>, refused: &Refused) {
    let endpoint = match surface {
        Surface::Peer => "peer",
        _ => "client",
    };
    let remote = remote.map_or_else(String::new, |address| address.to_string());
    let error = refused.reason.as_str();
    let name = refused.server_name.as_str();
    // Probes of load balancers connect and go away all day.
    if refused.eof {
        tracing::debug!(
            "remote-addr" = remote,
            "server-name" = name,
            error = error,
            "rejected connection on {endpoint} endpoint"
        );
        return;
    }
    match &refused.peer {
        Some(leaf) => {
            let ips: Vec<String> = leaf.ip_addresses.iter().map(ToString::to_string).collect();
            tracing::warn!("remote-addr" = remote, "server-name" = name, "ip-addresses" = ?ips,
                "dns-names" = ?leaf.dns_names, "common-name" = leaf.common_name, error = error,
                "rejected connection on {endpoint} endpoint");
        }
        None => tracing::warn!(
            "remote-addr" = remote,
            "server-name" = name,
            error = error,
            "rejected connection on {endpoint} endpoint"
        ),
    }
}

/// How other members are dialled.
pub fn peer_connect(config: &Config) -> Arc<dyn peer::Connect> {
    match &config.security.connector {
        Some(connector) => Arc::new(PeerTls(connector.clone())),
        None => Arc::new(peer::NoTls),
    }
}

/// Other members over TLS.
pub struct PeerTls(pub Arc<Connector>);

impl peer::Connect for PeerTls {
    fn secure(&self, host: &str, stream: Box<dyn peer::Stream>) -> peer::Securing {
        let (connector, host) = (self.0.clone(), host.to_owned());
        Box::pin(async move {
            let stream = connector.secure(&host, stream).await.map_err(|error| {
                io::Error::new(error.kind(), format!("TLS with {host}: {error}"))
            })?;
            Ok(Box::new(stream) as Box<dyn peer::Stream>)
        })
    }
}
