//! The snapshot stream. It is never resumed or retried: a snapshot is whole
//! from one member, or it is none.

use proto::etcdserverpb as api;

use crate::{Client, Error, pool::Connection};

/// Blobs of a member's backend, in order; the last 32 bytes of the whole are
/// the SHA-256 of all before them.
pub struct SnapshotStream {
    stream: tonic::Streaming<api::SnapshotResponse>,
    client: Client,
    connection: Connection,
}

impl Client {
    /// Asks the current endpoint for its backend. The command timeout limits
    /// the opening of the stream only.
    ///
    /// # Errors
    /// [`Error`], when the stream could not be opened.
    pub async fn snapshot(&self) -> Result<SnapshotStream, Error> {
        self.limited(async {
            // A refusal would come with the first blob, too late to open it once more: a fresh
            // token first, as etcd's client has it.
            self.renew_token(self.token(), "", &mut 0).await?;
            self.open_snapshot().await
        })
        .await
    }

    async fn open_snapshot(&self) -> Result<SnapshotStream, Error> {
        let connection = self.connection().await;
        let stream = api::maintenance_client::MaintenanceClient::new(connection.channel.clone())
            .max_decoding_message_size(usize::MAX)
            .snapshot(self.request(api::SnapshotRequest {}))
            .await?
            .into_inner();
        Ok(SnapshotStream {
            stream,
            client: self.clone(),
            connection,
        })
    }
}

impl SnapshotStream {
    /// The next blob, or `None` after the last.
    ///
    /// # Errors
    /// What ended the stream early.
    pub async fn message(&mut self) -> Result<Option<api::SnapshotResponse>, Error> {
        self.stream.message().await.map_err(|status| {
            self.client.stream_failed(&self.connection);
            status.into()
        })
    }
}
