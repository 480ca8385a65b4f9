//! The listener, with gofail's requests: `GET /` lists, `GET /name` and `GET /name/count` look,
//! `PUT /name` sets, `PUT /failpoints` sets several, `DELETE /name` switches off. One request after
//! the other, each on a connection of its own.

use std::{
    fmt::Write as _,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use crate::{Point, settings::settings, table, terms::Terms};

/// Bytes of a head, or of a body, that are read.
const PART_BYTES_MAX: u64 = 64 << 10;
/// How long a client may take.
const PATIENCE: Duration = Duration::from_secs(5);

const OK: &str = "200 OK";
const NO_CONTENT: &str = "204 No Content";
const BAD_REQUEST: &str = "400 Bad Request";
const NOT_FOUND: &str = "404 Not Found";
const NOT_ALLOWED: &str = "405 Method Not Allowed";

pub(crate) fn serve(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        // A client that goes away in mid-request is its own affair.
        let _ = exchange(&stream);
    }
}

fn exchange(mut stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream);
    let (method, path, body_len) = head(&mut reader)?;
    let mut body = vec![0; body_len];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8_lossy(&body);
    let _answering = table::answering();
    let (status, text) = answer(&method, path.strip_prefix('/').unwrap_or(&path), &body);
    let len = text.len();
    let mut response = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
    if status != NO_CONTENT {
        // Writing into a string cannot fail.
        let _ = write!(
            response,
            "Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len}\r\n"
        );
    }
    stream.write_all(format!("{response}\r\n{text}").as_bytes())
}

/// Method, path and the length of the body.
fn head(reader: &mut BufReader<&TcpStream>) -> io::Result<(String, String, usize)> {
    let mut head = reader.take(PART_BYTES_MAX);
    let mut line = String::new();
    head.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let word = |word: Option<&str>| word.unwrap_or_default().to_owned();
    let (method, path) = (word(words.next()), word(words.next()));
    let mut body_len = 0;
    loop {
        line.clear();
        if head.read_line(&mut line)? == 0 || line.trim_end().is_empty() {
            return Ok((method, path, body_len));
        }
        let field = line.split_once(':');
        if let Some((name, value)) = field
            && name.eq_ignore_ascii_case("content-length")
        {
            let len: u64 = value.trim().parse().map_err(io::Error::other)?;
            body_len = len.min(PART_BYTES_MAX) as usize;
        }
    }
}

pub(crate) fn answer(method: &str, name: &str, body: &str) -> (&'static str, String) {
    match method {
        "GET" if name.is_empty() => (OK, list()),
        "GET" => look(name),
        "PUT" => match set(name, body) {
            Ok(()) => (NO_CONTENT, String::new()),
            Err(why) => (BAD_REQUEST, format!("fail to set failpoint: {why}\n")),
        },
        "DELETE" => match table::find(name) {
            Some(point) if table::set(point, None) => (NO_CONTENT, String::new()),
            Some(_) => {
                let text = "failed to delete failpoint failpoint: failpoint is disabled\n";
                (BAD_REQUEST, text.to_owned())
            }
            None => {
                let text = format!("failed to delete failpoint {MISSING}\n");
                (BAD_REQUEST, text)
            }
        },
        _ => (NOT_ALLOWED, String::from("Method not allowed\n")),
    }
}

const MISSING: &str = "failpoint: failpoint does not exist";

fn list() -> String {
    let mut lines: Vec<String> = Point::ALL
        .iter()
        .map(|&point| {
            let terms = table::status(point).map_or_else(String::new, |(terms, _)| terms);
            format!("{}={terms}\n", point.name())
        })
        .collect();
    lines.sort();
    lines.concat()
}

fn look(name: &str) -> (&'static str, String) {
    let (name, counts) = match name.strip_suffix("/count") {
        Some(name) => (name, true),
        None => (name, false),
    };
    let Some(point) = table::find(name) else {
        return (NOT_FOUND, format!("failed to GET: {MISSING}\n"));
    };
    match table::status(point) {
        Some((_, executed)) if counts => (OK, executed.to_string()),
        Some((terms, _)) => (OK, format!("{terms}\n")),
        None => {
            let text = "failed to GET: failpoint: failpoint is disabled\n";
            (NOT_FOUND, text.to_owned())
        }
    }
}

fn set(name: &str, body: &str) -> Result<(), String> {
    let one = |name: &str, terms: Terms| {
        let point = table::find(name).ok_or_else(|| MISSING.to_owned())?;
        table::set(point, Some(terms));
        Ok(())
    };
    if name.eq_ignore_ascii_case("failpoints") {
        let settings = settings(body).map_err(|error| error.to_string())?;
        return settings
            .into_iter()
            .try_for_each(|(name, terms)| one(name, terms));
    }
    let terms = Terms::parse(body);
    one(
        name,
        terms.ok_or("failpoint: could not parse terms".to_owned())?,
    )
}
