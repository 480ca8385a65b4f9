//! The history of a watch: how many responses bring it, what is in each, and which of them say
//! that they are fragments. The same on both servers.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use peers::{
    api::{self, Api},
    lockstep::Pair,
    peer,
    streams::Stream,
};
use proto::etcdserverpb::WatchCreateRequest;

/// Events and fragment flag of each response, up to the event of the last revision.
async fn responses(api: &Api, fragment: bool, revisions: i64) -> Result<Vec<(usize, bool)>> {
    let mut stream = Stream::open(api);
    let request = WatchCreateRequest {
        key: "h".into(),
        range_end: "i".into(),
        start_revision: 2,
        fragment,
        ..Default::default()
    };
    stream.create(request).await?;
    let mut shapes = Vec::new();
    loop {
        let response = stream
            .next_within(Duration::from_secs(30))
            .await?
            .context("the history does not come to its end")?;
        ensure!(!response.canceled, "{response:?}");
        if response.created {
            continue;
        }
        let last = response.events.last().and_then(|event| event.kv.as_ref());
        let is_last = last.is_some_and(|kv| kv.mod_revision > revisions);
        shapes.push((response.events.len(), response.fragment));
        if is_last {
            return Ok(shapes);
        }
    }
}

fn same(name: &str, puts: i64, value: usize) {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(180, async {
        let pair = Pair::start(&subject, &reference, &[]).await?;
        for side in [pair.subject(), pair.reference()] {
            for i in 0..puts {
                let put = api::put(format!("h{:03}", i % 100), vec![b'v'; value]);
                side.put(put).await?;
            }
        }
        for fragment in [false, true] {
            let ours = responses(pair.subject(), fragment, puts).await?;
            let theirs = responses(pair.reference(), fragment, puts).await?;
            ensure!(
                ours == theirs,
                "fragment {fragment}: subject {ours:?}, reference {theirs:?}"
            );
        }
        pair.stop().await
    });
    peer::say(&format!("RAN: watch history, {name}"));
}

#[test]
fn large_values_come_in_one_response_or_in_fragments() {
    same("ten values of 1 MiB", 10, 1 << 20);
}

#[test]
fn a_long_history_comes_in_responses_of_a_thousand_revisions() {
    same("2,500 revisions", 2_500, 100);
}
