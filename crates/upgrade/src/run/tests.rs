//! Steps, journal and what is found without one, without a cluster.

use line::Line;
use membership::cluster::{ClusterId, Member, MemberId};
use semver::Version;

use super::{
    Journal, Way,
    driver::{Launch, Process},
    found,
    journal::Event,
    safety::{self, Purpose, Refusal, Seen, View, Voter},
};
use crate::{
    facts::{Facts, Hash, Live},
    hops::{Hop, How},
    steps::{self, Step},
    target::Target,
};

fn hops() -> Vec<Hop> {
    let releases = [Version::new(3, 6, 14), Version::new(3, 7, 1)];
    let how = How::Etcd;
    releases.map(|to| Hop { to, how }).into()
}

/// A member that runs 3.5.30.
fn old(name: &str) -> steps::Member {
    steps::Member {
        name: name.into(),
        runs: OLD,
        pintle: false,
        anew: false,
    }
}

#[test]
fn an_upgrade_that_was_left_half_done_is_finished_for_those_behind() {
    let ahead = steps::Member {
        runs: Version::new(3, 6, 14),
        ..old("a")
    };
    let members = [ahead, old("b"), old("c")];
    let steps = steps::along(&OLD, &hops()[..1], &members, true);
    let swapped = |step: &Step| match step {
        Step::Swap { member, from, .. } => Some((member.clone(), from.clone())),
        _ => None,
    };
    let swaps: Vec<_> = steps.iter().filter_map(swapped).collect();
    assert_eq!(swaps, [("b".into(), OLD), ("c".into(), OLD)]);
    // No one goes back to 3.5 for the sake of a record.
    assert!(!steps.iter().any(|s| matches!(s, Step::Heal { .. })));
}

#[test]
fn stale_records_are_corrected_before_a_release_that_believes_them() {
    let members = ["a", "b", "c"].map(old);
    let first = |stale| {
        steps::along(&OLD, &hops(), &members, stale)
            .into_iter()
            .next()
    };
    assert_eq!(first(true), Some(Step::Heal { version: OLD }));
    assert!(matches!(first(false), Some(Step::Check { .. })));
}

#[test]
fn the_leader_goes_last_and_the_log_is_flushed_before_3_7() {
    let members = ["a", "b", "c"];
    let steps = steps::along(&OLD, &hops(), &members.map(old), false);
    let at = |wanted: &dyn Fn(&Step) -> bool| steps.iter().position(wanted);
    let last_36 =
        at(&|s| matches!(s, Step::Swap { member, to, .. } if member == "c" && to.minor == 6));
    let moved = at(&|s| matches!(s, Step::MoveLeader { .. }));
    assert!(moved < last_36);
    for name in members {
        let flush = at(&|s| matches!(s, Step::Flush { member, .. } if member == name));
        let to_37 =
            at(&|s| matches!(s, Step::Swap { member, to, .. } if to.minor == 7 && member == name));
        assert!(last_36 < flush && flush < to_37 && flush.is_some());
    }
}

#[test]
fn steps_that_were_found_have_begun_and_are_done_until_undone() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut journal = Journal::open(dir.path()).expect("a journal");
    let steps = steps::along(&OLD, &hops(), &[old("a")], false);
    let cluster = "1".into();
    let found = Event::Found { steps, cluster };
    journal.write(found).expect("written");
    journal.write(Event::Undone { at: 1 }).expect("written");
    drop(journal);
    let journal = Journal::open(dir.path()).expect("a journal");
    let count = journal.plan().map_or(0, |(steps, _)| steps.len());
    assert!(count > 2);
    for at in 0..count {
        let stands = at != 1;
        assert_eq!(
            (journal.has_begun(at), journal.is_done(at)),
            (stands, stands)
        );
    }
}

