//! Pintle at the lines 3.6 and 3.7 beside the newest release of each that is here: directories
//! that travel both ways, what is in them, clusters of both kinds, and which line is refused.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use line::Line;
use membership::v3store::{self, V3View};
use peers::{
    api,
    cluster::{Cluster, Plan, Role, WITHIN, until},
    dirs,
    fingerprint::Fingerprint,
    http,
    lockstep::Pair,
    peer::{self, Program},
    requests::Generator,
    server::Launch,
};
use proto::etcdserverpb::{
    DowngradeRequest, HashKvRequest, StatusResponse, downgrade_request::DowngradeAction,
};

/// Pintle, told to speak a line.
fn pintle_at(line: Line) -> Option<Program> {
    let mut program = peer::subject().filter(|program| program.is_pintle)?;
    program.words.push(format!("--line={line}"));
    program.version = line.release().to_owned();
    Some(program)
}

/// Pintle, which is to find out. What it reports of itself is what the tests expect of it.
fn pintle_auto(line: Line) -> Option<Program> {
    let mut program = peer::subject().filter(|program| program.is_pintle)?;
    program.version = line.release().to_owned();
    Some(program)
}

/// The programs of a test at a line, or `None` where one is missing.
fn both(line: Line) -> Option<(Program, Program)> {
    Some((peer::newest_of(&line.to_string())?, pintle_auto(line)?))
}

/// Starts a member of its own on a directory, real etcd with its checks of itself.
async fn start(program: &Program, dir: &Path, flags: &[&str]) -> Result<peers::server::Server> {
    let mut launch = Launch::new(program, dir).flag("--snapshot-count=20");
    for flag in flags {
        launch = launch.flag(flag);
    }
    if !program.is_pintle {
        launch = launch.env("ETCD_VERIFY", "all");
    }
    launch.start().await
}

async fn write(server: &peers::server::Server, prefix: &str, n: usize) -> Result<()> {
    for i in 0..n {
        let key = format!("{prefix}/{i}");
        server.api().put(api::put(key, "v")).await?;
    }
    Ok(())
}

/// The page `/version`.
async fn version_page(port: u16) -> Result<serde_json::Value> {
    let page = http::send(port, "GET", "/version", "").await?;
    Ok(serde_json::from_slice(&page.body)?)
}

/// Waits until a member says that the cluster and the schema have this version.
async fn at_version(port: u16, version: &str) -> Result<()> {
    until("the version of cluster and schema", WITHIN, async || {
        let page = version_page(port).await?;
        let says = |name: &str| page[name].as_str() == Some(version);
        ensure!(says("etcdcluster") && says("storage"), "{page}");
        Ok(())
    })
    .await
}

/// The membership in the database of a directory that no one uses.
fn buckets(dir: &Path) -> Result<V3View> {
    let options = bolt::Options {
        read_only: true,
        ..bolt::Options::default()
    };
    let db = bolt::Db::open(&dir.join("member/snap/db"), options)?;
    Ok(v3store::read(&db.begin_read())?)
}

/// Runs a test at both lines.
fn at_each_line<F: Future<Output = Result<()>>>(test: impl Fn(Line) -> F) {
    peers::run(180, async {
        for line in [Line::V3_6, Line::V3_7] {
            test(line).await.with_context(|| format!("line {line}"))?;
        }
        Ok(())
    });
}

