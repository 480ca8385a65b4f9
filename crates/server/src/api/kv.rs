//! The KV service: validation and quota in front, reads from local state behind
//! the read gate, writes through the log.

use std::{
    rc::Rc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::{BufMut as _, Bytes, BytesMut};
use member::Outcome;
use prost::encoding::{encode_varint, encoded_len_varint};
use proto::{
    etcdserverpb::{
        CompactionRequest, DeleteRangeRequest, DeleteRangeResponse, PutRequest, RangeRequest,
        RangeResponse, ResponseHeader, TxnRequest, TxnResponse, internal_raft_request::Op,
        request_op::Request,
    },
    wire::{self, Nested},
};

use lease::LeaseId;
use mvcc::{Place, RangeAnswer};

use super::caller::{AsOf, Caller};
use crate::{
    quota,
    rpc::{Answer, Source, frame_bytes, frame_message},
    runtime::Runtime,
    slow,
    status::Status,
    submit::mixed_up,
};

/// `KV.Range`, of a call that began at `began`
pub async fn range(
    rt: &Rc<Runtime>,
    caller: &Caller,
    request: RangeRequest,
    began: Instant,
) -> Result<Answer, Status> {
    mvcc::validate::range(&request, rt.core.line())?;
    let timer = rt.core.metrics.requests.range(began);
    let (answer, took) = match answer_of(rt, caller, &request).await {
        Ok((answer, read_at)) => (answer, timer.stop_at(read_at, true)),
        Err(status) => {
            let took = timer.stop(false);
            slow::read_range(&rt.core, took, &request, Err(&status));
            return Err(status);
        }
    };
    let sums = || (answer.len(), answer.encoded_len(None));
    slow::read_range(&rt.core, took, &request, Ok(&sums));
    let header = rt.core.header(answer.revision);
    let mut message = RangeMessage::new(answer, Some(header), None);
    if message.framed_len() > PIECE_BYTES {
        return Ok(Answer::Pieces(Box::new(message)));
    }
    Ok(Answer::One(message.next().unwrap_or_default()))
}

/// Reads a range as of now, or as of any time that this member has seen; and when it was read.
async fn answer_of(
    rt: &Rc<Runtime>,
    caller: &Caller,
    request: &RangeRequest,
) -> Result<(RangeAnswer, Instant), Status> {
    if !request.serializable {
        rt.linearizable().await?;
    }
    let as_of = may_read(rt, caller, request).await?;
    let begin = Instant::now();
    let answer = rt.core.store().range(request, rt.core.line());
    let read_at = Instant::now();
    let requests = &rt.core.metrics.requests;
    requests.count_read(read_at - begin, answer.is_ok());
    let answer = answer?;
    rt.core.metrics.ranges.inc();
    as_of.check(&rt.core)?;
    Ok((answer, read_at))
}

/// Checks a range before it is read.
async fn may_read(
    rt: &Rc<Runtime>,
    caller: &Caller,
    request: &RangeRequest,
) -> Result<AsOf, Status> {
    let checked = caller.check(rt, |users, who| users.check_read(who, request));
    Ok(checked.await?)
}

/// Answers above this are encoded piece by piece as the connection takes them.
const PIECE_BYTES: usize = 128 << 10;
/// Room in a piece for the record that fills it.
const PIECE_SLACK: usize = 4 << 10;
/// `RangeStreamResponse.range_response`, a message: field 1, length-delimited.
const RANGE_RESPONSE: u8 = 0x0a;

/// A range answer on its way out, as one framed message. It holds the snapshot
/// of the file, not a copy of what is in it.
struct RangeMessage {
    answer: RangeAnswer,
    header: Option<ResponseHeader>,
    /// The tag under which the answer stands in an outer message.
    field: Option<u8>,
    /// Of the encoded answer.
    len: usize,
    begun: bool,
    place: Place,
}

impl RangeMessage {
    fn new(answer: RangeAnswer, header: Option<ResponseHeader>, field: Option<u8>) -> RangeMessage {
        RangeMessage {
            len: answer.encoded_len(header.as_ref()),
            answer,
            header,
            field,
            begun: false,
            place: Place::default(),
        }
    }

    /// Bytes of the message in its frame, the frame's head left out.
    fn message_len(&self) -> usize {
        let outer = self
            .field
            .map_or(0, |_| 1 + encoded_len_varint(self.len as u64));
        outer + self.len
    }

    /// Bytes of the whole frame.
    fn framed_len(&self) -> usize {
        5 + self.message_len()
    }

    /// The next piece of the frame; `None` after the last.
    fn next(&mut self) -> Option<Bytes> {
        let room = self.framed_len().min(PIECE_BYTES + PIECE_SLACK);
        let mut out = BytesMut::with_capacity(room);
        if !self.begun {
            self.begun = true;
            out.put_u8(0);
            out.put_u32(self.message_len() as u32);
            if let Some(tag) = self.field {
                out.put_u8(tag);
                encode_varint(self.len as u64, &mut out);
            }
        }
        let (header, place) = (self.header.as_ref(), &mut self.place);
        self.answer
            .encode_some(header, place, PIECE_BYTES, &mut out)
            .then(|| out.freeze())
    }
}

impl Source for RangeMessage {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        Poll::Ready(self.next().map(Ok))
    }

    fn sums(&self) -> (usize, i64) {
        (self.message_len(), self.answer.count)
    }
}

