//! The line of a running cluster, changed by `pintle ctl line set`: under load, next to etcd, with
//! members that are killed, and where it must be refused.

use anyhow::{Context as _, Result, ensure};
use peers::{
    api,
    cluster::{Cluster, Plan, Role, WITHIN, until},
    line_set::{
        Copy, Said, Witness, at_rest, begin_at, command, ctl, is_in_change, order, said, versions,
    },
    load::Load,
    peer::{self, Program},
};
use proto::{
    etcdserverpb::{
        AlarmRequest, AlarmType, DowngradeRequest, alarm_request::AlarmAction,
        downgrade_request::DowngradeAction,
    },
    pintlepb::{LineOrder, SetRequest, line_order::Action, lines_client::LinesClient},
};

/// Pintle, which finds out which line to speak.
fn pintle() -> Option<Program> {
    peer::subject().filter(|program| program.is_pintle)
}

/// Pintle, started at a line.
fn pintle_at(line: &str) -> Option<Program> {
    let mut program = pintle()?;
    program.words.push(format!("--line={line}"));
    Some(program)
}

/// The same program, not told a line any more.
fn pintle_auto(program: &Program) -> Program {
    let mut program = program.clone();
    program.words.retain(|word| !word.starts_with("--line="));
    program
}

/// etcd whose directories those of a line are.
fn etcd_of(line: &str) -> Option<Program> {
    match line {
        "3.5" => peer::etcd(peer::REFERENCE),
        _ => peer::newest_of(line),
    }
}

/// Whether everything is to be tried, and not only some of it.
fn is_full() -> bool {
    std::env::var_os("PINTLE_LINE_SET").is_some_and(|value| value == "full")
}

async fn three(program: &Program) -> Result<Cluster> {
    Plan::of(&[program.clone(), program.clone(), program.clone()])
        .start()
        .await
}

async fn under_load() -> Result<()> {
    let Some(pintle) = pintle() else {
        return Ok(());
    };
    let mut cluster = three(&pintle).await?;
    let all: Vec<usize> = cluster.places().collect();
    cluster.api(0).put(api::put("known", "v")).await?;
    let mut witnesses = Vec::new();
    for place in &all {
        witnesses.push(Witness::at(&cluster, *place).await?);
    }
    let begin = cluster.members()[0].status().await?;
    let load = Load::start(&cluster, &all, 4, peers::seed(36)).await?;
    load.more(50).await?;
    let mut copies = Vec::new();
    for (step, line) in ["3.6", "3.7", "3.6", "3.5"].into_iter().enumerate() {
        let said = ctl(&cluster, &all, &["line", "set", line]).await?;
        ensure!(said.is_ok, "line set {line}: {said:?}");
        ensure!(
            said.stdout.contains(&format!("the cluster is at {line}")),
            "{said:?}"
        );
        at_rest(&cluster, &[line], WITHIN).await?;
        load.more(50).await?;
        for (place, witness) in witnesses.iter_mut().enumerate() {
            witness.lives(cluster.api((place + 1) % 3), &load).await?;
        }
        let Some(etcd) = etcd_of(line) else { continue };
        for place in cluster.places() {
            if !is_full() && place != step % 3 {
                continue;
            }
            let is_leader = cluster.leader().await? == place;
            load.change(place, is_leader, "a directory is copied");
            copies.push((etcd.clone(), Copy::of(&mut cluster, place)?));
            cluster.serving(place).await?;
            load.calm();
        }
    }
    let end = cluster.members()[0].status().await?;
    let summary = load.finish(&cluster, 0).await?;
    peer::say(&format!(
        "RAN: line set, 3.5 to 3.7 and back, {summary}; term {} to {}",
        begin.raft_term, end.raft_term
    ));
    cluster.finish().await?;
    for (etcd, copy) in copies {
        copy.starts(&etcd, "known").await?;
    }
    Ok(())
}

#[test]
fn a_cluster_goes_up_and_down_under_load() {
    peers::run(300, under_load());
}

/// What a refusal must say, and what must not have changed.
async fn is_refused(cluster: &Cluster, places: &[usize], line: &str, says: &str) -> Result<()> {
    let mut before = Vec::new();
    for place in cluster.up() {
        before.push(versions(cluster, place).await?);
    }
    let said = ctl(cluster, places, &["line", "set", line]).await?;
    ensure!(
        !said.is_ok && said.stderr.contains(says),
        "line set {line} says {said:?}, not {says:?}"
    );
    let mut after = Vec::new();
    for place in cluster.up() {
        ensure!(!is_in_change(cluster, place), "m{place} is in a change");
        after.push(versions(cluster, place).await?);
    }
    ensure!(before == after, "{before:?} {after:?}");
    Ok(())
}

