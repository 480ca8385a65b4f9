//! Spans on their way to a collector of traces (OTLP over gRPC, without TLS).

use std::time::Duration;

use proto::tracepb::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient};
use tonic::transport::{Channel, Endpoint};

use crate::{EndpointError, Error};

/// A collector of traces. It is dialled by the first spans, and again when it was away.
#[derive(Clone, Debug)]
pub struct Collector {
    client: TraceServiceClient<Channel>,
}

impl Collector {
    /// The collector at `address`, host and port; each request may take `limit`.
    ///
    /// # Errors
    /// The address is none.
    pub fn new(address: &str, limit: Duration) -> Result<Collector, EndpointError> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|_| EndpointError::Malformed(address.to_owned()))?;
        let channel = endpoint
            .timeout(limit)
            .connect_timeout(limit)
            .connect_lazy();
        Ok(Collector {
            client: TraceServiceClient::new(channel),
        })
    }

    /// Sends spans.
    ///
    /// # Errors
    /// The collector cannot be reached, or does not take them.
    pub async fn export(&mut self, request: ExportTraceServiceRequest) -> Result<(), Error> {
        self.client.export(request).await?;
        Ok(())
    }
}