/// `KV.RangeStream`: the same answer in chunks, all at one revision.
pub async fn range_stream(
    rt: &Rc<Runtime>,
    caller: &Caller,
    request: RangeRequest,
) -> Result<Box<dyn Source>, Status> {
    let line = rt.core.line();
    mvcc::validate::range_stream(&request, line)?;
    if !request.serializable {
        rt.linearizable().await?;
    }
    let as_of = may_read(rt, caller, &request).await?;
    let max_bytes = rt.core.config.max_request_bytes;
    let chunks = rt.core.store().range_stream(&request, max_bytes, line)?;
    rt.core.metrics.ranges.inc();
    Ok(Box::new(RangeChunks {
        rt: rt.clone(),
        chunks,
        message: None,
        as_of: Some(as_of),
    }))
}

struct RangeChunks {
    rt: Rc<Runtime>,
    chunks: mvcc::RangeStream,
    /// The chunk that is on its way out.
    message: Option<RangeMessage>,
    /// Whom the chunks are for; it is looked at again after the last one.
    as_of: Option<AsOf>,
}

impl RangeChunks {
    /// How the stream ends: well unless users have changed since it began.
    fn ending(&mut self) -> Option<Status> {
        self.as_of.take()?.check(&self.rt.core).err()
    }
}

impl Source for RangeChunks {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        loop {
            if let Some(piece) = self.message.as_mut().and_then(RangeMessage::next) {
                return Poll::Ready(Some(Ok(piece)));
            }
            self.message = None;
            let chunk = match self.chunks.next_chunk() {
                None => return Poll::Ready(self.ending().map(Err)),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Some(Ok(chunk)) => chunk,
            };
            let header = self
                .chunks
                .is_last()
                .then(|| self.rt.core.header(self.chunks.revision()));
            self.message = Some(RangeMessage::new(chunk, header, Some(RANGE_RESPONSE)));
        }
    }
}

/// `KV.Put`
pub async fn put(rt: &Rc<Runtime>, caller: &Caller, request: PutRequest) -> Result<Bytes, Status> {
    quota::check(rt, quota::put_cost(&request)).await?;
    mvcc::validate::put(&request)?;
    let who = caller.identity(rt).await?;
    match rt.submit(who, Op::Put(request)).await? {
        Outcome::Put(mut response) => {
            rt.core.complete_header(&mut response.header);
            Ok(frame_message(&response))
        }
        _ => Err(mixed_up()),
    }
}

/// `KV.DeleteRange`
pub async fn delete_range(
    rt: &Rc<Runtime>,
    caller: &Caller,
    request: DeleteRangeRequest,
) -> Result<Bytes, Status> {
    Ok(frame_message(&delete(rt, caller, request).await?))
}

/// What [`delete_range`] answers, as a message.
pub(super) async fn delete(
    rt: &Rc<Runtime>,
    caller: &Caller,
    request: DeleteRangeRequest,
) -> Result<DeleteRangeResponse, Status> {
    mvcc::validate::delete_range(&request)?;
    let who = caller.identity(rt).await?;
    match rt.submit(who, Op::DeleteRange(request)).await? {
        Outcome::DeleteRange(mut response) => {
            rt.core.complete_header(&mut response.header);
            Ok(response)
        }
        _ => Err(mixed_up()),
    }
}