async fn travel(line: Line) -> Result<()> {
    let Some((etcd, pintle)) = both(line) else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let server = start(&etcd, dir.path(), &[]).await?;
    at_version(server.port(), &line.cluster_version().to_string()).await?;
    write(&server, "etcd", 25).await?;
    let mut left = Fingerprint::of(server.api()).await?;
    server.terminate().await?;
    // Each takes over where the other stopped, or was killed.
    for (round, (program, is_killed)) in [
        (&pintle, false),
        (&etcd, true),
        (&pintle, true),
        (&etcd, false),
        (&pintle, true),
        (&pintle, false),
        (&etcd, false),
    ]
    .into_iter()
    .enumerate()
    {
        let server = start(program, dir.path(), &[])
            .await
            .with_context(|| format!("round {round}, {program}"))?;
        let found = Fingerprint::of(server.api()).await?;
        left.same_as(&found)
            .with_context(|| format!("round {round}, {program}"))?;
        at_version(server.port(), &line.cluster_version().to_string()).await?;
        write(&server, &format!("round{round}"), 12).await?;
        left = Fingerprint::of(server.api()).await?;
        if is_killed {
            server.kill().await?;
        } else {
            server.terminate().await?;
        }
    }
    let stored = buckets(dir.path())?;
    ensure!(
        stored.storage_version == Some(line.cluster_version()),
        "{stored:?}"
    );
    // etcd's own tool reads what is left.
    let Some(etcdutl) = peer::tool(&etcd.version, "etcdutl") else {
        return Ok(());
    };
    let db = dir.path().join("member/snap/db");
    let args = ["snapshot", "status", "-w", "json"];
    let out = Command::new(etcdutl).args(args).arg(&db).output()?;
    let said: serde_json::Value = serde_json::from_slice(&out.stdout)?;
    ensure!(
        said["version"] == line.cluster_version().to_string() && said["revision"] == left.revision,
        "{said}"
    );
    Ok(())
}

#[test]
fn a_directory_travels_both_ways() {
    at_each_line(travel);
}

/// What a `.snap` holds in place of data, without the indexes, which no one reads.
fn snapshot_tree(dir: &Path) -> Result<serde_json::Value> {
    let valid = wal::valid_snapshots(&dir.join("member/wal"))?;
    let snapshots = wal::snap::Snapshotter::new(&dir.join("member/snap"));
    let snapshot = snapshots.load_newest_available(&valid)?;
    let snapshot = snapshot.context("no snapshot")?;
    let mut tree = serde_json::from_slice(&snapshot.data.unwrap_or_default())?;
    without_indexes(&mut tree);
    Ok(tree["Root"].take())
}

fn without_indexes(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            fields.retain(|name, _| !name.ends_with("Index"));
            fields.values_mut().for_each(without_indexes);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(without_indexes),
        _ => {}
    }
}

async fn same_files(line: Line) -> Result<()> {
    let (Some(etcd), Some(pintle)) = (peer::newest_of(&line.to_string()), pintle_at(line)) else {
        return Ok(());
    };
    let mut left = Vec::new();
    let ports = peers::server::free_ports()?;
    for program in [&etcd, &pintle] {
        let dir = tempfile::tempdir()?;
        let launch = Launch::new(program, dir.path())
            .ports(ports.0, ports.1)
            .advertise_real()
            .flag("--snapshot-count=20");
        let server = launch.start().await?;
        at_version(server.port(), &line.cluster_version().to_string()).await?;
        write(&server, "key", 60).await?;
        let status = server.api().status(Default::default()).await?;
        let page = version_page(server.port()).await?;
        let peer_page = version_page(server.peer_port()).await?;
        ensure!(page == peer_page, "{page} {peer_page}");
        let hash = HashKvRequest { revision: 30 };
        let hash = server.api().hash_kv(hash).await?;
        let question = r#"{"revision":30}"#;
        let asked = http::send(server.peer_port(), "GET", "/members/hashkv", question).await?;
        server.terminate().await?;
        let view = buckets(dir.path())?;
        left.push((
            (snapshot_tree(dir.path())?, format!("{view:?}")),
            (told(&status), page["storage"].clone()),
            (hash.hash, hash.compact_revision, hash.hash_revision),
            serde_json::from_slice::<serde_json::Value>(&asked.body)?,
        ));
    }
    let (theirs, ours) = (&left[0], &left[1]);
    ensure!(theirs == ours, "etcd:   {theirs:#?}\npintle: {ours:#?}");
    Ok(())
}

