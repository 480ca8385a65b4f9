//! How a connection came, and what it shares with the others of its listener.

use std::rc::Rc;

use tls::Leaf;

use super::{Surface, streams::Streams};
use crate::runtime::Runtime;

/// How a connection came.
#[derive(Clone)]
pub(super) enum Channel {
    /// As it is.
    Plain,
    /// Through TLS.
    Tls {
        /// Of the client's certificate, where clients must have one.
        common_name: Option<Rc<str>>,
    },
}

impl Channel {
    /// The channel of a client with this certificate.
    pub(super) fn of(rt: &Runtime, peer: Option<&Leaf>) -> Channel {
        let peer = peer.filter(|_| rt.core.config.security.client.client_cert_auth);
        Channel::Tls {
            common_name: peer.map(|leaf| leaf.common_name.as_str().into()),
        }
    }

    pub(super) fn common_name(&self) -> Option<&Rc<str>> {
        match self {
            Channel::Plain => None,
            Channel::Tls { common_name } => common_name.as_ref(),
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
