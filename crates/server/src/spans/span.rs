//! Spans, from their begin to the queue.

use std::{
    future::Future,
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use futures_util::future::Either;
use proto::tracepb::{
    AnyValue, KeyValue, Span as Record, Status, any_value, span, status::Code as status_code,
};

use super::{
    context::Context,
    export::{self, Tracer},
};
use crate::{
    rpc::Method,
    status::{self, Code},
};

tokio::task_local! {
    /// The span of the call that a task is at.
    static CURRENT: Context;
}

/// A span that is recorded, until it is dropped.
pub struct Span {
    context: Context,
    record: Record,
    tracer: &'static Tracer,
}

fn nanoseconds(at: SystemTime) -> u64 {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
    }
}

fn text(key: &str, text: impl Into<String>) -> KeyValue {
    attribute(key, any_value::Value::StringValue(text.into()))
}

fn number(key: &str, number: i64) -> KeyValue {
    attribute(key, any_value::Value::IntValue(number))
}

impl Span {
    /// A span below `parent`, if that is recorded.
    fn below(
        tracer: &'static Tracer,
        parent: Context,
        name: String,
        kind: span::Kind,
    ) -> Option<Span> {
        if !parent.is_sampled {
            return None;
        }
        let context = parent.child();
        let parent_id = if parent.span == [0; 8] {
            &[][..]
        } else {
            &parent.span
        };
        Some(Span {
            record: Record {
                trace_id: context.trace.to_vec().into(),
                span_id: context.span.to_vec().into(),
                parent_span_id: parent_id.to_vec().into(),
                name,
                kind: kind.into(),
                start_time_unix_nano: nanoseconds(SystemTime::now()),
                flags: 1,
                ..Record::default()
            },
            context,
            tracer,
        })
    }

    /// How the call ends.
    pub fn ends(&mut self, end: Result<(), &status::Status>) {
        let code = end.err().map_or(Code::Ok, |status| status.code);
        let name = text("rpc.response.status_code", constant(code));
        self.record.attributes.push(name);
        if let Err(status) = end
            && is_fault(code)
        {
            self.record.status = Some(Status {
                message: status.message.clone().into_owned(),
                code: status_code::Error.into(),
            });
        }
    }
}

/// The name of a code as the specification of gRPC has it: `NOT_FOUND`.
fn constant(code: Code) -> String {
    let name = code.name();
    let mut constant = String::new();
    for (at, letter) in name.char_indices() {
        // OK is a word.
        if at > 0 && letter.is_ascii_uppercase() && code != Code::Ok {
            constant.push('_');
        }
        constant.push(letter.to_ascii_uppercase());
    }
    constant
}

/// Whether the server is to blame for how a call ended, by the conventions for spans.
fn is_fault(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

impl Drop for Span {
    fn drop(&mut self) {
        self.record.end_time_unix_nano = nanoseconds(SystemTime::now());
        self.tracer.send(std::mem::take(&mut self.record));
    }
}

/// The span of a gRPC call, whose client named `parent`.
pub fn call(method: Method, parent: Option<&str>, remote: Option<SocketAddr>) -> Option<Span> {
    let tracer = export::tracer()?;
    let parent = parent
        .and_then(Context::parse)
        .unwrap_or_else(|| Context::begin(tracer.rate()));
    let name = method.path().trim_start_matches('/');
    let mut span = Span::below(tracer, parent, name.to_owned(), span::Kind::Server)?;
    let attributes = &mut span.record.attributes;
    attributes.push(text("rpc.method", name));
    attributes.push(text("rpc.system.name", "grpc"));
    if let Some(remote) = remote {
        // The other side, whatever the name says: so it is in etcd.
        attributes.push(text("server.address", remote.ip().to_string()));
        attributes.push(number("server.port", i64::from(remote.port())));
    }
    Some(span)
}

/// Does `work` as part of a span.
pub fn within<T>(span: Option<&Span>, work: impl Future<Output = T>) -> impl Future<Output = T> {
    match span {
        Some(span) => Either::Left(CURRENT.scope(span.context, work)),
        None => Either::Right(work),
    }
}

/// A span below that of the call which the task is at.
pub fn inside(name: &str) -> Option<Span> {
    let tracer = export::tracer()?;
    let parent = CURRENT.try_with(|context| *context).ok()?;
    Span::below(tracer, parent, name.to_owned(), span::Kind::Internal)
}

/// Records what took so long and is over, and was done for many calls at once: a trace of its own,
/// sampled like any other.
pub fn event(name: &str, took: Duration, numbers: &[(&str, u64)]) {
    let Some(tracer) = export::tracer() else {
        return;
    };
    let context = Context::begin(tracer.rate());
    let kind = span::Kind::Internal;
    if let Some(mut span) = Span::below(tracer, context, name.to_owned(), kind) {
        let began = SystemTime::now().checked_sub(took);
        span.record.start_time_unix_nano = nanoseconds(began.unwrap_or(SystemTime::UNIX_EPOCH));
        let numbers = numbers
            .iter()
            .map(|(key, value)| number(key, *value as i64));
        span.record.attributes.extend(numbers);
    }
}
