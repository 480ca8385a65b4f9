//! Clients with users, at etcd and at Pintle: what both etcdctls print, a mirror between two
//! clusters with users, and the Rust client whose token ends again and again under load.

mod commands;
mod renewal;

use anyhow::Result;
use peers::{server::Server, users};

/// Root, and `u` with the keys that begin with `u`; authentication on.
async fn lock(server: &Server) -> Result<()> {
    let of_u = [
        users::add_user("u"),
        users::add_role("r"),
        users::allow("r", 2, "u", "v"),
        users::grant("u", "r"),
    ];
    for call in of_u.iter().chain(&users::enable()) {
        users::ask(server.api(), None, call).await?;
    }
    Ok(())
}