#[test]
fn what_keeps_a_cluster_from_a_line_is_named() {
    peers::run(240, async {
        let (Some(pintle), Some(fixed)) = (pintle(), pintle_at("3.5")) else {
            return Ok(());
        };
        let mut cluster = three(&pintle).await?;
        let all = [0, 1, 2];
        is_refused(&cluster, &all, "3.8", "there are 3.5, 3.6 and 3.7").await?;
        is_refused(&cluster, &all, "3.7", "set 3.6 first").await?;
        let alarm = |action: AlarmAction| AlarmRequest {
            action: action as i32,
            member_id: 0,
            alarm: AlarmType::Nospace as i32,
        };
        cluster.api(0).alarm(alarm(AlarmAction::Activate)).await?;
        is_refused(&cluster, &all, "3.6", "the alarm NOSPACE is raised").await?;
        cluster.api(0).alarm(alarm(AlarmAction::Deactivate)).await?;
        let learner = cluster.add(&pintle, Role::Learner, 0).await?;
        is_refused(&cluster, &all, "3.6", "m3 is a learner: make it a voter").await?;
        is_refused(
            &cluster,
            &[learner],
            "3.6",
            "m3 is a learner: make it a voter",
        )
        .await?;
        cluster.remove(learner, 0).await?;
        cluster.stop(2).await?;
        is_refused(&cluster, &[0, 1], "3.6", "m2 does not answer").await?;
        cluster.refit(2, &fixed, &[]);
        cluster.start(2).await?;
        is_refused(&cluster, &all, "3.6", "m2 was started with --line=3.5").await?;
        for place in [1, 2] {
            cluster.stop(place).await?;
        }
        is_refused(&cluster, &[0], "3.6", "no quorum of the members answers").await?;
        cluster.end().await
    });
}

#[test]
fn members_that_run_etcd_are_named() {
    peers::run(240, async {
        let (Some(pintle), Some(old), Some(new)) = (pintle(), etcd_of("3.5"), etcd_of("3.6"))
        else {
            return Ok(());
        };
        let plan = Plan::of(&[pintle.clone(), pintle.clone(), old.clone()]);
        let mut cluster = plan.unverified().start().await?;
        let all = [2, 0, 1];
        is_refused(
            &cluster,
            &all,
            "3.6",
            &format!("m2 runs etcd {}, which is too old", old.version),
        )
        .await?;
        let said = ctl(&cluster, &[2], &["line"]).await?;
        ensure!(said.is_ok && said.stdout.contains("3.5 (etcd)"), "{said:?}");
        let said = ctl(&cluster, &[2], &["line", "set", "3.6"]).await?;
        ensure!(
            !said.is_ok
                && said
                    .stderr
                    .contains("the line of etcd is that of its binary"),
            "{said:?}"
        );
        // With a binary of 3.6 it is no hindrance on the way up, but one on the way down.
        cluster.swap(2, &new).await?;
        let said = ctl(&cluster, &all, &["line", "set", "3.6"]).await?;
        ensure!(said.is_ok, "{said:?}");
        is_refused(
            &cluster,
            &all,
            "3.5",
            &format!("m2 runs etcd {}, which cannot change its line", new.version),
        )
        .await?;
        // A downgrade that was begun otherwise is not taken back.
        let request = DowngradeRequest {
            action: DowngradeAction::Enable as i32,
            version: "3.5".to_owned(),
        };
        cluster.api(0).downgrade(request).await?;
        is_refused_during_downgrade(&cluster, &all).await?;
        cluster.end().await
    });
}

/// The cluster version goes down meanwhile, by the downgrade.
async fn is_refused_during_downgrade(cluster: &Cluster, places: &[usize]) -> Result<()> {
    let said = ctl(cluster, places, &["line", "set", "3.6"]).await?;
    let says = "a downgrade to 3.5 is under way: finish it with `line set 3.5`";
    ensure!(!said.is_ok && said.stderr.contains(says), "{said:?}");
    Ok(())
}

