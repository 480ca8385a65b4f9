//! Calls of someone else: their messages pass as the bytes that they are. What may be repeated is
//! said by who passes them on; a stream never is.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use http::uri::PathAndQuery;
use tokio::time::Instant;
use tonic::{
    Request, Response, Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};

use crate::{Client, Error, client::Policy, pool::Connection};

/// One call.
#[derive(Clone, Debug)]
pub struct Forward {
    /// `/package.Service/Method`
    pub path: &'static str,
    /// The request.
    pub message: Bytes,
    /// Whether it may be sent again when its fate is unknown.
    pub repeatable: bool,
    /// How long its client waits for the answer; `None` for as long as it takes.
    pub timeout: Option<Duration>,
}

impl Client {
    /// Makes a call with one answer.
    ///
    /// # Errors
    /// [`Error`]: the server's refusal, the transport's, or the deadline.
    pub async fn forward(&self, call: Forward) -> Result<Bytes, Error> {
        self.check_size(call.message.len())?;
        let policy = match call.repeatable {
            true => Policy::Read,
            false => Policy::Write,
        };
        let deadline = call.timeout.map(|timeout| Instant::now() + timeout);
        let path = PathAndQuery::from_static(call.path);
        let limit = self.config().max_recv_bytes;
        let once = |channel, request| one(channel, request, path.clone(), limit);
        self.attempts(policy, call.message, once, deadline).await
    }

    /// Makes a call whose answer is a stream. Its timeout is for the whole of it.
    ///
    /// # Errors
    /// [`Error`], when the stream could not be opened.
    pub async fn forward_stream(&self, call: Forward) -> Result<Forwarded, Error> {
        self.check_size(call.message.len())?;
        let connection = self.connection().await;
        let mut grpc = grpc(connection.channel.clone(), self.config().max_recv_bytes);
        let mut request = self.request(call.message);
        if let Some(timeout) = call.timeout {
            request.set_timeout(timeout);
        }
        let path = PathAndQuery::from_static(call.path);
        let opened = async {
            grpc.ready().await.map_err(unready)?;
            grpc.server_streaming(request, path, Raw).await
        };
        match opened.await {
            Ok(stream) => Ok(Forwarded {
                stream: stream.into_inner(),
                client: self.clone(),
                connection,
            }),
            Err(status) => Err(self.broken(&connection, status)),
        }
    }

    /// What a stream ended with; its connection is left if that is broken.
    fn broken(&self, connection: &Connection, status: Status) -> Error {
        if crate::pool::reach(&status) != crate::pool::Reach::Answered {
            self.stream_failed(connection);
        }
        status.into()
    }
}

/// The messages of a stream.
pub struct Forwarded {
    stream: Streaming<Bytes>,
    client: Client,
    connection: Connection,
}

impl Forwarded {
    /// The next message, or `None` after the last.
    ///
    /// # Errors
    /// What ended the stream early.
    pub async fn message(&mut self) -> Result<Option<Bytes>, Error> {
        let message = self.stream.message().await;
        message.map_err(|status| self.client.broken(&self.connection, status))
    }
}

fn grpc(channel: Channel, limit: usize) -> Grpc<Channel> {
    Grpc::new(channel).max_decoding_message_size(limit)
}

fn unready(error: tonic::transport::Error) -> Status {
    Status::from_error(Box::new(error))
}

async fn one(
    channel: Channel,
    request: Request<Bytes>,
    path: PathAndQuery,
    limit: usize,
) -> Result<Response<Bytes>, Status> {
    let mut grpc = grpc(channel, limit);
    grpc.ready().await.map_err(unready)?;
    grpc.unary(request, path, Raw).await
}

/// Messages as the bytes that they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }
}
