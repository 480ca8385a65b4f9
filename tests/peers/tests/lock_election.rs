//! The Lock and Election services, told the same story on both servers: keys,
//! revisions, values and errors equal; who waits, waits; who goes away while
//! waiting leaves no key behind.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use peers::{api::Api, cluster::until, http, lockstep::Pair, peer};
use proto::{
    etcdserverpb::{LeaseGrantRequest, LeaseRevokeRequest, RangeRequest, ResponseHeader},
    v3electionpb::{
        CampaignRequest, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest, ResignRequest,
    },
    v3lockpb::{LockRequest, UnlockRequest},
};
use tokio::{sync::mpsc, task::JoinHandle};
use tonic::{Request, Status};

const WITHIN: Duration = Duration::from_secs(15);

/// What happened, in words that two correct servers share.
#[derive(Default)]
struct Story(Vec<String>);

fn header(header: Option<ResponseHeader>) -> String {
    let header = header.unwrap_or_default();
    let ids = header.cluster_id != 0 && header.member_id != 0 && header.raft_term > 0;
    format!("at {} ({ids})", header.revision)
}

fn status(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Story {
    fn tell(&mut self, line: impl Into<String>) {
        self.0.push(line.into());
    }
}

async fn grant(api: &Api, id: i64) -> Result<()> {
    let request = LeaseGrantRequest { ttl: 600, id };
    api.lease_grant(request).await?;
    Ok(())
}

async fn revoke(api: &Api, id: i64) -> Result<()> {
    api.lease_revoke(LeaseRevokeRequest { id }).await?;
    Ok(())
}

async fn exists(api: &Api, key: &str) -> Result<bool> {
    let request = RangeRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        ..Default::default()
    };
    Ok(!api.range(request).await?.kvs.is_empty())
}

async fn wait_for_key(api: &Api, key: &str, wanted: bool) -> Result<()> {
    until(key, WITHIN, async || {
        ensure!(exists(api, key).await? == wanted, "it is not {wanted}");
        Ok(())
    })
    .await
}

/// Locks `name` under `lease`: header and key, or the error.
async fn lock(api: &Api, name: &str, lease: i64) -> String {
    let request = LockRequest {
        name: Bytes::copy_from_slice(name.as_bytes()),
        lease,
    };
    match api
        .lock()
        .lock(request)
        .await
        .map(tonic::Response::into_inner)
    {
        Ok(answer) => format!("{} has {}", header(answer.header), text(&answer.key)),
        Err(error) => status(&error),
    }
}

/// As [`lock`], on a connection of its own that an abort breaks, and not before
/// the key is there.
async fn waiting(api: &Api, name: &str, lease: i64) -> Result<JoinHandle<String>> {
    let own = Api::new(api.port());
    let key = format!("{name}/{lease:x}");
    let name = name.to_owned();
    let task = tokio::spawn(async move { lock(&own, &name, lease).await });
    wait_for_key(api, &key, true).await?;
    ensure!(!task.is_finished(), "{key} did not have to wait");
    Ok(task)
}

async fn done(task: JoinHandle<String>) -> Result<String> {
    let ended = tokio::time::timeout(WITHIN, task).await;
    Ok(ended.context("it waits for ever")??)
}

async fn unlock(api: &Api, key: &str) -> String {
    let key = Bytes::copy_from_slice(key.as_bytes());
    let answer = api.lock().unlock(UnlockRequest { key }).await;
    match answer.map(tonic::Response::into_inner) {
        Ok(answer) => header(answer.header),
        Err(error) => status(&error),
    }
}