#[test]
fn only_root_changes_the_line() {
    peers::run(120, async {
        let Some(pintle) = pintle() else {
            return Ok(());
        };
        let cluster = &mut Plan::of(&[pintle]).start().await?;
        for words in [
            "user add root:root",
            "user grant-role root root",
            "user add u:u",
            "auth enable",
        ] {
            let words: Vec<&str> = words.split(' ').collect();
            let said = ctl(cluster, &[0], &words).await?;
            ensure!(said.is_ok, "{words:?}: {said:?}");
        }
        let denied = |said: &Said| !said.is_ok && said.stderr.contains("permission denied");
        for words in [
            &["--user=u:u", "line"][..],
            &["--user=u:u", "line", "set", "3.6"],
        ] {
            let said = ctl(cluster, &[0], words).await?;
            ensure!(denied(&said), "{words:?}: {said:?}");
        }
        let said = ctl(cluster, &[0], &["line", "set", "3.6"]).await?;
        ensure!(
            !said.is_ok && said.stderr.contains("user name is empty"),
            "{said:?}"
        );
        let said = ctl(cluster, &[0], &["--user=root:root", "line", "set", "3.6"]).await?;
        ensure!(said.is_ok, "{said:?}");
        at_rest(cluster, &["3.6"], WITHIN)
            .await
            .context("by root")?;
        cluster.end().await
    });
}

fn downgrade_to(line: &str) -> DowngradeRequest {
    DowngradeRequest {
        action: DowngradeAction::Enable as i32,
        version: line.to_owned(),
    }
}

/// As a member that joins while the others go down, or that was started without its file.
#[test]
fn a_member_that_does_not_know_of_a_change_down_is_brought_along() {
    peers::run(120, async {
        let Some(pintle) = pintle_at("3.6") else {
            return Ok(());
        };
        let mut cluster = three(&pintle).await?;
        at_rest(&cluster, &["3.6"], WITHIN).await?;
        let free = pintle_auto(&pintle);
        for place in cluster.places() {
            cluster.refit(place, &free, &[]);
            cluster.stop(place).await?;
            cluster.start(place).await?;
        }
        for place in [0, 1] {
            begin_at(&cluster, place, "3.5", "3.6").await?;
        }
        cluster.api(0).downgrade(downgrade_to("3.5")).await?;
        at_rest(&cluster, &["3.5"], WITHIN).await?;
        cluster.finish().await.map(drop)
    });
}

#[test]
fn a_change_up_is_taken_back_while_a_member_is_down() {
    peers::run(120, async {
        let Some(pintle) = pintle() else {
            return Ok(());
        };
        let mut cluster = three(&pintle).await?;
        at_rest(&cluster, &["3.5"], WITHIN).await?;
        cluster.stop(2).await?;
        for place in [0, 1] {
            begin_at(&cluster, place, "3.6", "3.5").await?;
        }
        // Nor does a downgrade begin meanwhile.
        let refused = cluster.api(1).downgrade(downgrade_to("3.4")).await;
        let refused = refused.err().map(|error| error.to_string());
        let says = "on its way to 3.6: finish that with `line set 3.6`";
        ensure!(
            refused.as_ref().is_some_and(|text| text.contains(says)),
            "{refused:?}"
        );
        let said = ctl(&cluster, &[0, 1], &["line", "set", "3.5"]).await?;
        let says = "the members that answer are at 3.5; m2 does not answer";
        ensure!(!said.is_ok && said.stderr.contains(says), "{said:?}");
        at_rest(&cluster, &["3.5"], WITHIN).await?;
        cluster.start(2).await?;
        at_rest(&cluster, &["3.5"], WITHIN).await?;
        cluster.finish().await.map(drop)
    });
}

/// Three members that were told of a change while one of them hears nothing of the others.
async fn partitioned(pintle: &Program) -> Result<Cluster> {
    let plan = Plan::of(&[pintle.clone(), pintle.clone(), pintle.clone()]).gated();
    let cluster = plan.start().await?;
    at_rest(&cluster, &["3.5"], WITHIN).await?;
    cluster.links.cut_off(2, [0, 1]);
    for place in cluster.places() {
        begin_at(&cluster, place, "3.6", "3.5").await?;
    }
    Ok(cluster)
}

#[test]
fn a_change_is_finished_after_a_partition() {
    peers::run(120, async {
        let Some(pintle) = pintle() else {
            return Ok(());
        };
        let cluster = partitioned(&pintle).await?;
        cluster.links.mend();
        at_rest(&cluster, &["3.6"], WITHIN).await?;
        cluster.finish().await.map(drop)
    });
}

