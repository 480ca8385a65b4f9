//! Watch streams beside each other. A stream's answers are sorted into what
//! the order of the wire fixes (created, canceled, progress) and what it does
//! not (how the events of a watch are grouped while it catches up). It must
//! never accept events out of order, twice, or one revision in two answers.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use proto::{etcdserverpb::*, mvccpb::Event};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tonic::Status;

use crate::api::Api;

const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// One watch stream to one server. A task of its own drains it, because a
/// server may hold back the head of the stream until the first request came.
pub struct Stream {
    requests: mpsc::Sender<WatchRequest>,
    answers: mpsc::UnboundedReceiver<Result<WatchResponse, Status>>,
    task: JoinHandle<()>,
}

impl Stream {
    /// Opens a stream; nothing is watched yet.
    pub fn open(api: &Api) -> Stream {
        let (requests, queue) = mpsc::channel(64);
        let queue = futures_util::stream::unfold(queue, |mut queue| async {
            queue.recv().await.map(|request| (request, queue))
        });
        let (sender, answers) = mpsc::unbounded_channel();
        let mut client = api.watch();
        let task = tokio::spawn(async move {
            let mut stream = match client.watch(queue).await {
                Ok(answer) => answer.into_inner(),
                Err(status) => {
                    let _ = sender.send(Err(status));
                    return;
                }
            };
            loop {
                match stream.message().await {
                    Ok(Some(answer)) => {
                        if sender.send(Ok(answer)).is_err() {
                            return;
                        }
                    }
                    Ok(None) => return,
                    Err(status) => {
                        let _ = sender.send(Err(status));
                        return;
                    }
                }
            }
        });
        Stream {
            requests,
            answers,
            task,
        }
    }

    /// Asks for a watch.
    pub async fn create(&self, request: WatchCreateRequest) -> Result<()> {
        self.send(watch_request::RequestUnion::CreateRequest(request))
            .await
    }

    /// Gives a watch up.
    pub async fn cancel(&self, watch_id: i64) -> Result<()> {
        self.send(watch_request::RequestUnion::CancelRequest(
            WatchCancelRequest { watch_id },
        ))
        .await
    }

    /// Asks how far the stream is.
    pub async fn progress(&self) -> Result<()> {
        self.send(watch_request::RequestUnion::ProgressRequest(
            WatchProgressRequest {},
        ))
        .await
    }

    /// Sends any request.
    pub async fn send(&self, union: watch_request::RequestUnion) -> Result<()> {
        let request = WatchRequest {
            request_union: Some(union),
        };
        self.requests
            .send(request)
            .await
            .context("the watch stream is closed")
    }

    /// The next answer.
    pub async fn next(&mut self) -> Result<WatchResponse> {
        self.next_within(ANSWER_WITHIN)
            .await?
            .context("no answer on the watch stream")
    }

    /// The next answer, or `None` if none comes within `within`.
    pub async fn next_within(&mut self, within: Duration) -> Result<Option<WatchResponse>> {
        match timeout(within, self.answers.recv()).await {
            Err(_) => Ok(None),
            Ok(answer) => Ok(Some(answer.context("the server ended the watch stream")??)),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What one stream has answered so far, in comparable form.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Answers without events, in order; revisions of asynchronous ones are 0.
    pub controls: Vec<WatchResponse>,
    /// Events of each living watch.
    pub events: BTreeMap<i64, Vec<Event>>,
    /// Events of watches whose id was given to another one later.
    pub ended: Vec<(i64, Vec<Event>)>,
}

impl Record {
    /// Files an answer, and checks what must hold for every server.
    pub fn file(&mut self, mut answer: WatchResponse) -> Result<()> {
        let header = answer
            .header
            .as_mut()
            .context("a watch answer without a header")?;
        header.raft_term = 0;
        if answer.events.is_empty() {
            // The cancel for a compacted start comes whenever the catch-up meets it.
            if answer.canceled && answer.compact_revision != 0 {
                header.revision = 0;
            }
            if answer.created
                && let Some(events) = self.events.remove(&answer.watch_id)
            {
                self.ended.push((answer.watch_id, events));
            }
            self.controls.push(answer);
            return Ok(());
        }
        ensure!(
            !answer.created && !answer.canceled,
            "events in a control answer: {answer:?}"
        );
        let header_revision = header.revision;
        let filed = self.events.entry(answer.watch_id).or_default();
        let revision_of = |e: &Event| e.kv.as_ref().map_or(0, |kv| kv.mod_revision);
        let mut last = filed.last().map_or(0, revision_of);
        for (i, event) in answer.events.iter().enumerate() {
            let revision = revision_of(event);
            ensure!(
                revision > last || (i > 0 && revision == last),
                "watch {}: revision {revision} after {last}, or split over two answers",
                answer.watch_id
            );
            ensure!(
                header_revision >= revision,
                "watch {}: header revision {header_revision} below its event {revision}",
                answer.watch_id
            );
            last = revision;
        }
        filed.extend(answer.events);
        Ok(())
    }
}
