//! A server that is told to stop loses no one's request: what it has taken it
//! answers, what it did not take never was sent as far as a client can tell.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use anyhow::{Result, ensure};
use peers::{
    api::{self, Api},
    load::never_sent,
    peer::{self, Program},
    server::Launch,
};
use tokio::task::LocalSet;

/// Clients that write, each on a connection of its own.
const CLIENTS: usize = 8;
/// How often the server is stopped.
const STOPS: usize = 25;

/// Writes until no one listens any more; returns how the last request failed, if
/// a connection that had been made failed it.
async fn write(api: Api, number: usize, failed: Rc<RefCell<BTreeMap<String, usize>>>) {
    for turn in 0u64.. {
        let put = api::put(format!("{number}/{}", turn % 7), "v".repeat(100));
        if let Err(status) = api.put(put).await {
            if !never_sent(&status) {
                let words = format!("{status:?}");
                *failed.borrow_mut().entry(words).or_default() += 1;
            }
            return;
        }
    }
}

async fn stop_often(program: &Program) -> Result<BTreeMap<String, usize>> {
    let dir = tempfile::tempdir()?;
    let failed = Rc::new(RefCell::new(BTreeMap::new()));
    for turn in 0..STOPS {
        let server = Launch::new(program, &dir.path().join("data"))
            .start()
            .await?;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| tokio::task::spawn_local(write(server.connect(), n, failed.clone())))
            .collect();
        tokio::time::sleep(Duration::from_millis(20 + (turn as u64 * 7) % 40)).await;
        server.terminate().await?;
        for client in clients {
            client.await?;
        }
    }
    Ok(failed.take())
}

#[test]
fn a_stop_fails_no_request() {
    let Some(subject) = peer::subject() else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a tokio runtime");
    let outcome: Result<()> = runtime.block_on(LocalSet::new().run_until(async {
        for program in [Some(subject), peer::etcd("3.5.30")].into_iter().flatten() {
            let failed = stop_often(&program).await?;
            let count: usize = failed.values().sum();
            peer::say(&format!(
                "RAN: {STOPS} stops of {program} under {CLIENTS} writers: {count} requests failed"
            ));
            ensure!(failed.is_empty(), "{program}: {failed:#?}");
        }
        Ok(())
    }));
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}
