//! `/debug/pprof/`: profiles under the paths where Go has them, for `go tool pprof`.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use http::{Response, StatusCode, header, header::HeaderValue};

use super::{
    body::Body,
    plain::{not_found, unsniffed},
};
use crate::{
    profile::{self, Sampling},
    runtime::Runtime,
};

const PREFIX: &str = "/debug/pprof/";
/// Of a CPU profile whose request names no time, as in Go.
const SECONDS: u64 = 30;
/// One profile is taken at a time, and what it has sampled is kept until its end.
const SECONDS_MAX: u64 = 600;

const INDEX: &str = "<html>
<head><title>/debug/pprof/</title></head>
<body>
<h1>/debug/pprof/</h1>
<p>Profiles of this process, for <code>go tool pprof</code>.</p>
<ul>
<li><a href=\"profile?seconds=30\">profile</a>: where CPU time goes, 100 samples for each second of
it. Time inside of the C library is not sampled.</li>
<li><a href=\"heap\">heap</a>: resident memory by kind. The allocator does not record who asked for
it.</li>
<li><a href=\"threadcreate\">threadcreate</a>: threads by name.</li>
<li><a href=\"cmdline\">cmdline</a>: the command line.</li>
<li><a href=\"symbol\">symbol</a>: nothing to look up, profiles have all names.</li>
</ul>
</body>
</html>
";

/// Whether a path is one of these pages.
pub fn is_page(path: &str) -> bool {
    path.starts_with(PREFIX) || PREFIX.strip_suffix('/') == Some(path)
}

/// Serves one of them, if they are enabled.
pub(super) async fn page(rt: &Rc<Runtime>, path: &str, query: &str) -> Response<Body> {
    if !rt.core.config.enable_pprof {
        return not_found();
    }
    profile(path, query).await
}

/// Serves one of them.
pub async fn profile(path: &str, query: &str) -> Response<Body> {
    let Some(name) = path.strip_prefix(PREFIX) else {
        let mut response = unsniffed(StatusCode::MOVED_PERMANENTLY, "");
        response
            .headers_mut()
            .insert(header::LOCATION, HeaderValue::from_static(PREFIX));
        return response;
    };
    match name {
        "" => {
            let mut response = unsniffed(StatusCode::OK, INDEX);
            response.headers_mut().insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("text/html; charset=utf-8"),
            );
            response
        }
        "profile" => cpu(query).await,
        "heap" | "allocs" => file(
            "heap",
            tokio::task::spawn_blocking(profile::memory).await.ok(),
        ),
        "threadcreate" => {
            let threads = tokio::task::spawn_blocking(profile::threads).await.ok();
            file("threadcreate", threads)
        }
        "cmdline" => unsniffed(
            StatusCode::OK,
            std::env::args().collect::<Vec<_>>().join("\0"),
        ),
        "symbol" => unsniffed(StatusCode::OK, "num_symbols: 0\n"),
        _ => unsniffed(StatusCode::NOT_FOUND, "Unknown profile\n"),
    }
}

/// Samples until the time is over; a client that goes away ends it.
async fn cpu(query: &str) -> Response<Body> {
    let seconds = url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "seconds")
        .and_then(|(_, value)| value.parse().ok())
        .filter(|seconds| *seconds > 0)
        .unwrap_or(SECONDS);
    if seconds > SECONDS_MAX {
        let why = format!("a profile takes {SECONDS_MAX} seconds at most, not {seconds}\n");
        return unsniffed(StatusCode::BAD_REQUEST, why);
    }
    let sampling = match Sampling::start() {
        Ok(sampling) => sampling,
        Err(busy) => return unsniffed(StatusCode::INTERNAL_SERVER_ERROR, format!("{busy}\n")),
    };
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let profile = tokio::task::spawn_blocking(move || sampling.finish()).await;
    file("profile", profile.ok())
}

fn file(name: &'static str, bytes: Option<Vec<u8>>) -> Response<Body> {
    let Some(bytes) = bytes else {
        return unsniffed(
            StatusCode::INTERNAL_SERVER_ERROR,
            "no profile could be made\n",
        );
    };
    let mut response = unsniffed(StatusCode::OK, Bytes::from(bytes));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    response
}
