//! Operations on keys as the cluster makes them, in the namespace and in the order of revisions.

use std::rc::Rc;

use proto::etcdserverpb::{request_op::Request, response_op::Response};
use server::status::Status;

use super::{
    namespace::Namespace,
    operation::{self, leaves, revision},
    ordering::Ordering,
    upstream::{Asker, Upstream},
};

/// The cluster, for operations on keys.
pub(super) struct Plain {
    pub(super) upstream: Rc<Upstream>,
    pub(super) namespace: Option<Namespace>,
    pub(super) ordering: Option<Ordering>,
}

impl Plain {
    /// Makes an operation; keys are those of clients.
    pub(super) async fn run(
        &self,
        asker: &Asker,
        mut request: Request,
    ) -> Result<Response, Status> {
        if let Some(namespace) = &self.namespace {
            namespace.enter(&mut request)?;
        }
        let mut response = self.in_order(asker, &request).await?;
        if let Some(namespace) = &self.namespace {
            namespace.leave(&mut response);
        }
        Ok(response)
    }

    async fn in_order(&self, asker: &Asker, request: &Request) -> Result<Response, Status> {
        let Some(ordering) = &self.ordering else {
            return operation::send(&self.upstream, asker, request).await;
        };
        // What is seen while it is under way may be newer, and is no reason to ask again.
        let before = ordering.seen();
        let mut attempt = 0;
        loop {
            let response = operation::send(&self.upstream, asker, request).await?;
            // Whatever writes is answered in order by itself, and must not be made twice.
            if revision(&response) >= before || !only_reads(request) {
                ordering.saw(revision(&response));
                return Ok(response);
            }
            attempt += 1;
            let members = self.upstream.client().endpoints().len();
            ordering.again(attempt, members).await?;
        }
    }
}

fn only_reads(request: &Request) -> bool {
    match request {
        Request::RequestRange(_) => true,
        Request::RequestPut(_) | Request::RequestDeleteRange(_) => false,
        Request::RequestTxn(txn) => leaves(txn)
            .into_iter()
            .all(|leaf| matches!(leaf, Request::RequestRange(_))),
    }
}
