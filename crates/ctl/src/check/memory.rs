//! The memory of a member, from its own `/metrics`: one plain HTTP request. It
//! must never take longer, or read more, than a metrics page justifies.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const METRIC: &str = "process_resident_memory_bytes ";
const WITHIN: Duration = Duration::from_secs(10);
/// A metrics page is some 100 KB.
const PAGE_BYTES_MAX: u64 = 8 << 20;

/// Resident memory of the member at `endpoint`, in bytes.
///
/// # Errors
/// What went wrong, for a person.
pub(super) async fn resident_bytes(endpoint: &str) -> Result<f64, String> {
    let address = endpoint
        .strip_prefix("http://")
        .unwrap_or(endpoint)
        .trim_end_matches('/');
    let page = tokio::time::timeout(WITHIN, fetch(address))
        .await
        .map_err(|_| format!("http://{address}/metrics does not answer"))?
        .map_err(|error| format!("http://{address}/metrics: {error}"))?;
    value(&page).ok_or_else(|| format!("http://{address}/metrics does not have {METRIC}"))
}

async fn fetch(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut page = Vec::new();
    stream.take(PAGE_BYTES_MAX).read_to_end(&mut page).await?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// The metric's value on a page.
pub(super) fn value(page: &str) -> Option<f64> {
    page.lines()
        .find_map(|line| line.strip_prefix(METRIC))
        .and_then(|value| value.trim().parse().ok())
}