/// Whoever was cut off gives the change up, too, though no one tells it.
#[test]
fn a_change_is_taken_back_during_a_partition() {
    if !is_full() {
        return;
    }
    peers::run(180, async {
        let Some(pintle) = pintle() else {
            return Ok(());
        };
        let cluster = partitioned(&pintle).await?;
        let said = ctl(&cluster, &[0, 1], &["line", "set", "3.5"]).await?;
        let says = "the members that answer are at 3.5; m2 does not answer";
        ensure!(!said.is_ok && said.stderr.contains(says), "{said:?}");
        cluster.links.mend();
        at_rest(&cluster, &["3.5"], 2 * WITHIN).await?;
        cluster.finish().await.map(drop)
    });
}

/// The file of a change that is long over raises no one, and is gone soon.
#[test]
fn a_file_that_is_left_over_raises_no_cluster() {
    peers::run(120, async {
        let (Some(pintle), Some(fixed)) = (pintle(), pintle_at("3.5")) else {
            return Ok(());
        };
        let cluster = &mut Plan::of(std::slice::from_ref(&pintle)).start().await?;
        at_rest(cluster, &["3.5"], WITHIN).await?;
        for program in [&pintle, &fixed] {
            cluster.stop(0).await?;
            std::fs::write(line_file(cluster, 0), "3.6 from 3.5\n")?;
            cluster.refit(0, program, &[]);
            cluster.start(0).await?;
            at_rest(cluster, &["3.5"], WITHIN).await?;
        }
        cluster.end().await
    });
}

fn line_file(cluster: &Cluster, place: usize) -> std::path::PathBuf {
    cluster.members()[place].dir.join("member/pintle-line")
}

/// What is in the place of the file that a member keeps of its line is named before the start,
/// and while it runs nothing begins.
#[test]
fn what_is_no_file_of_a_line_is_named() {
    peers::run(120, async {
        let Some(pintle) = pintle() else {
            return Ok(());
        };
        let cluster = &mut Plan::of(&[pintle]).start().await?;
        at_rest(cluster, &["3.5"], WITHIN).await?;
        let path = line_file(cluster, 0);
        std::fs::create_dir_all(path.join("x"))?;
        let said = ctl(cluster, &[0], &["line", "set", "3.6"]).await?;
        let says = "cannot write";
        ensure!(!said.is_ok && said.stderr.contains(says), "{said:?}");
        ensure!(
            versions(cluster, 0).await?.1.starts_with("3.5."),
            "it moved"
        );
        cluster.stop(0).await?;
        cluster.spawn(0)?;
        until("the start is refused", WITHIN, async || {
            let log = cluster.member(0).server()?.log_text();
            ensure!(
                log.contains("pintle-line: holds no line; write 3.5"),
                "{log}"
            );
            Ok(())
        })
        .await?;
        cluster.drop_process(0);
        std::fs::remove_dir_all(&path)?;
        cluster.start(0).await?;
        let said = ctl(cluster, &[0], &["line", "set", "3.6"]).await?;
        ensure!(said.is_ok, "{said:?}");
        cluster.end().await
    });
}

#[test]
fn a_word_that_is_no_line_is_refused_in_few_words() {
    peers::run(60, async {
        let Some(pintle) = pintle() else {
            return Ok(());
        };
        let cluster = &mut Plan::of(&[pintle]).start().await?;
        let huge = "3.6".repeat(30_000);
        for word in [&huge, "\u{1b}[31m", "3.6 ", "3.6.0", ""] {
            let said = ctl(cluster, &[0], &["line", "set", word]).await?;
            let is_short = said.stderr.len() < 200 && !said.stderr.contains('\u{1b}');
            ensure!(!said.is_ok && is_short, "{said:?}");
            ensure!(
                said.stderr.contains("there are 3.5, 3.6 and 3.7"),
                "{said:?}"
            );
            let target = word.to_owned();
            let port = cluster.members()[0].client_port;
            let channel = tonic::transport::Endpoint::new(format!("http://127.0.0.1:{port}"))?;
            let mut lines = LinesClient::new(channel.connect().await?);
            let refused = lines.set(SetRequest { target }).await.err();
            let refused = refused.context("it is set")?;
            ensure!(
                refused.code() == tonic::Code::InvalidArgument && refused.message().len() < 200,
                "{refused:?}"
            );
        }
        cluster.end().await
    });
}

