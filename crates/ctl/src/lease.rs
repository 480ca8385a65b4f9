//! `lease grant`, `revoke`, `timetolive`, `list`, `keep-alive`. Lease ids are
//! hexadecimal on the command line and in simple output, decimal elsewhere.

use cli::{flags::Parsed, text::parse_int};
use proto::etcdserverpb as api;

use crate::{
    failure::{EXIT_CONNECTION, EXIT_ERROR, Failure, Outcome, cause},
    global::Global,
    output::{Format, Object, Page, Show, wire},
    terminal::print_all,
};

/// `etcdctl lease grant`.
pub(crate) async fn grant(parsed: &mut Parsed) -> Outcome {
    let [ttl] = parsed.args.as_slice() else {
        return Err(Failure::bad_args("lease grant command needs TTL argument"));
    };
    let ttl = parse_int(&String::from_utf8_lossy(ttl), 10)
        .map_err(|error| Failure::bad_args(format!("bad TTL ({error})")))?;
    let global = Global::resolve(parsed)?;
    global.output.refuse_table()?;
    let request = api::LeaseGrantRequest { ttl, id: 0 };
    let response = global.client().await?.lease_grant(request).await;
    global
        .output
        .show(&response.map_err(|error| failed("failed to grant lease", &error))?)
}

/// `etcdctl lease revoke`.
pub(crate) async fn revoke(parsed: &mut Parsed) -> Outcome {
    let id = lease_id(parsed, "lease revoke command needs 1 argument")?;
    let global = Global::resolve(parsed)?;
    global.output.refuse_table()?;
    let request = api::LeaseRevokeRequest { id };
    let response = global
        .client()
        .await?
        .lease_revoke(request)
        .await
        .map_err(|error| failed("failed to revoke lease", &error))?;
    global.output.show(&Revoked { id, response })
}

/// `etcdctl lease timetolive`.
pub(crate) async fn time_to_live(parsed: &mut Parsed) -> Outcome {
    let id = lease_id(
        parsed,
        "lease timetolive command needs lease ID as argument",
    )?;
    let keys = parsed.bool("keys");
    let global = Global::resolve(parsed)?;
    global.output.refuse_table()?;
    let request = api::LeaseTimeToLiveRequest { id, keys };
    let response = global
        .client()
        .await?
        .lease_time_to_live(request)
        .await
        .map_err(|error| Failure::call(EXIT_CONNECTION, &error))?;
    global.output.show(&TimeToLive { keys, response })
}

/// `etcdctl lease list`.
pub(crate) async fn list(parsed: &mut Parsed) -> Outcome {
    let global = Global::resolve(parsed)?;
    global.output.refuse_table()?;
    let response = global
        .client()
        .await?
        .lease_leases(api::LeaseLeasesRequest {})
        .await
        .map_err(|error| Failure::call(EXIT_CONNECTION, &error))?;
    global.output.show(&response)
}

/// `etcdctl lease keep-alive`.
pub(crate) async fn keep_alive(parsed: &mut Parsed) -> Outcome {
    let id = lease_id(
        parsed,
        "lease keep-alive command needs lease ID as argument",
    )?;
    let once = parsed.bool("once");
    let global = Global::resolve(parsed)?;
    global.output.refuse_table()?;
    let client = global.client().await?;
    let refused = |error: client::Error| Failure::call(EXIT_CONNECTION, &error);
    if once {
        let response = client.keep_alive_once(id).await.map_err(refused)?;
        return global.output.show(&response);
    }
    let mut renewals = client.keep_alive(id);
    while let Some(response) = renewals.message().await.map_err(refused)? {
        global.output.show(&response)?;
    }
    match global.output.format() {
        Format::Simple => print_all(format!("lease {id:016x} expired or revoked.\n").as_bytes()),
        _ => Ok(()),
    }
}

fn failed(what: &str, error: &client::Error) -> Failure {
    let failure = Failure::new(EXIT_ERROR, format!("{what} ({error})"));
    match cause(error) {
        Some(cause) => failure.with_hint(cause),
        None => failure,
    }
}

fn lease_id(parsed: &Parsed, usage: &str) -> Outcome<i64> {
    let [id] = parsed.args.as_slice() else {
        return Err(Failure::bad_args(usage));
    };
    parse_int(&String::from_utf8_lossy(id), 16).map_err(|error| {
        Failure::bad_args(format!("bad lease ID arg ({error}), expecting ID in Hex"))
    })
}

