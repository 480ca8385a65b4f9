//! The faces of the server.

/// Which of the server's faces a listener shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// gRPC, the gateway and all pages.
    Client,
    /// gRPC alone (`--listen-client-http-urls` took the rest).
    ClientGrpc,
    /// Pages and gateway alone.
    ClientHttp,
    /// `/metrics` and health (`--listen-metrics-urls`).
    Metrics,
    /// What other members ask: `/version`, `/members`.
    Peer,
}