#[test]
fn a_new_build_of_the_same_program_is_put_in_all_the_same() {
    let anew = |name, pintle| steps::Member {
        pintle,
        anew: true,
        ..old(name)
    };
    let swaps = |pintle| {
        let members = [anew("a", true), anew("b", false)];
        let how = if pintle { How::Pintle } else { How::Etcd };
        let mut steps = steps::along(&OLD, &[Hop { to: OLD, how }], &members, false);
        steps.retain(|step| matches!(step, Step::Swap { .. }));
        steps.iter().map(Step::shows).collect::<Vec<_>>()
    };
    assert_eq!(swaps(true), [false, true]);
    assert_eq!(swaps(false), [true, false]);
}

#[test]
fn a_torn_line_counts_as_not_there() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut journal = Journal::open(dir.path()).expect("a journal");
    let steps = steps::along(&OLD, &hops(), &[old("a")], false);
    journal
        .write(Event::Plan {
            steps: steps.clone(),
            cluster: "1".into(),
        })
        .expect("written");
    journal.write(Event::Begin { at: 0 }).expect("written");
    let path = dir.path().join("journal.jsonl");
    assert!(Journal::open(dir.path()).is_err(), "two runs at once");
    drop(journal);
    let mut text = std::fs::read_to_string(&path).expect("text");
    text.push_str("{\"event\":\"done\",\"at\":0,\"no");
    std::fs::write(&path, text).expect("torn");
    let mut journal = Journal::open(dir.path()).expect("a journal");
    assert_eq!(journal.plan().map(|(s, _)| s.len()), Some(steps.len()));
    assert!(journal.has_begun(0) && !journal.is_done(0));
    let note = String::new();
    journal.write(Event::Done { at: 0, note }).expect("written");
    drop(journal);
    let mut journal = Journal::open(dir.path()).expect("a journal");
    assert!(journal.is_done(0));
    journal.write(Event::Undone { at: 0 }).expect("written");
    assert!(!journal.is_done(0));
}

#[test]
fn a_file_of_members_that_makes_no_sense_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("members.yaml");
    let read = |text: &str, only_here: bool| {
        std::fs::write(&path, text).expect("written");
        super::FromFile::read(&path, dir.path(), only_here)
    };
    let refused = |text: &str, only_here: bool| {
        let error = read(text, only_here).expect_err("refused").to_string();
        assert!(error.contains("members.yaml"), "{error}");
        error
    };
    let pods = "driver: static-pod\nmembers:\n  - {name: a, endpoint: 'x:1'";
    let error = refused(&format!("{pods}}}\n"), false);
    assert!(error.contains("no member has a manifest"), "{error}");
    let error = refused(&format!("{pods}, reach: ssh a}}\n"), false);
    assert!(error.contains("member a has `reach`"), "{error}");
    let there = format!("{pods}, manifest: /m/etcd.yaml, reach: ssh a}}\n");
    assert!(read(&there, false).is_ok());
    let error = refused(&there, true);
    assert!(error.contains("no member has a manifest"), "{error}");
    let commands = "members:\n  - {name: a, endpoint: 'x:1', stop: s, start: s}\n";
    assert!(read(commands, false).is_ok());
    assert!(refused(commands, true).contains("--only-this-node is for"));
    assert!(refused("members: []\n", false).contains("names no members"));
    assert!(refused("driver: docker\nmembers: []\n", false).contains("unknown variant"));
}

/// A member of three (`a` leads) that answers.
fn answers(name: &str, version: (u64, u64, u64), cluster: u64, storage: &str) -> found::Member {
    let id = |name: &str| MemberId(u64::from(name.as_bytes()[0]));
    let members = ["a", "b", "c"].map(|name| Member {
        id: id(name),
        name: name.into(),
        ..Member::default()
    });
    let live = Live {
        version: Some(Version::new(version.0, version.1, version.2)),
        cluster_version: Some(Version::new(3, cluster, 0)),
        leader: id("a").0,
        storage_version: storage.into(),
        members: members.into(),
        ..Live::default()
    };
    let facts = Facts {
        label: name.into(),
        id: Some(id(name)),
        cluster: Some(ClusterId(7)),
        live: Some(live),
        ..Facts::default()
    };
    found::Member {
        name: name.into(),
        facts: Some(facts),
        pintle: Some(false),
        process: Process::Runs,
    }
}