struct Revoked {
    id: i64,
    response: api::LeaseRevokeResponse,
}

struct TimeToLive {
    /// Whether keys were asked for.
    keys: bool,
    response: api::LeaseTimeToLiveResponse,
}

impl Show for api::LeaseGrantResponse {
    fn simple(&self, page: &mut Page) {
        page.line(format!(
            "lease {:016x} granted with TTL({}s)",
            self.id, self.ttl
        ));
    }

    fn json(&self, page: &mut Page) {
        Object::write(&mut page.bytes, |object| {
            object.header_fields(&self.header.unwrap_or_default());
            object.always("ID", self.id);
            object.always("TTL", self.ttl);
            object.text_always("Error", &self.error);
        });
    }

    fn fields(&self, page: &mut Page) {
        page.header_fields(self.header.as_ref());
        page.field("ID", self.id);
        page.field("TTL", self.ttl);
    }

    fn protobuf(&self) -> Vec<u8> {
        wire(self)
    }
}

impl Show for Revoked {
    fn simple(&self, page: &mut Page) {
        page.line(format!("lease {:016x} revoked", self.id));
    }

    fn json(&self, page: &mut Page) {
        Object::write(&mut page.bytes, |object| {
            object.header(self.response.header.as_ref());
        });
    }

    fn fields(&self, page: &mut Page) {
        page.header_fields(self.response.header.as_ref());
    }

    fn protobuf(&self) -> Vec<u8> {
        wire(&self.response)
    }
}

impl Show for TimeToLive {
    fn simple(&self, page: &mut Page) {
        let lease = &self.response;
        if lease.granted_ttl == 0 && lease.ttl == -1 {
            return page.line(format!("lease {:016x} already expired", lease.id));
        }
        page.text(format!(
            "lease {:016x} granted with TTL({}s), remaining({}s)",
            lease.id, lease.granted_ttl, lease.ttl
        ));
        if self.keys {
            page.text(", attached keys([");
            for (at, key) in lease.keys.iter().enumerate() {
                if at > 0 {
                    page.text(" ");
                }
                page.bytes.extend_from_slice(key);
            }
            page.text("])");
        }
        page.line("");
    }

    fn json(&self, page: &mut Page) {
        let lease = &self.response;
        Object::write(&mut page.bytes, |object| {
            object.header_fields(&lease.header.unwrap_or_default());
            object.always("id", lease.id);
            object.always("ttl", lease.ttl);
            object.always("granted-ttl", lease.granted_ttl);
            object.bytes_or_null("keys", &lease.keys);
        });
    }

    fn fields(&self, page: &mut Page) {
        let lease = &self.response;
        page.header_fields(lease.header.as_ref());
        page.field("ID", lease.id);
        page.field("TTL", lease.ttl);
        page.field("GrantedTTL", lease.granted_ttl);
        for key in &lease.keys {
            page.quoted("Key", key);
        }
    }

    fn protobuf(&self) -> Vec<u8> {
        wire(&self.response)
    }
}

impl Show for api::LeaseLeasesResponse {
    fn simple(&self, page: &mut Page) {
        page.line(format!("found {} leases", self.leases.len()));
        for lease in &self.leases {
            page.line(format!("{:016x}", lease.id));
        }
    }

    fn json(&self, page: &mut Page) {
        Object::write(&mut page.bytes, |object| {
            object.header_fields(&self.header.unwrap_or_default());
            object.children_always("leases", &self.leases, |object, lease| {
                object.always("id", lease.id);
            });
        });
    }

    fn fields(&self, page: &mut Page) {
        page.header_fields(self.header.as_ref());
        for lease in &self.leases {
            page.field("ID", lease.id);
        }
    }

    fn protobuf(&self) -> Vec<u8> {
        wire(self)
    }
}

impl Show for api::LeaseKeepAliveResponse {
    fn simple(&self, page: &mut Page) {
        page.line(format!(
            "lease {:016x} keepalived with TTL({})",
            self.id, self.ttl
        ));
    }

    fn json(&self, page: &mut Page) {
        Object::write(&mut page.bytes, |object| {
            object.header_fields(&self.header.unwrap_or_default());
            object.always("ID", self.id);
            object.always("TTL", self.ttl);
        });
    }

    fn fields(&self, page: &mut Page) {
        page.header_fields(self.header.as_ref());
        page.field("ID", self.id);
        page.field("TTL", self.ttl);
    }

    fn protobuf(&self) -> Vec<u8> {
        wire(self)
    }
}