/// What a line adds to the status.
fn told(status: &StatusResponse) -> (String, i64, Option<(bool, String)>) {
    let downgrade = status.downgrade_info.as_ref();
    (
        status.storage_version.clone(),
        status.db_size_quota,
        downgrade.map(|info| (info.enabled, info.target_version.clone())),
    )
}

#[test]
fn files_and_answers_are_those_of_the_line() {
    at_each_line(same_files);
}

async fn downgrade(api: &api::Api, action: DowngradeAction, version: &str) -> Result<String> {
    let request = DowngradeRequest {
        action: action as i32,
        version: version.to_owned(),
    };
    Ok(match api.downgrade(request).await {
        Ok(answer) => format!("version {}", answer.version),
        Err(status) => format!("{:?}: {}", status.code(), status.message()),
    })
}

async fn same_downgrade_answers(line: Line) -> Result<()> {
    let (Some(etcd), Some(pintle)) = (peer::newest_of(&line.to_string()), pintle_at(line)) else {
        return Ok(());
    };
    let below = line::below(&line.cluster_version()).context("there is one")?;
    let below = format!("{}.{}", below.major, below.minor);
    let mut said = Vec::new();
    for program in [&etcd, &pintle] {
        let dir = tempfile::tempdir()?;
        let server = start(program, dir.path(), &[]).await?;
        at_version(server.port(), &line.cluster_version().to_string()).await?;
        let mut answers = Vec::new();
        for (action, version) in [
            (DowngradeAction::Cancel, ""),
            (DowngradeAction::Validate, "3"),
            (DowngradeAction::Validate, "3.4"),
            (DowngradeAction::Validate, &below),
            (DowngradeAction::Enable, &below),
            (DowngradeAction::Enable, &below),
        ] {
            answers.push(downgrade(server.api(), action, version).await?);
        }
        let lowered = format!("{below}.0");
        at_version(server.port(), &lowered).await?;
        let status = server.api().status(Default::default()).await?;
        server.terminate().await?;
        let view = buckets(dir.path())?;
        said.push((answers, told(&status), view.storage_version, view.downgrade));
    }
    ensure!(said[0] == said[1], "etcd and Pintle: {said:#?}");
    Ok(())
}

#[test]
fn a_downgrade_begins_as_in_etcd() {
    at_each_line(same_downgrade_answers);
}

/// The same random requests to both; `PINTLE_STEPS` makes it longer.
async fn same_answers(line: Line) -> Result<()> {
    let (Some(etcd), Some(pintle)) = (peer::newest_of(&line.to_string()), pintle_at(line)) else {
        return Ok(());
    };
    let seed = peers::seed(line.cluster_version().minor);
    let mut generator = Generator::new(seed, false);
    let steps = peers::env_number("PINTLE_STEPS").unwrap_or(700);
    let mut pair = Pair::start(&pintle, &etcd, &[]).await?;
    for i in 0..steps {
        let step = generator.next(pair.seen());
        let same = pair.step(&step).await;
        same.with_context(|| format!("PINTLE_SEED={seed}, step {i}: {step:?}"))?;
    }
    pair.settle().await?;
    let mut states = Vec::new();
    for api in [pair.subject(), pair.reference()] {
        let all = api.everything(0).await?;
        let hash = api.hash_kv(HashKvRequest { revision: 0 }).await?;
        let leases = api.lease_leases(Default::default()).await?.leases.len();
        states.push((
            all.kvs,
            (hash.hash, hash.hash_revision, hash.compact_revision),
            leases,
        ));
    }
    ensure!(states[0] == states[1], "PINTLE_SEED={seed}: {states:#?}");
    let revision = pair.seen().revision;
    peer::say(&format!(
        "RAN: lines, {pintle}, {steps} steps, to revision {revision}"
    ));
    pair.stop().await
}

#[test]
fn random_requests_are_answered_as_by_the_line() {
    at_each_line(same_answers);
}