/// An order is obeyed if it is of a member of this cluster, to this member.
#[test]
fn only_members_order_each_other() {
    peers::run(60, async {
        let Some(pintle) = pintle() else {
            return Ok(());
        };
        let cluster = &mut Plan::of(&[pintle]).start().await?;
        at_rest(cluster, &["3.5"], WITHIN).await?;
        let header = cluster.members()[0]
            .status()
            .await?
            .header
            .unwrap_or_default();
        let begin = |to_member| LineOrder {
            action: Action::Begin as i32,
            target: "3.6".to_owned(),
            from: "3.5".to_owned(),
            to_member,
            ..LineOrder::default()
        };
        let own = header.member_id;
        for (to, cluster_id, status) in [
            (own, header.cluster_id + 1, 412),
            (own + 1, header.cluster_id, 403),
            (0, header.cluster_id, 403),
        ] {
            let found = order(cluster, (0, 0), begin(to), cluster_id).await?;
            ensure!(found == status, "{found}, not {status}");
            ensure!(!is_in_change(cluster, 0), "it obeys");
        }
        begin_at(cluster, 0, "3.6", "3.5").await?;
        at_rest(cluster, &["3.6"], WITHIN).await?;
        cluster.end().await
    });
}

/// Two who want the same are not in each other's way, at different members and at one.
#[test]
fn the_same_line_is_set_twice_at_once() {
    peers::run(240, async {
        let Some(pintle) = pintle() else {
            return Ok(());
        };
        let cluster = three(&pintle).await?;
        for (line, other) in [("3.6", 1), ("3.5", 1), ("3.6", 0), ("3.5", 0)] {
            let words = ["line", "set", line];
            let (at_one, at_other) = ([0], [other]);
            let (one, two) = tokio::join!(
                ctl(&cluster, &at_one, &words),
                ctl(&cluster, &at_other, &words)
            );
            at_rest(&cluster, &[line], WITHIN)
                .await
                .with_context(|| format!("{line}: {one:?} {two:?}"))?;
            for said in [one?, two?] {
                ensure!(said.is_ok, "line set {line}: {said:?}");
            }
        }
        cluster.finish().await.map(drop)
    });
}

/// When a member is killed, by what it logs.
const MOMENTS: [&str; 3] = [
    "the line of the cluster is to change",
    "speaking another line of etcd",
    "updated cluster version",
];

/// Which member is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    /// The one that was asked.
    Asked,
    /// The leader.
    Leader,
    /// Neither, where there is one.
    Other,
    /// None: it is the command that is killed.
    Command,
}

/// What is tried: the line, the moment, the member.
fn kills() -> Vec<(&'static str, &'static str, Victim)> {
    if !is_full() {
        return vec![
            ("3.6", MOMENTS[1], Victim::Other),
            ("3.7", MOMENTS[0], Victim::Command),
            ("3.6", MOMENTS[2], Victim::Leader),
        ];
    }
    let mut all = Vec::new();
    for victim in [
        Victim::Asked,
        Victim::Leader,
        Victim::Other,
        Victim::Command,
    ] {
        for moment in MOMENTS {
            all.extend(["3.6", "3.7", "3.6", "3.5"].map(|line| (line, moment, victim)));
        }
    }
    all
}

/// One change of the line, and what is killed in it.
struct Kill {
    line: &'static str,
    /// It happens when the member at this place logs this.
    at: usize,
    moment: &'static str,
    /// `None` for the command.
    killed: Option<usize>,
    asked: usize,
}

/// Carries it out: all are at the one line or the other by themselves, and at the new one when
/// asked again. Returns whether they finished it by themselves.
async fn kill(cluster: &mut Cluster, load: &Load, kill: &Kill) -> Result<bool> {
    let Kill { line, moment, .. } = *kill;
    let who = kill
        .killed
        .map_or("the command".to_owned(), |place| format!("m{place}"));
    let step = format!(
        "line set {line}, {who} killed as m{} says {moment:?}",
        kill.at
    );
    let before = times(cluster, kill.at, moment)?;
    let disturbed = kill.killed.unwrap_or(kill.asked);
    let is_leader = cluster.leader().await? == disturbed;
    load.change(disturbed, is_leader, &step);
    let set = tokio::spawn(said(command(
        cluster,
        &[kill.asked],
        &["line", "set", line],
    )?));
    until(&step, WITHIN, async || {
        ensure!(
            times(cluster, kill.at, moment)? > before,
            "it does not log it"
        );
        Ok(())
    })
    .await?;
    match kill.killed {
        None => set.abort(),
        Some(place) => {
            cluster.kill(place).await?;
            cluster.start(place).await?;
        }
    }
    load.calm();
    // It may have been the one that was killed, or have been told that a member is down.
    set.abort();
    let rests = at_rest(cluster, &["3.5", "3.6", "3.7"], 2 * WITHIN)
        .await
        .with_context(|| step.clone())?;
    // Where it is finished this shows that the schema is, too.
    let said = ctl(cluster, &[kill.asked], &["line", "set", line]).await?;
    ensure!(said.is_ok, "{step}, once more: {said:?}");
    load.more(20).await?;
    Ok(rests == line)
}