const OLD: Version = Version::new(3, 5, 30);

/// The members in the order in which they go back, `v` for the cluster version.
fn order(way: Way) -> Vec<String> {
    let Way::Steps { steps, .. } = way else {
        return vec![format!("{way:?}")];
    };
    steps
        .iter()
        .rev()
        .map(|step| match step {
            Step::Swap { member, from, .. } if *from == OLD => member.clone(),
            Step::Settle { to } => format!("v{}", to.minor),
            other => format!("{other:?}"),
        })
        .collect()
}

/// One that does not answer.
fn silent(name: &str) -> found::Member {
    found::Member {
        name: name.into(),
        facts: None,
        pintle: None,
        process: Process::Unknown,
    }
}

fn target(text: &str) -> Target {
    Target::parse(text).expect("a target")
}

fn judged(members: &[found::Member], to: Version) -> Way {
    found::judge(members, &[], &target(&to.to_string())).expect("one cluster")
}

fn refused(way: Way) -> String {
    match way {
        Way::Otherwise { found, instead } => format!("{found}: {instead}"),
        way => panic!("{way:?}"),
    }
}

#[test]
fn mixed_members_go_back_by_their_binaries_the_leader_last() {
    let mixed = [
        answers("a", (3, 6, 14), 5, ""),
        answers("b", (3, 6, 14), 5, ""),
        answers("c", (3, 5, 30), 5, ""),
    ];
    assert_eq!(order(judged(&mixed, OLD)), ["b", "a"]);
    // One that does not start with the new binary is the first.
    let silent = [
        answers("a", (3, 6, 14), 5, ""),
        silent("b"),
        answers("c", (3, 5, 30), 5, ""),
    ];
    assert_eq!(order(judged(&silent, OLD)), ["b", "a"]);
    let at_home = ["a", "b", "c"].map(|name| answers(name, (3, 5, 30), 5, ""));
    assert_eq!(judged(&at_home, OLD), Way::Nothing);
    // Pintle tells the same version, and is another program; who tells nothing may be.
    let mut ours = at_home;
    ours[1].pintle = Some(true);
    ours[2].pintle = None;
    assert_eq!(order(judged(&ours, OLD)), ["c", "b"]);
    let way = found::judge(&ours, &[], &target("pintle")).expect("one cluster");
    assert_eq!(order(way), ["c", "a"]);
}

#[test]
fn a_cluster_version_that_has_followed_goes_down_first() {
    let moved = ["a", "b", "c"].map(|name| answers(name, (3, 6, 14), 6, "3.6.0"));
    assert_eq!(order(judged(&moved, OLD)), ["v6", "c", "b", "a"]);
    // A downgrade that was begun: the version is down, the storage of one is not.
    let begun = [
        answers("a", (3, 6, 14), 5, "3.5.0"),
        answers("b", (3, 6, 14), 5, "3.6.0"),
        answers("c", (3, 6, 14), 5, "3.5.0"),
    ];
    assert_eq!(order(judged(&begun, OLD)), ["v6", "c", "b", "a"]);
    let [first, second, _] = moved;
    assert!(
        refused(judged(&[first, second, silent("c")], OLD))
            .contains("the storage of every member must go down")
    );
    let two_up = ["a", "b", "c"].map(|name| answers(name, (3, 7, 1), 7, "3.7.0"));
    assert!(refused(judged(&two_up, OLD)).contains("--to a release of 3.6"));
    let from_3_5 = ["a", "b", "c"].map(|name| answers(name, (3, 5, 30), 5, ""));
    assert!(
        refused(judged(&from_3_5, Version::new(3, 4, 23))).contains("restore it as a new cluster")
    );
}