/// Two of etcd and one Pintle: who leads, who catches up and how, who comes and goes.
async fn mixed(line: Line) -> Result<()> {
    let Some((etcd, pintle)) = both(line) else {
        return Ok(());
    };
    let first = pintle_at(line).context("the same program")?;
    let plan = Plan::of(&[etcd.clone(), etcd.clone(), first]);
    let mut cluster = plan.snapshots(60, 1).start().await?;
    let version = line.cluster_version().to_string();
    for member in cluster.members() {
        at_version(member.client_port, &version).await?;
    }
    for leader in [2, 0] {
        cluster.move_leader(leader).await?;
        // By the log, then by a snapshot.
        for (away, n) in [(2 - leader, 20), (1, 200)] {
            cluster.stop(away).await?;
            puts(&cluster, leader, &format!("{leader}/{n}"), n).await?;
            cluster.start(away).await?;
            cluster.agree().await?;
        }
    }
    // A Pintle that joins speaks the line of the cluster, also where it is killed at once.
    let place = cluster.add(&pintle, Role::Learner, 0).await?;
    cluster.agree().await?;
    cluster.kill(place).await?;
    cluster.start(place).await?;
    cluster.promote(place, 0).await?;
    cluster.serving(place).await?;
    cluster.agree().await?;
    at_version(cluster.members()[place].client_port, &version).await?;
    cluster.remove(place, 2).await?;
    // One of etcd comes to a Pintle that leads.
    cluster.move_leader(2).await?;
    let place = cluster.add(&etcd, Role::Learner, 2).await?;
    cluster.promote(place, 2).await?;
    cluster.serving(place).await?;
    puts(&cluster, place, "last", 10).await?;
    cluster.agree().await?;
    cluster.remove(0, 2).await?;
    cluster.agree().await?;
    cluster.end().await?;
    // All have the same members in their buckets.
    let views: Vec<V3View> = [1, 2, place]
        .iter()
        .map(|place| buckets(&cluster.members()[*place].dir))
        .collect::<Result<_>>()?;
    for view in &views[1..] {
        ensure!(
            view.members == views[0].members && view.removed == views[0].removed,
            "{views:#?}"
        );
    }
    Ok(())
}

async fn puts(cluster: &Cluster, via: usize, prefix: &str, n: usize) -> Result<()> {
    for i in 0..n {
        let key = format!("{prefix}/{i}");
        cluster.api(via).put(api::put(key, "v")).await?;
    }
    Ok(())
}

#[test]
fn a_cluster_of_both_kinds_at_3_6() {
    peers::run(180, mixed(Line::V3_6));
}

#[test]
fn a_cluster_of_both_kinds_at_3_7() {
    peers::run(180, mixed(Line::V3_7));
}

/// Begun on one of etcd, carried out by whoever leads, ended by members of the line below.
async fn goes_down(line: Line, leader: usize) -> Result<()> {
    let below = match line {
        Line::V3_7 => Line::V3_6,
        _ => Line::V3_5,
    };
    let (Some(etcd), Some(pintle), Some(older)) = (
        peer::newest_of(&line.to_string()),
        pintle_at(line),
        match below {
            Line::V3_5 => peer::etcd(peer::REFERENCE),
            _ => peer::newest_of(&below.to_string()),
        },
    ) else {
        return Ok(());
    };
    let after = pintle_auto(below).context("the same program")?;
    let plan = Plan::of(&[etcd.clone(), etcd.clone(), pintle]);
    // Runs of etcd check themselves for what the members in between leave out.
    let mut cluster = plan.unverified().start().await?;
    for member in cluster.members() {
        at_version(member.client_port, &line.cluster_version().to_string()).await?;
    }
    puts(&cluster, 2, "before", 10).await?;
    cluster.move_leader(leader).await?;
    let target = below.to_string();
    let said = downgrade(cluster.api(0), DowngradeAction::Enable, &target).await?;
    ensure!(said == format!("version {line}"), "{said}");
    for member in cluster.members() {
        at_version(member.client_port, &below.cluster_version().to_string()).await?;
    }
    puts(&cluster, 2, "between", 10).await?;
    for (place, program) in [(2, &after), (0, &older), (1, &older)] {
        cluster.stop(place).await?;
        cluster.refit(place, program, &[]);
        cluster.start(place).await?;
    }
    until("the downgrade ends", WITHIN, async || {
        for place in cluster.places() {
            let peer = cluster.members()[place].peer_url.clone();
            let port = peer.rsplit(':').next().and_then(|port| port.parse().ok());
            let port = port.context("a port")?;
            let said = http::send(port, "GET", "/downgrade/enabled", "").await?;
            ensure!(said.text().contains("false"), "{}", said.text());
        }
        Ok(())
    })
    .await?;
    let agreed = cluster.agree().await?;
    ensure!(
        agreed.version == below.cluster_version().to_string(),
        "{agreed:?}"
    );
    cluster.end().await
}