/// A member is killed in the middle of a change, and comes back.
async fn killed() -> Result<()> {
    let Some(pintle) = pintle() else {
        return Ok(());
    };
    let mut cluster = three(&pintle).await?;
    let all: Vec<usize> = cluster.places().collect();
    let load = Load::start(&cluster, &all, 3, peers::seed(37)).await?;
    let (mut finished, mut taken_back) = (0, 0);
    for (line, moment, victim) in kills() {
        let leader = cluster.leader().await?;
        let place = match victim {
            Victim::Asked => 0,
            Victim::Leader => leader,
            Victim::Other | Victim::Command => 1 + usize::from(leader == 1),
        };
        let step = Kill {
            line,
            at: place,
            moment,
            killed: (victim != Victim::Command).then_some(place),
            asked: match victim {
                Victim::Asked => 0,
                _ => (place + 1) % 3,
            },
        };
        match kill(&mut cluster, &load, &step).await? {
            true => finished += 1,
            false => taken_back += 1,
        }
    }
    let summary = load.finish(&cluster, 0).await?;
    peer::say(&format!(
        "RAN: line set with kills, {finished} finished, {taken_back} taken back and set again, {summary}"
    ));
    cluster.finish().await.map(drop)
}

/// The same with a member of etcd, whose binary is of the higher line on the way up. On the way
/// down it runs Pintle: etcd of the higher line cannot be there.
async fn killed_next_to_etcd() -> Result<()> {
    let (Some(pintle), Some(old), Some(new)) = (pintle(), etcd_of("3.5"), etcd_of("3.6")) else {
        return Ok(());
    };
    let plan = Plan::of(&[pintle.clone(), pintle.clone(), old.clone()]);
    let mut cluster = plan.unverified().start().await?;
    let load = Load::start(&cluster, &[0, 1], 3, peers::seed(38)).await?;
    let (mut finished, mut taken_back) = (0, 0);
    for (round, moment) in MOMENTS.into_iter().cycle().take(6).enumerate() {
        let (at, asked) = (round % 2, (round + 1) % 2);
        for (line, program) in [("3.6", &new), ("3.5", &pintle)] {
            swap(&mut cluster, &load, program).await?;
            let killed = match (round / 2, line) {
                (0, _) => Some(at),
                (1, "3.6") => Some(2),
                (1, _) => Some(asked),
                _ => None,
            };
            let step = Kill {
                line,
                at,
                moment,
                killed,
                asked,
            };
            match kill(&mut cluster, &load, &step).await? {
                true => finished += 1,
                false => taken_back += 1,
            }
        }
        swap(&mut cluster, &load, &old).await?;
    }
    let summary = load.finish(&cluster, 0).await?;
    peer::say(&format!(
        "RAN: line set with kills next to etcd, {finished} finished, {taken_back} taken back and set again, {summary}"
    ));
    cluster.finish().await.map(drop)
}

/// Gives the third member another program.
async fn swap(cluster: &mut Cluster, load: &Load, program: &Program) -> Result<()> {
    let is_leader = cluster.leader().await? == 2;
    load.change(2, is_leader, "a binary is replaced");
    cluster.swap(2, program).await?;
    load.calm();
    load.more(20).await
}

/// How often a member has logged a text since it started.
fn times(cluster: &mut Cluster, place: usize, text: &str) -> Result<usize> {
    let log = cluster.member(place).server()?.log_text();
    Ok(log.matches(text).count())
}

#[test]
fn a_member_that_is_killed_in_a_change_comes_back_to_it() {
    peers::run(if is_full() { 1800 } else { 240 }, killed());
}

#[test]
fn members_that_are_killed_next_to_etcd_come_back_to_a_change() {
    if is_full() {
        peers::run(1800, killed_next_to_etcd());
    }
}