#[test]
fn pintle_goes_down_line_by_line_and_then_to_the_binary() {
    let at = |minor: u64, storage: &str| {
        ["a", "b", "c"].map(|name| {
            let line = Line::of(&Version::new(3, minor, 0)).expect("a line");
            let release = line.release_version();
            found::Member {
                pintle: Some(true),
                ..answers(name, (3, minor, release.patch), minor, storage)
            }
        })
    };
    let back = |members: &[found::Member], to: &str| -> Vec<String> {
        let way = found::judge(members, &[], &target(to)).expect("one cluster");
        let Way::Steps { steps, .. } = way else {
            return vec![format!("{way:?}")];
        };
        steps.iter().rev().map(Step::back_in_words).collect()
    };
    let lines = [
        "set the line from 3.7 back to 3.6, no member restarts",
        "set the line from 3.6 back to 3.5, no member restarts",
    ];
    let swaps = ["c", "b", "a"].map(|m| format!("take {m} back to 3.5.33, on the same directory"));
    let all: Vec<String> = lines.map(str::to_owned).into_iter().chain(swaps).collect();
    assert_eq!(back(&at(7, "3.7.0"), "3.5.33"), all);
    assert_eq!(back(&at(7, "3.7.0"), "pintle:3.5"), lines);
    // What it answers at 3.5 is no patch.
    assert_eq!(back(&at(5, ""), "3.5.33"), all[2..]);
    // A change up that was left half done shows in what one member answers.
    let mut half = at(5, "");
    half[1] = found::Member {
        pintle: Some(true),
        ..answers("b", (3, 6, 16), 5, "")
    };
    assert_eq!(back(&half, "pintle:3.5"), lines[1..]);
    // One that is silent keeps all from it; where etcd is among them binaries are the way.
    let [first, second, _] = at(7, "3.7.0");
    let some = [first, second, silent("c")];
    assert!(refused(judged(&some, OLD)).contains("bring the silent one back"));
    let mut mixed = at(7, "3.7.0");
    mixed[0].pintle = Some(false);
    assert!(refused(judged(&mixed, OLD)).contains("--to a release of 3.6"));
}

#[test]
fn what_no_rollback_repairs_is_told_so() {
    let all = || ["a", "b", "c"].map(|name| answers(name, (3, 6, 14), 6, "3.6.0"));
    let live = |members: &mut [found::Member; 3], at: usize, change: &dyn Fn(&mut Live)| {
        change(
            members[at]
                .facts
                .as_mut()
                .and_then(|f| f.live.as_mut())
                .expect("live"),
        );
    };
    let mut lost = all();
    for at in 0..3 {
        live(&mut lost, at, &|live| live.leader = 0);
    }
    assert!(refused(judged(&lost, OLD)).contains("none knows a leader"));
    let mut zombie = all();
    live(&mut zombie, 1, &|live| {
        live.members.push(Member {
            id: MemberId(0xdead),
            name: "old".into(),
            ..Member::default()
        });
    });
    assert!(
        refused(judged(&zombie, OLD)).contains("dead old, which the file of members does not name")
    );
    let mut corrupt = all();
    live(&mut corrupt, 2, &|live| {
        live.alarms
            .push((MemberId(u64::from(b'b')), "CORRUPT".into()))
    });
    assert!(refused(judged(&corrupt, OLD)).contains("b (62) has the alarm CORRUPT"));
    let hash = |hash| Hash {
        revision: 9,
        hash,
        compacted: 1,
    };
    let hashes = [
        ("a".to_owned(), hash(1)),
        ("b".into(), hash(1)),
        ("c".into(), hash(2)),
    ];
    let way = found::judge(&all(), &hashes, &target("3.5.30")).expect("one cluster");
    assert!(refused(way).contains("a and c have different keys"));
    let older = ["a", "b", "c"].map(|name| answers(name, (3, 5, 16), 5, ""));
    assert!(refused(judged(&older, OLD)).contains("older than 3.5.30"));
    let mut foreign = all();
    foreign[2].facts.as_mut().expect("facts").cluster = Some(ClusterId(8));
    assert!(found::judge(&foreign, &[], &target("3.5.30")).is_err());
}

