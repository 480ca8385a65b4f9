//! Distributed tracing: a collector that listens here is sent spans of etcd and of Pintle, and those
//! of one call say the same.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use peers::{api::put, cluster::until, peer, run, server::Launch};
use prost::Message as _;
use proto::{
    etcdserverpb::LeaseRevokeRequest,
    tracepb::{ExportTraceServiceRequest, Span},
};
use tokio::net::{TcpListener, TcpStream};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
/// Spans are sent in batches, after five seconds at the latest.
const WITHIN: Duration = Duration::from_secs(60);

/// What was sent.
type Sent = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

/// Takes whatever is exported on one connection.
async fn collect(stream: TcpStream, sent: Sent) -> Result<()> {
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, mut respond) = request?;
        let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
        ensure!(request.uri().path() == path, "{}", request.uri());
        let sent = sent.clone();
        tokio::spawn(async move {
            let mut body = request.into_body();
            let mut bytes = Vec::new();
            while let Some(Ok(data)) = body.data().await {
                let _ = body.flow_control().release_capacity(data.len());
                bytes.extend_from_slice(&data);
            }
            if let Ok(export) = ExportTraceServiceRequest::decode(&bytes[5.min(bytes.len())..]) {
                sent.lock().expect("no panic").push(export);
            }
            let head = http::Response::builder().header("content-type", "application/grpc");
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
            if let Ok(mut out) = respond.send_response(head.body(()).expect("a head"), false) {
                let _ = out.send_data(bytes::Bytes::from_static(&[0; 5]), false);
                let _ = out.send_trailers(trailers);
            }
        });
    }
    Ok(())
}

async fn collector() -> Result<(u16, Sent)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let sent = Sent::default();
    let all = sent.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(collect(stream, all.clone()));
        }
    });
    Ok((port, sent))
}

fn spans(sent: &Sent) -> Vec<Span> {
    let sent = sent.lock().expect("no panic");
    let scopes = sent.iter().flat_map(|export| &export.resource_spans);
    let scopes = scopes.flat_map(|resource| &resource.scope_spans);
    scopes.flat_map(|scope| scope.spans.clone()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Waits for a span.
async fn wait(sent: &Sent, what: &str, is_it: impl Fn(&Span) -> bool) -> Result<Span> {
    until(what, WITHIN, async || {
        let found = spans(sent).into_iter().find(&is_it);
        found.with_context(|| format!("no such span: {:#?}", spans(sent)))
    })
    .await
}

#[test]
fn a_call_is_traced_as_by_etcd() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    run(240, async {
        let mut traced = Vec::new();
        for program in [&reference, &subject] {
            let (port, sent) = collector().await?;
            let data = tempfile::tempdir()?;
            let server = Launch::new(program, data.path())
                .flag("--experimental-enable-distributed-tracing")
                .flag(&format!(
                    "--experimental-distributed-tracing-address=127.0.0.1:{port}"
                ))
                .flag("--experimental-distributed-tracing-service-name=traced")
                .flag("--experimental-distributed-tracing-instance-id=one")
                // The client decides about its own traces; of others there is none.
                .flag("--experimental-distributed-tracing-sampling-rate=0")
                .start()
                .await?;
            for flags in ["01", "00"] {
                let mut request = tonic::Request::new(put("k", "v"));
                let parent = format!("00-{TRACE}-{PARENT}-{flags}");
                request
                    .metadata_mut()
                    .insert("traceparent", parent.parse()?);
                server.api().kv().put(request).await?;
            }
            let mut request = tonic::Request::new(LeaseRevokeRequest { id: 7 });
            let parent = format!("00-{TRACE}-{PARENT}-01");
            let metadata = request.metadata_mut();
            metadata.insert("traceparent", parent.parse()?);
            let refused = server.api().lease().lease_revoke(request).await;
            ensure!(refused.is_err(), "{program} knows the lease");
            let is_it = |span: &Span| span.name.ends_with("/LeaseRevoke");
            let failed = wait(&sent, "a call that fails", is_it).await?;
            let call = wait(&sent, "the call", |span| span.name.ends_with("KV/Put")).await?;
            if program.is_pintle {
                let is_below =
                    |span: &Span| span.name == "raft" && span.parent_span_id == call.span_id;
                let raft = wait(&sent, "raft", is_below).await?;
                ensure!(raft.trace_id == call.trace_id);
                let within = call.start_time_unix_nano..=call.end_time_unix_nano;
                ensure!(
                    within.contains(&raft.start_time_unix_nano),
                    "{raft:#?}\n{call:#?}"
                );
            }
            // Neither the second call nor anything of the server's own.
            let names: Vec<_> = spans(&sent).into_iter().map(|span| span.name).collect();
            let calls = names.iter().filter(|name| name.ends_with("KV/Put")).count();
            ensure!(
                calls == 1 && !names.contains(&"apply".to_owned()),
                "{program}: {names:?}"
            );
            let exports = sent.lock().expect("no panic").clone();
            let resource = exports[0].resource_spans[0]
                .resource
                .clone()
                .context("a resource")?;
            let resource: BTreeSet<String> = resource
                .attributes
                .iter()
                .map(|attribute| format!("{attribute:?}"))
                .filter(|attribute| attribute.contains("service."))
                .collect();
            server.no_panic()?;
            server.terminate().await?;
            let said = |span: &Span| -> Vec<String> {
                let is_own = |key: &str| key == "server.port";
                let shown = span.attributes.iter().filter(|one| !is_own(&one.key));
                let mut said: Vec<_> = shown.map(|one| format!("{one:?}")).collect();
                let status = span.status.clone().unwrap_or_default();
                said.push(format!("{status:?}, {} events", span.events.len()));
                said
            };
            let said = [said(&call), said(&failed)];
            traced.push((
                call.name.clone(),
                call.kind,
                hex(&call.trace_id),
                hex(&call.parent_span_id),
                said,
                resource,
            ));
        }
        ensure!(traced[0] == traced[1], "{traced:#?}");
        ensure!((traced[1].2.as_str(), traced[1].3.as_str()) == (TRACE, PARENT));
        Ok(())
    });
}

#[test]
fn syncs_and_applied_entries_are_traced_at_the_rate_of_the_server() {
    let Some((subject, _)) = peer::pair() else {
        return;
    };
    if !subject.is_pintle {
        return;
    }
    run(120, async {
        let (port, sent) = collector().await?;
        let data = tempfile::tempdir()?;
        let server = Launch::new(&subject, data.path())
            .flag("--enable-distributed-tracing")
            .flag(&format!("--distributed-tracing-address=127.0.0.1:{port}"))
            .flag("--distributed-tracing-sampling-rate=1000000")
            .start()
            .await?;
        server.api().kv().put(put("k", "v")).await?;
        for name in ["etcdserverpb.KV/Put", "raft", "fsync", "apply"] {
            let span = wait(&sent, name, |span| span.name == name).await?;
            ensure!(
                span.start_time_unix_nano <= span.end_time_unix_nano,
                "{span:?}"
            );
        }
        server.no_panic()?;
        server.terminate().await
    });
}
