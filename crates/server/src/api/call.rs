//! What a call brings besides its message.

use std::{net::SocketAddr, time::Duration};

use super::caller::Caller;

/// What the request metadata says.
pub struct Call<'a> {
    /// `hasleader: true`: fail when this member knows no leader.
    pub has_leader: bool,
    /// `client-api-version`, for the metric; some lines refuse what is not text.
    pub client_api_version: Option<&'a [u8]>,
    /// The client's own deadline.
    pub timeout: Option<Duration>,
    /// Where it comes from, when that is an address.
    pub remote: Option<SocketAddr>,
    /// The trace that the client follows: `traceparent`.
    pub traceparent: Option<&'a str>,
    /// Who calls.
    pub caller: Caller,
}
