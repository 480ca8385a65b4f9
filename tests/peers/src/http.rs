//! One HTTP/1.1 exchange over a plain TCP connection. It must never hide what
//! the server sent: status, header names and body arrive as they were.

use std::{io::ErrorKind, time::Duration};

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Headers in order of arrival, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body with any chunking removed.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the body is as long as the head says.
    fn is_whole(&self) -> bool {
        let len = self
            .header("content-length")
            .and_then(|len| len.parse().ok());
        len == Some(self.body.len())
    }

    /// The first header of this (lower case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }
}

/// Sends one request to `127.0.0.1:<port>` and reads the whole answer.
pub async fn send(port: u16, method: &str, path: &str, body: &str) -> Result<Answer> {
    send_with(port, method, path, &[], body).await
}

/// [`send`] with additional header lines.
pub async fn send_with(
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> Result<Answer> {
    let stream = open(port, method, path, headers, body).await?;
    let answer = read_answer(stream).await;
    answer.with_context(|| format!("{method} {path}"))
}

/// Sends these bytes alone, and reads the answer to the end of the connection.
pub async fn send_raw(port: u16, bytes: &[u8]) -> Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(bytes).await?;
    read_answer(stream).await
}

/// Sends bytes on a connection that may stay, and reads one answer as far as its head says. None if
/// the connection ends before that.
pub async fn exchange(stream: &mut TcpStream, bytes: &[u8]) -> Result<Option<Answer>> {
    let within = Duration::from_secs(20);
    // A connection that has ended shows when it is read.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    loop {
        let mut buffer = [0u8; 4096];
        let read = timeout(within, stream.read(&mut buffer)).await;
        match read.with_context(|| format!("no answer to {}", bytes.escape_ascii()))? {
            Ok(0) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
            read => answer.extend_from_slice(&buffer[..read?]),
        }
        if let Some(answer) = parse(&answer).ok().filter(Answer::is_whole) {
            return Ok(Some(answer));
        }
    }
}

async fn read_answer(mut stream: TcpStream) -> Result<Answer> {
    let mut bytes = Vec::new();
    let read = timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes))
        .await
        .context("no end of the answer within 20 s")?;
    let answer = parse(&bytes);
    match read {
        // A Go server that answers without a look at the body resets the connection now and then;
        // the answer was whole.
        Err(error)
            if error.kind() == ErrorKind::ConnectionReset
                && answer.as_ref().is_ok_and(Answer::is_whole) =>
        {
            answer
        }
        read => {
            read?;
            answer
        }
    }
}

/// Sends one request whose answer does not end (a watch through the gateway)
/// and reads until `lines` lines of body have arrived.
pub async fn first_lines(port: u16, path: &str, body: &str, lines: usize) -> Result<Vec<String>> {
    let mut stream = open(port, "POST", path, &[], body).await?;
    read_lines(&mut stream, lines)
        .await
        .context(path.to_owned())
}

/// Reads the head and the first `lines` lines of the body of an answer.
pub async fn read_lines(stream: &mut TcpStream, lines: usize) -> Result<Vec<String>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(head) = find(&bytes, b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&dechunk(&bytes[head + 4..])).into_owned();
            let complete: Vec<String> = text
                .split_inclusive('\n')
                .filter(|l| l.ends_with('\n'))
                .map(|l| l.trim().to_owned())
                .collect();
            if complete.len() >= lines {
                return Ok(complete[..lines].to_vec());
            }
        }
        let mut buffer = [0u8; 4096];
        let n = timeout(Duration::from_secs(20), stream.read(&mut buffer)).await??;
        if n == 0 {
            bail!(
                "the stream ended after {:?}",
                String::from_utf8_lossy(&bytes)
            );
        }
        bytes.extend_from_slice(&buffer[..n]);
    }
}

/// Sends one request and leaves it to the caller to read the answer, or to go away.
pub async fn open(
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> Result<TcpStream> {
    let body = body.as_ref();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n");
    if !body.is_empty() {
        head.push_str(&format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        ));
    } else if method == "POST" {
        head.push_str("Content-Length: 0\r\n");
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    Ok(stream)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|w| w == what)
}

fn parse(bytes: &[u8]) -> Result<Answer> {
    let end = find(bytes, b"\r\n\r\n").context("no end of the header")?;
    let head = std::str::from_utf8(&bytes[..end])?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|l| l.split(' ').nth(1))
        .context("no status line")?
        .parse()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|l| l.split_once(':'))
        .map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()))
        .collect();
    let chunked = headers
        .iter()
        .any(|(n, v)| n == "transfer-encoding" && v == "chunked");
    let body = &bytes[end + 4..];
    let body = if chunked {
        dechunk(body)
    } else {
        body.to_vec()
    };
    Ok(Answer {
        status,
        headers,
        body,
    })
}

/// The bytes of the complete chunks; an answer that is still arriving gives
/// what is there.
fn dechunk(mut rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = find(rest, b"\r\n") {
        let Ok(text) = std::str::from_utf8(&rest[..end]) else {
            break;
        };
        let Ok(len) = usize::from_str_radix(text.trim(), 16) else {
            break;
        };
        if len == 0 || rest.len() < end + 2 + len {
            break;
        }
        out.extend_from_slice(&rest[end + 2..end + 2 + len]);
        rest = rest.get(end + 2 + len + 2..).unwrap_or_default();
    }
    out
}
