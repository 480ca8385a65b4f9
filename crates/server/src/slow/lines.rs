//! "apply request took too long", and "failed to apply request".

use std::time::{Duration, Instant};

use member::{Outcome, host::Applied};
use membership::entry::Payload;
use prost::Message as _;
use proto::etcdserverpb::{
    RangeRequest, ResponseHeader, TxnRequest, TxnResponse, internal_raft_request::Op, response_op,
};

use super::text;
use crate::{core::Core, status::Status};

/// Logs one request that took longer than it should.
fn slow(core: &Core, took: Duration, prefix: &str, request: &str, response: &str, error: &str) {
    core.metrics.slow_apply.inc();
    let expected = core.config.warning_apply_duration;
    let (took, expected) = (cli::text::duration(took), cli::text::duration(expected));
    if error.is_empty() {
        tracing::warn!(
            took,
            "expected-duration" = expected,
            prefix,
            request,
            response,
            "apply request took too long"
        );
    } else {
        tracing::warn!(
            took,
            "expected-duration" = expected,
            prefix,
            request,
            response,
            error,
            "apply request took too long"
        );
    }
}

/// Logs an entry that was slow to apply, or that failed.
pub fn applied(core: &Core, entry: &Applied<'_>, took: Duration) {
    let error = entry.result.and_then(|result| result.as_ref().err());
    let is_slow = took > core.config.warning_apply_duration;
    if !is_slow && error.is_none() || !entry.fresh {
        return;
    }
    let data = entry.entry.data.clone().unwrap_or_default();
    let (request, failed_size) = match membership::decode_entry(&data, core.line()) {
        Ok(Payload::Internal(request)) => {
            // Two answers are there even of what failed.
            let failed_size = match &request.op {
                Some(Op::LeaseGrant(_)) => Some(0),
                Some(Op::LeaseRevoke(_)) => Some(header_len(&core.header(entry.revision))),
                _ => None,
            };
            (text::request(&request), failed_size)
        }
        Ok(Payload::V2(request)) => (text::v2(&request), None),
        Ok(Payload::Empty) | Err(_) => return,
    };
    let size = match entry.result {
        Some(Ok(outcome)) => size(core, outcome),
        Some(Err(_)) => failed_size,
        None => None,
    };
    let response = size.map_or_else(String::new, |size| format!("size:{size}"));
    let error = error.map_or("", inner_text);
    if is_slow {
        slow(core, took, "", &request, &response, error);
    }
    if !error.is_empty() && !error.contains("revision has been compacted") {
        let took = cli::text::duration(took);
        tracing::warn!(took, request, response, error, "failed to apply request");
    }
}

/// Bytes of an answer as etcd has it when it is applied: some headers are whole by then.
fn size(core: &Core, outcome: &Outcome) -> Option<usize> {
    let whole = |header: &Option<proto::etcdserverpb::ResponseHeader>| {
        let revision = header.as_ref().map_or(0, |header| header.revision);
        header_len(&core.header(revision))
    };
    Some(match outcome {
        Outcome::Put(answer) => answer.encoded_len(),
        Outcome::DeleteRange(answer) => answer.encoded_len(),
        Outcome::Txn(answer) => proto::wire::encode_nested(&**answer).len(),
        Outcome::Compaction(answer, _) => answer.encoded_len(),
        Outcome::LeaseGrant(answer) => {
            let rest = proto::etcdserverpb::LeaseGrantResponse {
                header: None,
                ..answer.clone()
            };
            whole(&answer.header) + rest.encoded_len()
        }
        Outcome::LeaseRevoke(answer) => whole(&answer.header),
        Outcome::UsersChanged(header) => whole(header),
        Outcome::Alarm(answer) => {
            let rest = proto::etcdserverpb::AlarmResponse {
                header: None,
                ..answer.clone()
            };
            rest.encoded_len()
        }
        _ => return None,
    })
}

/// An error in the words that etcd has for it inside: clients are told others.
fn inner_text(status: &Status) -> &str {
    match &*status.message {
        "etcdserver: requested lease not found" => "lease not found",
        "etcdserver: lease already exists" => "lease already exists",
        "etcdserver: too large lease TTL" => "too large lease TTL",
        "etcdserver: mvcc: required revision has been compacted" => {
            "mvcc: required revision has been compacted"
        }
        "etcdserver: mvcc: required revision is a future revision" => {
            "mvcc: required revision is a future revision"
        }
        "etcdserver: mvcc: database space exceeded" => "etcdserver: no space",
        "etcdserver: user name already exists" => "auth: user already exists",
        "etcdserver: user name not found" => "auth: user not found",
        "etcdserver: role name already exists" => "auth: role already exists",
        "etcdserver: role name not found" => "auth: role not found",
        "etcdserver: permission denied" => "auth: permission denied",
        other => other,
    }
}

/// Bytes of a header inside of an answer.
fn header_len(header: &ResponseHeader) -> usize {
    let len = header.encoded_len();
    1 + prost::length_delimiter_len(len) + len
}

/// Logs a range that took too long; `answer` counts keys and bytes without the header.
pub fn read_range(
    core: &Core,
    took: Duration,
    request: &RangeRequest,
    answer: Result<&dyn Fn() -> (usize, usize), &Status>,
) {
    if took <= core.config.warning_apply_duration {
        return;
    }
    let (response, error) = match answer {
        Ok(sums) => {
            // etcd counts a header with the revision alone.
            let (count, len) = sums();
            let header = core.header(core.store().revision());
            let header = ResponseHeader {
                revision: header.revision,
                ..ResponseHeader::default()
            };
            let len = len + header_len(&header);
            (format!("range_response_count:{count} size:{len}"), "")
        }
        Err(status) => (String::new(), inner_text(status)),
    };
    slow(
        core,
        took,
        "read-only range ",
        &text::range(request),
        &response,
        error,
    );
}

/// Logs a transaction without writes that took too long.
pub fn read_txn(core: &Core, began: Instant, request: &TxnRequest, answer: &TxnResponse) {
    let took = began.elapsed();
    if took <= core.config.warning_apply_duration {
        return;
    }
    let ranges: Vec<String> = answer
        .responses
        .iter()
        .filter_map(|op| match &op.response {
            Some(response_op::Response::ResponseRange(range)) => {
                Some(format!("range_response_count:{}", range.kvs.len()))
            }
            _ => None,
        })
        .collect();
    let size = proto::wire::encode_nested(answer).len();
    let response = format!("responses:<{}> size:{size}", ranges.join(" "));
    slow(
        core,
        took,
        "read-only txn ",
        &text::txn(request),
        &response,
        "",
    );
}
