//! What a call brings besides its message.

use std::time::Duration;

use super::caller::Caller;

/// What the request metadata says.
pub struct Call<'a> {
    /// `hasleader: true`: fail when this member knows no leader.
    pub has_leader: bool,
    /// `client-api-version`, for the metric alone.
    pub client_api_version: Option<&'a str>,
    /// The client's own deadline.
    pub timeout: Option<Duration>,
    /// Who calls.
    pub caller: Caller,
}