/// `n1` to `nN` of a 3.5 cluster: `+` serves, `~` answers, `-` is down, `!` refuses this client.
fn view(voters: &str) -> View {
    let voters = voters.chars().zip(1..).map(|(is, n)| {
        let seen = match is {
            '+' => Seen::Serves,
            '-' => Seen::Silent,
            '!' => Seen::Refuses("TLS".into()),
            _ => Seen::Answers,
        };
        Voter::seen(MemberId(n), format!("n{n}"), seen)
    });
    View {
        voters: voters.collect(),
        cluster_version: Some(Version::new(3, 5, 0)),
        ..View::default()
    }
}

#[test]
fn a_cluster_that_does_not_serve_names_those_that_are_down() {
    let says = |voters: &str, text: &str| {
        let state = view(voters).state();
        assert!(state.ends_with(text), "{state}");
    };
    // Both of them are known not to run.
    let mut down = view("-~-");
    for voter in &mut down.voters {
        voter.process = Process::Ended;
    }
    assert_eq!(
        down.state(),
        "THE CLUSTER DOES NOT SERVE: 0 of 3 voters do, and 2 are needed; start n1, n3"
    );
    says("~-~", "0 of 3 voters do, and 2 are needed; start n2");
    says(
        "~~~",
        "all of them answer: see in their logs why none leads",
    );
    says("+-+", "2 of 3 voters do; not n2");
}

#[test]
fn voters_out_of_reach_that_may_be_a_quorum_may_serve() {
    let words = |known: &[Process]| {
        let mut view = view(&"-".repeat(known.len()));
        for (voter, process) in view.voters.iter_mut().zip(known) {
            voter.process = *process;
        }
        view.state()
    };
    let (unknown, runs, ended) = (Process::Unknown, Process::Runs, Process::Ended);
    for known in [[unknown; 3], [runs; 3], [runs, unknown, ended]] {
        let state = words(&known);
        assert!(state.contains("may serve one another"), "{state}");
        assert!(!state.contains("DOES NOT SERVE"), "{state}");
    }
    let state = words(&[runs, unknown, ended]);
    assert!(state.contains("(n1: known to run, by"), "{state}");
    assert!(
        state.ends_with(
            "whether n2 run, and start what does not. Known not to run, so start them: n3"
        ),
        "{state}"
    );
    // One of three is no quorum, wherever it is.
    let state = words(&[unknown, ended, ended]);
    assert!(state.contains("DOES NOT SERVE"), "{state}");
    // One answers and knows no leader: it may be the one that is cut off.
    let state = view("~--").state();
    assert!(state.contains("not reached from here: n2, n3"), "{state}");
}

#[test]
fn no_backup_is_restored_where_a_member_may_run() {
    let lost = || {
        let mut lost = answers("a", (3, 6, 14), 6, "3.6.0");
        let live = lost.facts.as_mut().and_then(|f| f.live.as_mut());
        live.expect("live").leader = 0;
        lost
    };
    let down = |name, process| found::Member {
        process,
        ..silent(name)
    };
    for (known, may) in [
        ([Process::Ended; 2], true),
        ([Process::Ended, Process::Unknown], false),
        ([Process::Ended, Process::Runs], false),
        ([Process::Unknown; 2], false),
    ] {
        let [b, c] = known;
        for members in [
            vec![lost(), down("b", b), down("c", c)],
            vec![down("b", b), down("c", c)],
        ] {
            let words = refused(judged(&members, OLD));
            assert!(words.contains("none knows a leader"), "{words}");
            assert_eq!(words.contains("--force-new-cluster"), may, "{words}");
            assert_eq!(words.contains("restore"), may, "{words}");
            assert_eq!(words.contains("may serve one another"), !may, "{words}");
        }
    }
}

