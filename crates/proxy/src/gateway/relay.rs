//! One connection: bytes from a client to a member and back, until either side is done. At most a
//! buffer of each direction waits here; a side that does not read holds the other one back.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
};

use super::remotes::Remotes;

/// What waits of one direction, bytes.
const BUFFER: usize = 16 << 10;
/// Go's for every connection: silence before the first probe, and between two of them.
const PROBE_AFTER: Duration = Duration::from_secs(15);
/// After one side has ended, what the other one still has to say must come within this time.
const LINGER: Duration = Duration::from_secs(30);

/// Serves a client until the end of its connection.
pub(super) async fn serve(mut client: TcpStream, remotes: &Remotes) {
    let Some(mut member) = remotes.dial().await else {
        return;
    };
    for stream in [&client, &member] {
        // A connection that is broken by now ends by itself.
        let _ = stream.set_nodelay(true);
        let probes = TcpKeepalive::new()
            .with_time(PROBE_AFTER)
            .with_interval(PROBE_AFTER);
        let _ = SockRef::from(stream).set_tcp_keepalive(&probes);
    }
    let (from_client, to_client) = client.split();
    let (from_member, to_member) = member.split();
    let up = copy(from_client, to_member);
    let down = copy(from_member, to_client);
    tokio::pin!(up, down);
    let ended = tokio::select! {
        ended = &mut up => ended.map(|()| true),
        ended = &mut down => ended.map(|()| false),
    };
    // A broken connection takes the other one with it; a clean end lets the other side finish.
    let _ = match ended {
        Ok(true) => tokio::time::timeout(LINGER, down).await,
        Ok(false) => tokio::time::timeout(LINGER, up).await,
        Err(_) => return,
    };
}

/// Passes one direction on, its end included.
async fn copy(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let len = from.read(&mut buffer).await?;
        if len == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..len]).await?;
    }
}
