//! Steps and journal, without a cluster.

use semver::Version;

use super::{Journal, Step, journal::Event, steps};

fn path() -> Vec<Version> {
    vec![
        Version::new(3, 5, 30),
        Version::new(3, 6, 14),
        Version::new(3, 7, 1),
    ]
}

#[test]
fn the_leader_goes_last_and_the_log_is_flushed_before_3_7() {
    let members: Vec<String> = ["a", "b", "c"].map(str::to_owned).into();
    let steps = steps::along(&path(), &members, false);
    let at = |wanted: &dyn Fn(&Step) -> bool| steps.iter().position(wanted);
    let last_36 =
        at(&|s| matches!(s, Step::Swap { member, to, .. } if member == "c" && to.minor == 6));
    let moved = at(&|s| matches!(s, Step::MoveLeader { .. }));
    assert!(moved < last_36);
    for name in &members {
        let flush = at(&|s| matches!(s, Step::Flush { member, .. } if member == name));
        let to_37 =
            at(&|s| matches!(s, Step::Swap { member, to, .. } if to.minor == 7 && member == name));
        assert!(last_36 < flush && flush < to_37 && flush.is_some());
    }
}

#[test]
fn a_torn_line_counts_as_not_there() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut journal = Journal::open(dir.path()).expect("a journal");
    let steps = steps::along(&path(), &["a".into()], false);
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
