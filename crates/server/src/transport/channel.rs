//! How a connection came, and what it shares with the others of its listener.

use std::{net::SocketAddr, rc::Rc};

use tls::Leaf;

use super::{Surface, streams::Streams};
use crate::runtime::Runtime;

/// How a connection came.
#[derive(Clone)]
pub(super) struct Channel {
    /// From where, when that is an address.
    pub(super) remote: Option<SocketAddr>,
    pub(super) security: Security,
}

/// What a connection came through.
#[derive(Clone)]
pub(super) enum Security {
    /// As it is.
    Plain,
    /// Through TLS.
    Tls {
        /// Of the client's certificate, where clients must have one.
        common_name: Option<Rc<str>>,
    },
}

impl Channel {
    /// A channel without TLS.
    pub(super) fn plain(remote: Option<SocketAddr>) -> Channel {
        Channel {
            remote,
            security: Security::Plain,
        }
    }

    /// The channel of a client with this certificate.
    pub(super) fn of(rt: &Runtime, remote: Option<SocketAddr>, peer: Option<&Leaf>) -> Channel {
        let peer = peer.filter(|_| rt.core.config.security.client.client_cert_auth);
        let common_name = peer.map(|leaf| leaf.common_name.as_str().into());
        Channel {
            remote,
            security: Security::Tls { common_name },
        }
    }

    pub(super) fn is_plain(&self) -> bool {
        matches!(self.security, Security::Plain)
    }

    pub(super) fn common_name(&self) -> Option<&Rc<str>> {
        match &self.security {
            Security::Plain => None,
            Security::Tls { common_name } => common_name.as_ref(),
        }
    }
}

/// What the connections of one listener share.
#[derive(Clone)]
pub(super) struct Port {
    pub(super) surface: Surface,
    /// What the calls of its gateway take.
    pub(super) streams: Streams,
}
