//! What a client asks for on its stream.

use std::{
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use proto::etcdserverpb::{
    RangeRequest, ResponseHeader, WatchCreateRequest, WatchRequest, request_op::Request,
    watch_request::RequestUnion,
};
use server::{
    rpc::{Source, decode},
    status::{Code, Status, errors},
    transport::MessageStream,
};
use tokio::task::AbortHandle;

use super::{
    super::{
        operation::Keys,
        upstream::{Asker, Who},
    },
    hub::Hub,
    watcher::{Stream, Watcher},
};

/// Serves a client's stream; it ends with what is returned.
pub(in super::super) fn serve(hub: Rc<Hub>, who: Who, messages: MessageStream) -> Box<dyn Source> {
    let stream = Stream::new();
    let reading = read(hub.clone(), stream.clone(), who, messages);
    let reading = tokio::task::spawn_local(reading).abort_handle();
    Box::new(Responses {
        hub,
        stream,
        reading,
    })
}

/// The responses of a stream, to its connection.
struct Responses {
    hub: Rc<Hub>,
    stream: Rc<Stream>,
    reading: AbortHandle,
}

impl Source for Responses {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        if let Some(frame) = self.stream.next() {
            return Poll::Ready(Some(Ok(frame)));
        }
        for watcher in self.stream.behind.take() {
            self.hub.join(watcher);
        }
        self.stream.poll_end(cx).map(|status| Some(Err(status)))
    }
}

impl Drop for Responses {
    fn drop(&mut self) {
        self.reading.abort();
        self.stream.behind.take();
        for watcher in self.stream.watchers.take().into_values() {
            self.hub.leave(&watcher);
        }
    }
}

/// Takes requests until the client is done.
async fn read(hub: Rc<Hub>, stream: Rc<Stream>, who: Who, mut messages: MessageStream) {
    let end = loop {
        stream.room().await;
        let request = match messages.next().await {
            Some(Ok(message)) => decode(message),
            Some(Err(status)) => break status,
            None => break Status::fixed(Code::Canceled, "context canceled"),
        };
        match request.map(|request: WatchRequest| request.request_union) {
            Err(status) => break status,
            Ok(Some(RequestUnion::CreateRequest(request))) => {
                create(&hub, &stream, &who, request).await;
            }
            Ok(Some(RequestUnion::CancelRequest(request))) => {
                cancel(&hub, &stream, request.watch_id);
            }
            Ok(Some(RequestUnion::ProgressRequest(_)) | None) => {
                // Nor does etcd's proxy: what the cluster says of its progress is not of one stream.
                tracing::error!("not supported request type by gRPC proxy");
            }
        }
    };
    stream.end(end);
}

async fn create(hub: &Rc<Hub>, stream: &Rc<Stream>, who: &Who, request: WatchCreateRequest) {
    let no_header = Some(ResponseHeader::default());
    if request.start_revision < 0 {
        return stream.refuse(no_header, &errors::COMPACTED.message);
    }
    if let Err(status) = check(hub, who, &request).await {
        return stream.refuse(no_header, &reason(&status));
    }
    if !Keys::new(&request.key, &request.range_end).is_range() {
        return stream.refuse(None, "");
    }
    let Some(id) = stream.id(request.watch_id) else {
        return stream.refuse(
            no_header,
            "mvcc: duplicate watch ID provided on the WatchStream",
        );
    };
    let watcher = Watcher::new(id, who.clone(), &request, stream);
    stream.watchers.borrow_mut().insert(id, watcher.clone());
    hub.join(watcher);
}

/// A client watches what it may read: the watch in the cluster may be another one's.
async fn check(hub: &Hub, who: &Who, request: &WatchCreateRequest) -> Result<(), Status> {
    let (key, range_end) = match request.key.is_empty() {
        true => (Bytes::from_static(b"\0"), Bytes::from_static(b"\0")),
        false => (request.key.clone(), request.range_end.clone()),
    };
    let range = RangeRequest {
        key,
        range_end,
        serializable: true,
        count_only: true,
        limit: 1,
        ..RangeRequest::default()
    };
    let asker = Asker::patient(who.clone());
    hub.kv
        .run(&asker, Request::RequestRange(range))
        .await
        .map(drop)
}

/// A refusal as Go prints it.
fn reason(status: &Status) -> String {
    match status.message.starts_with("etcdserver: ") {
        true => status.message.to_string(),
        false => format!("rpc error: code = {} desc = {status}", status.code.name()),
    }
}

fn cancel(hub: &Rc<Hub>, stream: &Rc<Stream>, id: i64) {
    let watcher = stream.watchers.borrow_mut().remove(&id);
    if let Some(watcher) = watcher {
        let mut behind = stream.behind.borrow_mut();
        behind.retain(|one| !Rc::ptr_eq(one, &watcher));
        drop(behind);
        hub.leave(&watcher);
        watcher.canceled();
    }
}