async fn locks(api: &Api) -> Result<Vec<String>> {
    let mut story = Story::default();
    for id in [0xa, 0xb, 0xc, 0xd] {
        grant(api, id).await?;
    }
    story.tell(lock(api, "l", 0xa).await);
    story.tell(lock(api, "l", 0xa).await);
    story.tell(lock(api, "other", 0xa).await);
    story.tell(lock(api, "l", 0x404).await);
    story.tell(lock(api, "", 0xa).await);

    // In the order of arrival, each after the one before.
    let second = waiting(api, "l", 0xb).await?;
    let third = waiting(api, "l", 0xc).await?;
    story.tell(unlock(api, "l/a").await);
    story.tell(done(second).await?);
    ensure!(!third.is_finished(), "two have the lock");

    // One that goes away while it waits.
    let fourth = waiting(api, "l", 0xd).await?;
    fourth.abort();
    wait_for_key(api, "l/d", false).await?;
    story.tell("l/d gave up");

    // One whose deadline passes while it waits.
    let mut request = Request::new(LockRequest {
        name: Bytes::from_static(b"l"),
        lease: 0xd,
    });
    request.set_timeout(Duration::from_millis(400));
    let late = Api::new(api.port()).lock().lock(request).await;
    ensure!(late.is_err(), "l/d has what l/b has");
    wait_for_key(api, "l/d", false).await?;
    story.tell("l/d is late");

    // One whose lease ends while it waits.
    let fourth = waiting(api, "l", 0xd).await?;
    revoke(api, 0xd).await?;
    story.tell(unlock(api, "l/b").await);
    story.tell(done(third).await?);
    story.tell(unlock(api, "l/c").await);
    story.tell(done(fourth).await?);

    // The end of a lease frees its lock.
    story.tell(lock(api, "l", 0xb).await);
    let next = waiting(api, "l", 0xc).await?;
    revoke(api, 0xb).await?;
    story.tell(done(next).await?);
    story.tell(unlock(api, "").await);
    story.tell(unlock(api, "nothing").await);

    // A lease of the server's own.
    let own = lock(api, "own", 0).await;
    let (said, id) = own.rsplit_once("own/").context("no key of its own")?;
    ensure!(i64::from_str_radix(id, 16)? > 0, "{own}");
    story.tell(said);
    Ok(story.0)
}

fn name() -> Bytes {
    Bytes::from_static(b"e")
}

async fn campaign(api: &Api, lease: i64, value: &str) -> Result<(String, LeaderKey)> {
    let request = CampaignRequest {
        name: name(),
        lease,
        value: Bytes::copy_from_slice(value.as_bytes()),
    };
    let answer = api.election().campaign(request).await?.into_inner();
    let leader = answer.leader.context("no leader key")?;
    let line = format!(
        "{} leads {} by {} since {} on {:x}",
        header(answer.header),
        text(&leader.name),
        text(&leader.key),
        leader.rev,
        leader.lease
    );
    Ok((line, leader))
}

async fn proclaim(api: &Api, leader: Option<LeaderKey>, value: &'static str) -> String {
    let value = Bytes::from_static(value.as_bytes());
    let answer = api
        .election()
        .proclaim(ProclaimRequest { leader, value })
        .await;
    match answer.map(tonic::Response::into_inner) {
        Ok(answer) => header(answer.header),
        Err(error) => status(&error),
    }
}

async fn resign(api: &Api, leader: Option<LeaderKey>) -> String {
    match api.election().resign(ResignRequest { leader }).await {
        Ok(answer) => header(answer.into_inner().header),
        Err(error) => status(&error),
    }
}

fn leads(answer: LeaderResponse) -> String {
    let kv = answer.kv.unwrap_or_default();
    format!(
        "{}: {}={} {} {} {} {:x}",
        header(answer.header),
        text(&kv.key),
        text(&kv.value),
        kv.create_revision,
        kv.mod_revision,
        kv.version,
        kv.lease
    )
}

async fn leader(api: &Api) -> String {
    match api.election().leader(LeaderRequest { name: name() }).await {
        Ok(answer) => leads(answer.into_inner()),
        Err(error) => status(&error),
    }
}

async fn elections(api: &Api) -> Result<Vec<String>> {
    let mut story = Story::default();
    for id in [0xa, 0xb] {
        grant(api, id).await?;
    }
    story.tell(leader(api).await);
    story.tell(proclaim(api, None, "x").await);
    story.tell(resign(api, None).await);
    // etcd begins its answer with the first leader there is.
    let (sender, mut observed) = mpsc::channel(16);
    let own = Api::new(api.port());
    let observer = tokio::spawn(async move {
        let request = LeaderRequest { name: name() };
        let mut answers = own.election().observe(request).await?.into_inner();
        while let Some(answer) = answers.message().await? {
            let _ = sender.send(leads(answer)).await;
        }
        anyhow::Ok(())
    });
    let mut next = async || -> Result<String> {
        let line = tokio::time::timeout(WITHIN, observed.recv()).await;
        line.context("nothing to observe")?
            .context("the observation ended")
    };
    let (line, first) = campaign(api, 0xa, "one").await?;
    story.tell(line);
    story.tell(next().await?);
    story.tell(leader(api).await);
    story.tell(proclaim(api, Some(first.clone()), "two").await);
    story.tell(next().await?);
    // Once more, with another value and with the same.
    story.tell(campaign(api, 0xa, "three").await?.0);
    story.tell(next().await?);
    story.tell(campaign(api, 0xa, "three").await?.0);

    let own = Api::new(api.port());
    let second = tokio::spawn(async move { campaign(&own, 0xb, "four").await });
    wait_for_key(api, "e/b", true).await?;
    ensure!(!second.is_finished(), "two lead");
    story.tell(resign(api, Some(first.clone())).await);
    let ended = tokio::time::timeout(WITHIN, second).await;
    let (line, second) = ended.context("it never leads")???;
    story.tell(line);
    story.tell(next().await?);
    story.tell(leader(api).await);
    story.tell(proclaim(api, Some(first.clone()), "stale").await);
    story.tell(resign(api, Some(first)).await);
    story.tell(leader(api).await);

    // A candidate that goes away while it waits.
    let own = Api::new(api.port());
    let third = tokio::spawn(async move { campaign(&own, 0xa, "five").await });
    wait_for_key(api, "e/a", true).await?;
    third.abort();
    wait_for_key(api, "e/a", false).await?;

    revoke(api, 0xb).await?;
    story.tell(leader(api).await);
    story.tell(proclaim(api, Some(second), "gone").await);
    // The observer has not ended: it waits for whoever comes next.
    story.tell(campaign(api, 0xa, "six").await?.0);
    story.tell(next().await?);
    observer.abort();
    Ok(story.0)
}

