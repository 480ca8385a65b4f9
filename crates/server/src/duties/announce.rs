//! The announcement of this member's name and client URLs.

use std::{rc::Rc, time::Duration};

use failpoint::failpoint;
use proto::membershippb::Attributes;
use tokio::time::sleep;

use super::version;
use crate::{runtime::Runtime, status::errors};

/// Publishes this member's name and client URLs. Returns when that is applied.
/// A cluster that may hold members of 3.4 is told in the words these know.
pub async fn announce(rt: &Rc<Runtime>) {
    let core = &rt.core;
    let attributes = Attributes {
        name: core.config.name.clone(),
        client_urls: core.config.advertise_client.clone(),
    };
    failpoint!(BeforePublishing);
    loop {
        match version::publish(rt, &attributes).await {
            Ok(()) => break,
            Err(error) => {
                if error != errors::NO_LEADER {
                    tracing::warn!(error = %error, "failed to publish local member to cluster through raft");
                }
                sleep(Duration::from_millis(5)).await;
            }
        }
    }
    tracing::info!(
        "local-member-id" = format!("{:x}", core.member_id),
        "local-member-attributes" = format!(
            "{{Name:{} ClientURLs:[{}]}}",
            attributes.name,
            attributes.client_urls.join(" ")
        ),
        "cluster-id" = format!("{:x}", core.cluster_id),
        "published local member to cluster through raft"
    );
}