fn decided(view: &View, release: &Version, purpose: Purpose) -> Result<(), Refusal> {
    safety::may_stop(view, "n1", &Launch::of(release, false), purpose, None)
}

#[test]
fn a_member_is_stopped_only_where_the_rest_is_a_quorum() {
    for (voters, may) in [
        ("+", true),
        ("++", true),
        ("+-", false),
        ("+++", true),
        ("++-", false),
        ("++~", false),
        ("~++", true),
        // One that is down takes nothing with it.
        ("-++", true),
        ("-~-", true),
        // Out of reach they may all serve.
        ("---", false),
        // A read that succeeds at one of three proves that a silent one serves.
        ("-+-", false),
        ("-++--", false),
        ("-+++-", true),
        ("++++", true),
        ("+++-", false),
        ("+++--", false),
        ("++++-", true),
        // Of one that refuses this client nothing is known.
        ("!++", false),
        ("++!", false),
        ("-!!", false),
    ] {
        let decided = decided(&view(voters), &OLD, Purpose::Again);
        assert_eq!(decided.is_ok(), may, "{voters}: {decided:?}");
    }
    let refusal = decided(&view("++-"), &OLD, Purpose::Back).expect_err("no quorum");
    assert!(refusal.to_string().contains("1 of 3 voters"), "{refusal}");
    // A learner is no voter: nothing depends on it.
    let mut learner = view("+++");
    learner.voters.remove(0);
    assert!(decided(&learner, &OLD, Purpose::Again).is_ok());
}

#[test]
fn where_no_member_is_reached_none_is_stopped_that_may_serve() {
    let cut_off = |process: Process| {
        let mut view = view("---");
        view.voters[0].process = process;
        view
    };
    for (process, may) in [
        (Process::Unknown, false),
        (Process::Runs, false),
        (Process::Ended, true),
    ] {
        let decided = decided(&cut_off(process), &OLD, Purpose::Back);
        assert_eq!(decided.is_ok(), may, "{process:?}: {decided:?}");
        // To start one is another matter.
        let launch = Launch::of(&OLD, false);
        let started = safety::may_start(&cut_off(process), "n1", &launch, Purpose::Back, None);
        assert!(started.is_ok(), "{process:?}: {started:?}");
    }
    // The only member, which this run itself has taken out of service.
    let mut alone = view("-");
    assert!(decided(&alone, &OLD, Purpose::Back).is_err());
    alone.alone_in_hand = Some("n1".into());
    assert!(decided(&alone, &OLD, Purpose::Back).is_ok());
}

#[test]
fn after_one_that_did_not_come_up_no_other_is_stopped() {
    for (voters, process, down, may) in [
        ("--~", Process::Unknown, "n2", false),
        ("--~", Process::Runs, "n2", false),
        ("+-+++", Process::Unknown, "n2", false),
        // A learner may be the one.
        ("+++", Process::Unknown, "n9", false),
        // It takes nothing with it; and it may be taken down again itself.
        ("--~", Process::Ended, "n2", true),
        ("--~", Process::Unknown, "n1", true),
    ] {
        let mut view = view(voters);
        view.voters[0].process = process;
        view.not_up = vec![down.to_owned()];
        let decided = decided(&view, &OLD, Purpose::Back);
        let is_right = match may {
            true => decided.is_ok(),
            false => matches!(decided, Err(Refusal::NotUp { .. })),
        };
        assert!(is_right, "{voters} {process:?} {down}: {decided:?}");
    }
}

