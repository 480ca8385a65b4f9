//! Bootstrap by discovery: a new member learns from the DNS, or from another
//! etcd cluster, who founds the cluster with it. All of them must end with the
//! same list. This is asked before the first write, and never again: a member
//! with a log knows its cluster.
//!
//! - `srv`: SRV records, which name the members once and for all
//! - `registry`: a key space of another cluster, v3 API (etcd 3.6's flags)
//! - `v2`: the same through the v2 API (etcd up to 3.5)
//! - `founders`: what the last two have in common, free of any network

mod founders;
mod registry;
mod srv;
mod v2;

use member::Error;
use membership::MemberId;

use crate::config::{Config, Discovery};

/// The members known before anybody else is asked to register, in the form of
/// `--initial-cluster`; with a registry, this one alone.
///
/// # Errors
/// The DNS does not know them.
pub(super) fn initial_cluster(config: &Config) -> Result<String, Error> {
    match &config.discovery {
        Discovery::Static => Ok(config.initial_cluster.clone()),
        Discovery::Srv {
            domain,
            service_name,
        } => srv::initial_cluster(config, domain, service_name),
        Discovery::V2 { .. } if config.join_existing => Err(Error::new(
            "discovery URL should not be set when joining existing initial cluster",
        )),
        Discovery::Registry(_) | Discovery::V2 { .. } => Ok(config
            .advertise_peer
            .iter()
            .map(|url| format!("{}={url}", config.name))
            .collect::<Vec<_>>()
            .join(",")),
    }
}

/// Registers this member, `own`, as `contents`, waits until all founders have
/// done so, and gives them in the form of `--initial-cluster`. `None` if there
/// is no registry.
///
/// # Errors
/// The registry is not prepared, or full.
pub(super) fn founders(
    config: &Config,
    own: MemberId,
    contents: &str,
) -> Result<Option<String>, Error> {
    let (token, joined) = match &config.discovery {
        Discovery::Static | Discovery::Srv { .. } => return Ok(None),
        Discovery::Registry(registry) => {
            tracing::info!("Bootstrapping cluster using v3 discovery.");
            (&registry.token, registry::join(registry, own, contents))
        }
        Discovery::V2 { url, proxy } => {
            tracing::warn!("V2 discovery is deprecated!");
            (url, v2::join(url, proxy.as_deref(), own, contents))
        }
    };
    match joined {
        Ok(found) => {
            tracing::info!(
                cluster = found,
                "discovery-token" = token.as_str(),
                "discovery joined cluster successfully"
            );
            Ok(Some(found))
        }
        Err(error) => {
            tracing::warn!("discovery-token" = token.as_str(), error = %error, "{}", error.heading());
            for advice in error.advice() {
                tracing::warn!("{advice}");
            }
            Err(Error(format!("failed to join discovery cluster ({error})")))
        }
    }
}

#[cfg(test)]
mod tests;