#[test]
fn a_cluster_goes_down_from_3_6_with_etcd_leading() {
    peers::run(180, goes_down(Line::V3_6, 0));
}

#[test]
fn a_cluster_goes_down_from_3_6_with_pintle_leading() {
    peers::run(180, goes_down(Line::V3_6, 2));
}

#[test]
fn a_cluster_goes_down_from_3_7_with_pintle_leading() {
    peers::run(180, goes_down(Line::V3_7, 2));
}

/// One member that is told to go up, one line at a time.
#[test]
fn a_directory_is_raised_line_by_line_and_etcd_follows() {
    peers::run(180, async {
        let Some(pintle) = pintle_auto(Line::V3_5) else {
            return Ok(());
        };
        let dir = tempfile::tempdir()?;
        let server = start(&pintle, dir.path(), &[]).await?;
        write(&server, "3.5", 5).await?;
        let mut left = Fingerprint::of(server.api()).await?;
        server.terminate().await?;
        for line in [Line::V3_6, Line::V3_7] {
            let raised = pintle_at(line).context("the same program")?;
            let server = start(&raised, dir.path(), &[]).await?;
            at_version(server.port(), &line.cluster_version().to_string()).await?;
            left.same_as(&Fingerprint::of(server.api()).await?)?;
            write(&server, &line.to_string(), 5).await?;
            left = Fingerprint::of(server.api()).await?;
            server.terminate().await?;
            let Some(etcd) = peer::newest_of(&line.to_string()) else {
                return Ok(());
            };
            let copy = tempfile::tempdir()?;
            dirs::copy(dir.path(), copy.path())?;
            let server = start(&etcd, copy.path(), &[]).await?;
            left.same_as(&Fingerprint::of(server.api()).await?)?;
            server.terminate().await?;
        }
        Ok(())
    });
}

/// A line that does not fit is refused, in words, and nothing is changed.
#[test]
fn a_line_that_does_not_fit_is_refused_before_the_first_write() {
    peers::run(120, async {
        for (has, asked, says) in [
            (Line::V3_5, Line::V3_7, "start with --line=3.6"),
            (Line::V3_6, Line::V3_5, "start with --line=3.6"),
            (Line::V3_7, Line::V3_5, "start with --line=3.7"),
            (Line::V3_7, Line::V3_6, "start with --line=3.7"),
        ] {
            let (Some(program), Some(other)) = (pintle_at(has), pintle_at(asked)) else {
                return Ok(());
            };
            let dir = tempfile::tempdir()?;
            let server = start(&program, dir.path(), &[]).await?;
            until("a cluster version", WITHIN, async || {
                let page = version_page(server.port()).await?;
                let version = has.cluster_version().to_string();
                ensure!(page["etcdcluster"] == version, "{page}");
                Ok(())
            })
            .await?;
            server.terminate().await?;
            let before = dirs::contents(dir.path())?;
            let mut server = Launch::new(&other, dir.path()).spawn()?;
            let status = server.wait_exit(WITHIN).await?;
            let log = server.log_text();
            ensure!(!status.success() && log.contains(says), "{status}: {log}");
            ensure!(
                dirs::contents(dir.path())? == before,
                "a start that was refused changed the directory"
            );
        }
        Ok(())
    });
}
