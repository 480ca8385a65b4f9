//! HTTP/2 frame by frame, for what no client library sends. Headers go out as literals; what comes
//! back is shown as frames, and its header blocks are not decoded.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Frame types of RFC 9113.
pub mod kind {
    #![allow(missing_docs)]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// The setting that says how much may be sent on a new stream.
const INITIAL_WINDOW_SIZE: u16 = 4;

/// DATA and HEADERS: nothing follows on this stream.
pub const END_STREAM: u8 = 1;
/// SETTINGS and PING: an answer.
pub const ACK: u8 = 1;
/// What a frame may have at most, by default.
pub const PAYLOAD_MAX: usize = 16_384;
/// HEADERS and CONTINUATION: the block is complete.
pub const END_HEADERS: u8 = 4;

const WITHIN: Duration = Duration::from_secs(30);

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 for the connection.
    pub stream: u32,
    /// What is in it.
    pub payload: Vec<u8>,
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    let len = text.len();
    if len < 127 {
        out.push(len as u8);
    } else {
        out.push(127);
        let mut rest = len - 127;
        while rest >= 128 {
            out.push((rest % 128) as u8 | 128);
            rest /= 128;
        }
        out.push(rest as u8);
    }
    out.extend_from_slice(text);
}

/// A header block of literals that leave the table of the other side alone.
pub fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        string(&mut out, name);
        string(&mut out, value);
    }
    out
}

/// The header of a gRPC call of `path`, with more fields after it.
pub fn call(path: &[u8], more: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut fields: Vec<(&[u8], &[u8])> = vec![
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"127.0.0.1"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    ];
    fields.extend_from_slice(more);
    block(&fields)
}

/// A connection whose frames the test makes itself.
pub struct Raw {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Raw {
    /// Connects, and sends the preface with empty settings.
    pub async fn connect(port: u16) -> Result<Raw> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let mut raw = Raw {
            stream,
            received: Vec::new(),
        };
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        hello.extend(frame(kind::SETTINGS, 0, 0, &[]));
        raw.send(&hello).await?;
        Ok(raw)
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        timeout(WITHIN, self.stream.write_all(bytes))
            .await
            .context("nothing is read at the other side")??;
        Ok(())
    }

    /// Sends `bytes` until `times` are sent, the other side hangs up, or it reads nothing more for
    /// `patience`. How often they were sent.
    pub async fn flood(&mut self, bytes: &[u8], times: usize, patience: Duration) -> usize {
        for sent in 0..times {
            match timeout(patience, self.stream.write_all(bytes)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return sent,
            }
        }
        times
    }

    /// The next frame; `None` at the end of the connection.
    pub async fn next(&mut self) -> Result<Option<Frame>> {
        loop {
            if let Some(head) = self.received.first_chunk::<9>() {
                let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                if self.received.len() >= 9 + len {
                    let next = Frame {
                        kind: head[3],
                        flags: head[4],
                        stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
                        payload: self.received[9..9 + len].to_vec(),
                    };
                    self.received.drain(..9 + len);
                    return Ok(Some(next));
                }
            }
            let mut buffer = [0; 16 << 10];
            let read = timeout(WITHIN, self.stream.read(&mut buffer))
                .await
                .context("no frame and no end of the connection")?;
            match read {
                Ok(0) | Err(_) => return Ok(None),
                Ok(n) => self.received.extend_from_slice(&buffer[..n]),
            }
        }
    }

    /// The next frame of a connection that must stay open.
    async fn expected(&mut self) -> Result<Frame> {
        let next = self.next().await?.context("the connection ended")?;
        ensure!(
            next.kind != kind::GOAWAY,
            "GOAWAY: {}",
            String::from_utf8_lossy(&next.payload)
        );
        Ok(next)
    }

    /// The frames up to the answer to a PING: all that the other side has to say about what it was
    /// sent before.
    ///
    /// # Errors
    /// The connection ends, or the other side says that it will.
    pub async fn until_pong(&mut self) -> Result<Vec<Frame>> {
        self.send(&frame(kind::PING, 0, 0, b"pintle..")).await?;
        let mut seen = Vec::new();
        loop {
            let next = self.expected().await?;
            if next.kind == kind::PING && next.flags & ACK != 0 {
                return Ok(seen);
            }
            seen.push(next);
        }
    }

    /// How many bytes the other side takes on a new stream, and on all together, before it says
    /// more. Call it first.
    pub async fn windows(&mut self) -> Result<(usize, usize)> {
        let (mut stream, mut connection) = (65_535, 65_535);
        for frame in self.until_pong().await? {
            match frame.kind {
                kind::SETTINGS => {
                    let (entries, _) = frame.payload.as_chunks::<6>();
                    for [a, b, value @ ..] in entries {
                        if u16::from_be_bytes([*a, *b]) == INITIAL_WINDOW_SIZE {
                            stream = u32::from_be_bytes(*value);
                        }
                    }
                }
                kind::WINDOW_UPDATE if frame.stream == 0 => {
                    let more = frame.payload.first_chunk().context("a short frame")?;
                    connection += u32::from_be_bytes(*more);
                }
                _ => {}
            }
        }
        Ok((stream as usize, connection as usize))
    }

    /// The frames of `stream` up to its end: END_STREAM or RST_STREAM.
    ///
    /// # Errors
    /// The connection ends, or the other side says that it will.
    pub async fn until_end_of(&mut self, stream: u32) -> Result<Vec<Frame>> {
        let mut seen = Vec::new();
        loop {
            let next = self.expected().await?;
            if next.stream != stream || next.kind == kind::WINDOW_UPDATE {
                continue;
            }
            let ended = match next.kind {
                kind::RST_STREAM => true,
                kind::DATA | kind::HEADERS => next.flags & END_STREAM != 0,
                _ => false,
            };
            seen.push(next);
            if ended {
                return Ok(seen);
            }
        }
    }
}
