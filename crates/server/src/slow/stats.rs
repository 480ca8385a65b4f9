//! "request stats": what a unary call was and what it cost. At level debug every call is logged.

use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use prost::{
    Message,
    encoding::{WireType, decode_key, decode_varint},
};
use proto::{
    etcdserverpb::{
        DeleteRangeRequest, DeleteRangeResponse, PutRequest, RangeRequest, RangeResponse,
        TxnRequest,
    },
    wire::{Nested, Read as _},
};

use super::text;
use crate::{
    rpc::{Answer, Method},
    status::Status,
};

/// A call under way.
pub struct Stats {
    began: Instant,
    /// Of a call whose kind etcd looks into.
    message: Option<Bytes>,
}

/// Numbers of requests or keys and bytes, as etcd counts them; -1 where it does not.
#[derive(Clone, Copy)]
struct Sums {
    count: i64,
    size: i64,
}

const UNKNOWN: Sums = Sums {
    count: -1,
    size: -1,
};
const NOTHING: Sums = Sums { count: 0, size: 0 };

impl Stats {
    /// A call that began at `began`.
    pub fn begin(method: Method, message: &Bytes, began: Instant) -> Stats {
        let is_counted = matches!(
            method,
            Method::Range | Method::Put | Method::DeleteRange | Method::Txn
        );
        Stats {
            began,
            message: is_counted.then(|| message.clone()),
        }
    }

    /// It ends; `expected` is the longest time that is not worth a line.
    pub fn end(
        self,
        method: Method,
        remote: Option<SocketAddr>,
        expected: Duration,
        answer: &Result<Answer, Status>,
    ) {
        let took = self.began.elapsed();
        let is_debug = tracing::enabled!(tracing::Level::DEBUG);
        if took <= expected && !is_debug || matches!(answer, Ok(Answer::Stream(_))) {
            return;
        }
        let (asked, answered, content) = self.sums(method, answer);
        let began = SystemTime::now()
            .checked_sub(took)
            .unwrap_or(SystemTime::UNIX_EPOCH);
        let began = crate::logging::stamp(began.into());
        let remote = remote.map_or_else(|| "@".to_owned(), |remote| remote.to_string());
        let took = cli::text::duration(took);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    "start time" = began,
                    "time spent" = took,
                    remote,
                    "response type" = method.path(),
                    "request count" = asked.count,
                    "request size" = asked.size,
                    "response count" = answered.count,
                    "response size" = answered.size,
                    "request content" = content,
                    "request stats"
                )
            };
        }
        if is_debug {
            line!(debug);
        } else {
            line!(warn);
        }
    }

    fn sums(&self, method: Method, answer: &Result<Answer, Status>) -> (Sums, Sums, String) {
        let Some(message) = &self.message else {
            return (UNKNOWN, UNKNOWN, String::new());
        };
        let frame = match answer {
            Ok(Answer::One(frame)) => frame.get(5..).unwrap_or_default(),
            _ => &[],
        };
        let size = match answer {
            Ok(Answer::Pieces(source)) => source.sums().0 as i64,
            _ => frame.len() as i64,
        };
        let asked = |count| Sums {
            count,
            size: message.len() as i64,
        };
        let (asked, count, content) = match method {
            Method::Range => {
                let count = match answer {
                    Ok(Answer::Pieces(source)) => source.sums().1,
                    _ => read::<RangeResponse>(frame).map_or(0, |answer| answer.count),
                };
                let request = read::<RangeRequest>(message).map(|range| text::range(&range));
                (asked(0), count, request)
            }
            Method::Put => {
                let request = read::<PutRequest>(message).map(|put| text::put(&put));
                (asked(1), 0, request)
            }
            Method::DeleteRange => {
                let count = read::<DeleteRangeResponse>(frame).map_or(0, |answer| answer.deleted);
                let request = read::<DeleteRangeRequest>(message).map(|it| text::delete(&it));
                (asked(0), count, request)
            }
            _ => {
                let request = TxnRequest::read(message).ok().map(Nested::new);
                (
                    branch(message, frame),
                    0,
                    request.map(|txn| text::txn(&txn)),
                )
            }
        };
        (asked, Sums { count, size }, content.unwrap_or_default())
    }
}

fn read<M: Message + Default>(bytes: &[u8]) -> Option<M> {
    M::decode(bytes).ok()
}

/// Of the answer to a transaction only whether its compares held.
#[derive(Clone, PartialEq, Message)]
struct Verdict {
    #[prost(bool, tag = "2")]
    succeeded: bool,
}

/// The branch of a transaction that was taken, where it was answered.
fn branch(txn: &[u8], answer: &[u8]) -> Sums {
    let Some(verdict) = read::<Verdict>(answer).filter(|_| !answer.is_empty()) else {
        return NOTHING;
    };
    let field = if verdict.succeeded { 2 } else { 3 };
    let mut rest = txn;
    let mut sums = NOTHING;
    while let Ok((tag, wire)) = decode_key(&mut rest) {
        if wire != WireType::LengthDelimited {
            break;
        }
        let len = decode_varint(&mut rest).unwrap_or_default();
        let Some(after) = usize::try_from(len).ok().and_then(|len| rest.get(len..)) else {
            break;
        };
        rest = after;
        if tag == field {
            sums = Sums {
                count: sums.count + 1,
                size: sums.size + len as i64,
            };
        }
    }
    sums
}