fn same(ours: Vec<String>, theirs: Vec<String>) -> Result<usize> {
    ensure!(
        ours == theirs,
        "subject:\n  {}\nreference:\n  {}",
        ours.join("\n  "),
        theirs.join("\n  ")
    );
    Ok(ours.len())
}

#[test]
fn locks_are_passed_on_in_order() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(120, async {
        let pair = Pair::start(&subject, &reference, &[]).await?;
        let (ours, theirs) = tokio::join!(locks(pair.subject()), locks(pair.reference()));
        let told = same(ours.context("subject")?, theirs.context("reference")?)?;
        peer::say(&format!("RAN: locks, {told} answers"));
        pair.stop().await
    });
}

#[test]
fn leaders_follow_one_another() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(120, async {
        let pair = Pair::start(&subject, &reference, &[]).await?;
        let (ours, theirs) = tokio::join!(elections(pair.subject()), elections(pair.reference()));
        let told = same(ours.context("subject")?, theirs.context("reference")?)?;
        peer::say(&format!("RAN: elections, {told} answers"));
        pair.stop().await
    });
}

/// The same services as JSON; ids are given, so keys are known.
#[test]
fn the_gateway_has_them_too() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    // Bytes are base64: l, e, v, l/1234, e/1234.
    const STEPS: [(&str, &str); 9] = [
        ("/v3/lease/grant", r#"{"ID":"4660","TTL":"600"}"#),
        ("/v3/lock/lock", r#"{"name":"bA==","lease":"4660"}"#),
        ("/v3/lock/unlock", r#"{"key":"bC8xMjM0"}"#),
        ("/v3/election/leader", r#"{"name":"ZQ=="}"#),
        ("/v3/election/proclaim", r#"{"value":"dg=="}"#),
        (
            "/v3/election/campaign",
            r#"{"name":"ZQ==","lease":4660,"value":"dg=="}"#,
        ),
        ("/v3/election/leader", r#"{"name":"ZQ=="}"#),
        (
            "/v3/election/proclaim",
            r#"{"leader":{"name":"ZQ==","key":"ZS8xMjM0","rev":"4","lease":"4660"},"value":"dw=="}"#,
        ),
        (
            "/v3/election/resign",
            r#"{"leader":{"name":"ZQ==","key":"ZS8xMjM0","rev":"4","lease":"4660"}}"#,
        ),
    ];
    async fn told(api: &Api) -> Result<Vec<String>> {
        let mut told = Vec::new();
        for (path, body) in STEPS {
            let answer = http::send(api.port(), "POST", path, body).await?;
            let mut json: serde_json::Value = serde_json::from_str(&answer.text())?;
            // Builds of etcd differ in whether the message stands there twice.
            if let Some(map) = json.as_object_mut() {
                map.remove("error");
            }
            if let Some(header) = json.pointer_mut("/header/raft_term") {
                *header = "some".into();
            }
            told.push(format!("{path}: {} {json}", answer.status));
            if path.ends_with("campaign") {
                let lines =
                    http::first_lines(api.port(), "/v3/election/observe", r#"{"name":"ZQ=="}"#, 1);
                let mut json: serde_json::Value = serde_json::from_str(&lines.await?[0])?;
                let term = json.pointer_mut("/result/header/raft_term");
                *term.context("no header")? = "some".into();
                told.push(format!("observe: {json}"));
            }
        }
        Ok(told)
    }
    peers::run(90, async {
        let pair = Pair::start(&subject, &reference, &[]).await?;
        let (ours, theirs) = tokio::join!(told(pair.subject()), told(pair.reference()));
        let told = same(ours.context("subject")?, theirs.context("reference")?)?;
        peer::say(&format!("RAN: locks and elections as JSON, {told} answers"));
        pair.stop().await
    });
}