/// What [`range`] answers, as a message: for the few who need its parts.
pub(super) async fn read(
    rt: &Rc<Runtime>,
    caller: &Caller,
    request: &RangeRequest,
) -> Result<RangeResponse, Status> {
    let line = rt.core.line();
    mvcc::validate::range(request, line)?;
    rt.linearizable().await?;
    let as_of = may_read(rt, caller, request).await?;
    let answer = rt.core.store().range(request, line)?;
    rt.core.metrics.ranges.inc();
    as_of.check(&rt.core)?;
    let header = rt.core.header(answer.revision);
    Ok(RangeResponse {
        header: Some(header),
        ..answer.into_response()
    })
}

/// `KV.Txn`
pub async fn txn(
    rt: &Rc<Runtime>,
    caller: &Caller,
    request: Nested<TxnRequest>,
) -> Result<Bytes, Status> {
    let response = transact(rt, caller, request).await?;
    Ok(frame_bytes(&wire::encode_nested(&*response)))
}

/// Refuses a transaction with a range that cannot be answered. What is applied does
/// not depend on that: members that were not asked pass over the ranges, so this is
/// the only place to refuse it.
async fn check_ranges(
    rt: &Rc<Runtime>,
    caller: &Caller,
    request: &TxnRequest,
) -> Result<(), Status> {
    let mut ops = request.success.iter().chain(&request.failure);
    if !ops.any(|op| matches!(&op.request, Some(Request::RequestRange(r)) if r.revision != 0)) {
        return Ok(());
    }
    rt.linearizable().await?;
    // Who may not read the keys is not told of their revisions either.
    let checked = caller.check_leases(rt, |users, lessor, who| {
        users.check_txn(who, Some(lessor), request)
    });
    let as_of = checked.await?;
    as_of.check(&rt.core)?;
    let exists = |id| rt.core.state.lessor.read().exists(LeaseId(id));
    Ok(rt
        .core
        .store()
        .check_txn(request, &exists, rt.core.line())?)
}

/// A transaction of ranges alone, answered from what is applied here.
async fn read_txn(
    rt: &Rc<Runtime>,
    caller: &Caller,
    request: &TxnRequest,
) -> Result<Nested<TxnResponse>, Status> {
    let checked = caller.check_leases(rt, |users, lessor, who| {
        users.check_txn(who, Some(lessor), request)
    });
    let as_of = checked.await?;
    let response = Nested::new(rt.core.store().read_txn(request, rt.core.line())?);
    rt.core.metrics.count_txn(request, &response);
    as_of.check(&rt.core)?;
    Ok(response)
}

/// What [`txn`] answers, as a message.
pub(super) async fn transact(
    rt: &Rc<Runtime>,
    caller: &Caller,
    request: Nested<TxnRequest>,
) -> Result<Nested<TxnResponse>, Status> {
    quota::check(rt, quota::nested_txn_cost(&request)).await?;
    mvcc::validate::txn(&request, rt.core.config.max_txn_ops, rt.core.line())?;
    let began = Instant::now();
    let mut response = if mvcc::validate::is_read_only(&request) {
        if !mvcc::validate::is_serializable(&request) {
            rt.linearizable().await?;
        }
        let timer = rt.core.metrics.requests.read_only_txn(Instant::now());
        let answered = read_txn(rt, caller, &request).await;
        timer.stop(answered.is_ok());
        let response = answered?;
        slow::read_txn(&rt.core, began, &request, &response);
        response
    } else {
        let who = caller.identity(rt).await?;
        check_ranges(rt, caller, &request).await?;
        let op = Op::Txn(request.into_inner());
        match rt.submit(who, op).await? {
            Outcome::Txn(response) => response,
            _ => return Err(mixed_up()),
        }
    };
    rt.core.complete_header(&mut response.header);
    Ok(response)
}

/// `KV.Compact`
pub async fn compact(
    rt: &Rc<Runtime>,
    caller: &Caller,
    request: CompactionRequest,
) -> Result<Bytes, Status> {
    let physical = request.physical;
    let who = caller.identity(rt).await?;
    match rt.submit(who, Op::Compaction(request)).await? {
        Outcome::Compaction(mut response, ticket) => {
            // The scheduled revision is on disk before the call returns; the
            // removal itself only when the caller asked to wait for it.
            wait_compaction(ticket, physical).await;
            rt.core.complete_header(&mut response.header);
            Ok(frame_message(&response))
        }
        _ => Err(mixed_up()),
    }
}

/// Waits for the parts of a compaction its caller asked to wait for.
async fn wait_compaction(ticket: Option<mvcc::CompactionTicket>, physical: bool) {
    let Some(ticket) = ticket else { return };
    if physical {
        // The wait ends with the background removal; a stop of the server ends it too.
        let _ = tokio::task::spawn_blocking(move || ticket.wait()).await;
    }
}