#[test]
fn what_replaces_a_member_must_fit_the_cluster_version() {
    let new = Version::new(3, 6, 14);
    let at = |cluster: Option<u64>, downgrade: Option<u64>| View {
        cluster_version: cluster.map(|minor| Version::new(3, minor, 0)),
        downgrade: downgrade.map(|minor| Version::new(3, minor, 0)),
        ..view("+++")
    };
    use Purpose::{Again, Back, Forward};
    for (view, release, purpose, may) in [
        (at(Some(5), None), &new, Forward, true),
        (at(Some(5), None), &OLD, Back, true),
        (at(Some(6), None), &OLD, Back, false),
        (at(Some(6), None), &new, Again, true),
        (at(None, None), &OLD, Back, false),
        (at(None, None), &new, Forward, false),
        (at(Some(5), None), &Version::new(3, 7, 1), Forward, false),
        // A downgrade: down and the same again, not forwards, and nothing older still.
        (at(Some(5), Some(5)), &OLD, Back, true),
        (at(Some(5), Some(5)), &new, Again, true),
        (at(Some(5), Some(5)), &new, Forward, false),
        (at(Some(6), Some(6)), &Version::new(3, 7, 1), Again, true),
    ] {
        let decided = decided(&view, release, purpose);
        assert_eq!(decided.is_ok(), may, "{release} {purpose:?}: {decided:?}");
    }
}

#[test]
fn alarms_and_a_second_cluster_stop_everything() {
    let mut alarmed = view("+++");
    alarmed.alarms.push(("n2".into(), "NOSPACE".into()));
    let refusal = decided(&alarmed, &OLD, Purpose::Back).expect_err("an alarm");
    assert!(refusal.to_string().contains("raise the quota"), "{refusal}");
    let mut two = view("+++");
    two.clusters = vec!["1".into(), "2".into()];
    assert!(decided(&two, &OLD, Purpose::Back).is_err());
}

#[test]
fn a_change_of_the_line_moves_the_cluster_version_and_starts_no_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut journal = Journal::open(dir.path()).expect("a journal");
    let (from, to) = (Version::new(3, 5, 30), Version::new(3, 6, 16));
    let steps = vec![Step::Line { from, to }];
    journal.begin(steps, "1".into()).expect("written");
    assert_eq!(journal.height(), None);
    journal.write(Event::Begin { at: 0 }).expect("written");
    assert_eq!(journal.height(), Some(Version::new(3, 6, 0)));
    journal.write(Event::Undone { at: 0 }).expect("written");
    assert_eq!(journal.height(), Some(Version::new(3, 5, 0)));
}

#[test]
fn a_journal_knows_how_high_the_cluster_version_can_be() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut journal = Journal::open(dir.path()).expect("a journal");
    assert_eq!(journal.height(), None);
    let stopping = Event::Stopping {
        member: "a".into(),
        cluster: Version::new(3, 5, 0),
    };
    journal.write(Event::Begin { at: 2 }).expect("written");
    journal.write(stopping).expect("written");
    assert_eq!(journal.height(), Some(Version::new(3, 5, 0)));
    // Another attempt of the same step does not make it forget.
    journal.write(Event::Begin { at: 2 }).expect("written");
    assert!(journal.was_stopped_in(2, "a") && !journal.was_stopped_in(2, "b"));
    let starting = Event::Starting {
        member: "a".into(),
        release: Version::new(3, 6, 14),
    };
    journal.write(starting).expect("written");
    assert_eq!(journal.height(), Some(Version::new(3, 6, 0)));
    let id = journal.id().to_owned();
    drop(journal);
    let journal = Journal::open(dir.path()).expect("a journal");
    assert_eq!(journal.id(), id, "a run keeps its id");
    drop(journal);
    let other = tempfile::tempdir().expect("a folder");
    let other = Journal::open(other.path()).expect("a journal");
    assert_ne!(other.id(), id);
}
