use bytes::Bytes;
use http::StatusCode;
use line::{Change, Kept, Line, Spoken};
use proto::pintlepb::MemberLine;
use semver::Version;

use super::{
    judge::judge,
    kept::LineKept,
    next::{Next, Other, View},
    own::of_alarm,
    set::{Plan, is_on_its_way, lost},
    survey::{Heard, Survey},
};

const UP: Change = Change {
    from: Line::V3_5,
    to: Line::V3_6,
};
const DOWN: Change = Change {
    from: Line::V3_6,
    to: Line::V3_5,
};

fn version(line: Line) -> Version {
    line.cluster_version()
}

fn pintle(name: &str, line: Line) -> MemberLine {
    MemberLine {
        pintle: "1".to_owned(),
        ..etcd(name, line.release())
    }
}

fn etcd(name: &str, release: &str) -> MemberLine {
    MemberLine {
        id: 1,
        name: name.to_owned(),
        answers: true,
        release: release.to_owned(),
        ..MemberLine::default()
    }
}

fn survey(line: Line, members: Vec<MemberLine>) -> Survey {
    Survey {
        version: Some(version(line)),
        members,
        ..Survey::default()
    }
}

fn kinds(survey: &Survey, target: Line) -> Vec<String> {
    judge(survey, target)
        .into_iter()
        .map(|finding| finding.kind)
        .collect()
}

#[test]
fn a_sound_cluster_goes_to_its_neighbours_alone() {
    let survey = survey(Line::V3_5, vec![pintle("m0", Line::V3_5)]);
    assert!(kinds(&survey, Line::V3_5).is_empty());
    assert!(kinds(&survey, Line::V3_6).is_empty());
    assert_eq!(kinds(&survey, Line::V3_7), ["too_far"]);
    assert_eq!(kinds(&Survey::default(), Line::V3_6), ["undecided"]);
}

#[test]
fn every_member_that_cannot_follow_is_named() {
    let learner = MemberLine {
        is_learner: true,
        ..pintle("m1", Line::V3_5)
    };
    let down = MemberLine {
        name: "m2".to_owned(),
        ..MemberLine::default()
    };
    let survey = survey(
        Line::V3_5,
        vec![learner, down, etcd("m3", "3.5.30"), etcd("m4", "3.6.16")],
    );
    let found = judge(&survey, Line::V3_6);
    let found: Vec<_> = found.iter().map(|f| (&*f.name, &*f.kind)).collect();
    assert_eq!(
        found,
        [("m1", "learner"), ("m2", "down"), ("m3", "too_old")]
    );
}

#[test]
fn etcd_does_not_go_down_with_the_others() {
    let members = vec![pintle("m0", Line::V3_6), etcd("m1", "3.6.16")];
    let survey = survey(Line::V3_6, members);
    assert_eq!(kinds(&survey, Line::V3_5), ["swap"]);
    assert_eq!(kinds(&survey, Line::V3_7), ["too_old"]);
    assert!(kinds(&survey, Line::V3_6).is_empty());
}

#[test]
fn a_downgrade_is_finished_or_taken_back_by_whom_it_was_begun() {
    let under_way = |line, members| Survey {
        downgrade: Some("3.5.0".to_owned()),
        ..survey(line, members)
    };
    let begun_by_etcdctl = under_way(Line::V3_6, vec![pintle("m0", Line::V3_6)]);
    assert!(kinds(&begun_by_etcdctl, Line::V3_5).is_empty());
    assert_eq!(kinds(&begun_by_etcdctl, Line::V3_6), ["downgrade"]);
    assert_eq!(kinds(&begun_by_etcdctl, Line::V3_7), ["downgrade"]);
    let in_change = MemberLine {
        change: DOWN.to_string(),
        ..pintle("m0", Line::V3_6)
    };
    let begun_here = under_way(Line::V3_6, vec![in_change]);
    assert!(kinds(&begun_here, Line::V3_6).is_empty());
    assert_eq!(
        Plan::of(&begun_here, Line::V3_6),
        Some(Plan {
            cancels: true,
            change: None,
            enables: false
        })
    );
    assert_eq!(
        Plan::of(&begun_here, Line::V3_5),
        Some(Plan {
            cancels: false,
            change: Some(DOWN),
            enables: false
        })
    );
    // The cluster version is down, and a member is there already.
    let lowered = under_way(
        Line::V3_5,
        vec![pintle("m0", Line::V3_5), pintle("m1", Line::V3_6)],
    );
    assert_eq!(
        Plan::of(&lowered, Line::V3_5).and_then(|plan| plan.change),
        Some(DOWN)
    );
    assert_eq!(
        Plan::of(&lowered, Line::V3_6),
        Some(Plan {
            cancels: true,
            change: Some(UP),
            enables: false
        })
    );
}

#[test]
fn a_half_done_change_up_is_given_up_by_setting_the_line_of_the_cluster() {
    let half = survey(
        Line::V3_5,
        vec![pintle("m0", Line::V3_6), pintle("m1", Line::V3_5)],
    );
    assert!(kinds(&half, Line::V3_5).is_empty());
    assert_eq!(
        Plan::of(&half, Line::V3_5),
        Some(Plan {
            cancels: false,
            change: None,
            enables: false
        })
    );
}

#[test]
fn no_member_speaks_a_higher_line_before_all_are_ready() {
    let at = |line, others: &[Other]| {
        View {
            line,
            version: Some(&version(Line::V3_5)),
            downgrade: None,
            is_resumed: false,
            others,
        }
        .next(Kept::Change(UP))
    };
    use Other::{Lacking, Ready, Silent};
    assert_eq!(at(Line::V3_5, &[Ready, Ready]), Next::Speak(Line::V3_6));
    assert_eq!(at(Line::V3_5, &[Ready, Silent]), Next::Wait);
    assert_eq!(at(Line::V3_5, &[Lacking, Silent]), Next::Wait);
    assert_eq!(at(Line::V3_5, &[Ready, Lacking]), Next::Stuck);
    assert_eq!(at(Line::V3_6, &[Ready, Ready]), Next::Wait);
    assert_eq!(at(Line::V3_6, &[Ready, Lacking]), Next::Stuck);
    assert_eq!(at(Line::V3_5, &[]), Next::Speak(Line::V3_6));
}

#[test]
fn a_change_up_is_over_with_the_cluster_version() {
    let view = View {
        line: Line::V3_6,
        version: Some(&version(Line::V3_6)),
        downgrade: None,
        is_resumed: false,
        others: &[Other::Lacking],
    };
    assert_eq!(view.next(Kept::Change(UP)), Next::Forget);
}

#[test]
fn a_change_down_follows_the_cluster_version() {
    let at = |line, cluster, downgrade| {
        View {
            line,
            version: Some(&version(cluster)),
            downgrade,
            is_resumed: false,
            others: &[],
        }
        .next(Kept::Change(DOWN))
    };
    assert_eq!(at(Line::V3_6, Line::V3_6, None), Next::Stuck);
    assert_eq!(at(Line::V3_6, Line::V3_6, Some("3.5.0")), Next::Wait);
    let lowered = at(Line::V3_6, Line::V3_5, Some("3.5.0"));
    assert_eq!(lowered, Next::Speak(Line::V3_5));
    assert_eq!(at(Line::V3_5, Line::V3_5, Some("3.5.0")), Next::Wait);
    assert_eq!(at(Line::V3_5, Line::V3_5, None), Next::Forget);
}

#[test]
fn the_line_of_the_founding_is_kept_until_the_cluster_speaks() {
    let decided = version(Line::V3_6);
    let next = |version| {
        View {
            line: Line::V3_6,
            version,
            downgrade: None,
            is_resumed: false,
            others: &[],
        }
        .next(Kept::Founded(Line::V3_6))
    };
    assert_eq!(next(None), Next::Wait);
    assert_eq!(next(Some(&decided)), Next::Forget);
}

#[test]
fn who_speaks_the_line_or_is_in_the_change_is_ready() {
    let begun = MemberLine {
        change: UP.to_string(),
        ..pintle("m0", Line::V3_5)
    };
    let in_file = MemberLine {
        is_resumed: true,
        ..begun.clone()
    };
    for (member, other) in [
        (MemberLine::default(), Other::Silent),
        (pintle("m0", Line::V3_5), Other::Lacking),
        (pintle("m0", Line::V3_6), Other::Ready),
        (begun, Other::InChange),
        (in_file, Other::Resumed),
        (etcd("m0", "3.5.30"), Other::Lacking),
        (etcd("m0", "3.6.0"), Other::Ready),
    ] {
        assert_eq!(Other::of(&member, UP), other, "{member:?}");
    }
}

fn in_change(change: Change, member: MemberLine) -> MemberLine {
    MemberLine {
        change: change.to_string(),
        ..member
    }
}

#[test]
fn a_member_whose_change_leads_elsewhere_is_named() {
    let up = Change {
        from: Line::V3_6,
        to: Line::V3_7,
    };
    let survey = survey(
        Line::V3_6,
        vec![
            in_change(up, pintle("m0", Line::V3_7)),
            pintle("m1", Line::V3_6),
        ],
    );
    let found = judge(&survey, Line::V3_5);
    let found: Vec<_> = found.iter().map(|f| (&*f.name, &*f.kind)).collect();
    assert_eq!(found, [("m0", "in_change")]);
    // It is finished, and taken back.
    assert!(kinds(&survey, Line::V3_7).is_empty());
    assert!(kinds(&survey, Line::V3_6).is_empty());
}

#[test]
fn a_change_up_is_stuck_where_the_cluster_goes_down() {
    let up = Change {
        from: Line::V3_6,
        to: Line::V3_7,
    };
    let at = |cluster, downgrade| {
        View {
            line: Line::V3_6,
            version: Some(&version(cluster)),
            downgrade,
            is_resumed: false,
            others: &[Other::Ready],
        }
        .next(Kept::Change(up))
    };
    assert_eq!(at(Line::V3_6, None), Next::Speak(Line::V3_7));
    assert_eq!(at(Line::V3_6, Some("3.5.0")), Next::Stuck);
    assert_eq!(at(Line::V3_5, None), Next::Stuck);
    assert_eq!(at(Line::V3_7, Some("3.6.0")), Next::Forget);
}

#[test]
fn a_change_down_that_waits_takes_back_what_was_spoken_above_it() {
    let view = View {
        line: Line::V3_7,
        version: Some(&version(Line::V3_6)),
        downgrade: Some("3.5.0"),
        is_resumed: false,
        others: &[],
    };
    assert_eq!(view.next(Kept::Change(DOWN)), Next::Speak(Line::V3_6));
}

#[test]
fn only_a_member_without_the_page_is_taken_for_etcd() {
    assert_eq!(Heard::of(StatusCode::NOT_FOUND, Bytes::new()), Heard::Etcd);
    for status in [
        StatusCode::BAD_REQUEST,
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::PRECONDITION_FAILED,
        StatusCode::INTERNAL_SERVER_ERROR,
        StatusCode::SERVICE_UNAVAILABLE,
    ] {
        assert_eq!(Heard::of(status, Bytes::new()), Heard::Nothing);
    }
    let undecodable = Bytes::from_static(b"\xff");
    assert_eq!(Heard::of(StatusCode::OK, undecodable), Heard::Nothing);
    let Heard::Pintle(answer) = Heard::of(StatusCode::OK, Bytes::new()) else {
        panic!("an answer");
    };
    assert!(answer.member.is_some_and(|member| member.answers));
}

#[test]
fn a_member_that_is_lost_on_the_way_is_named() {
    let with = |members| survey(Line::V3_5, members);
    let of = |id, member| MemberLine { id, ..member };
    let before = with(vec![
        of(1, pintle("m0", Line::V3_5)),
        of(2, pintle("m1", Line::V3_5)),
        of(3, pintle("m2", Line::V3_5)),
        of(4, etcd("m3", "3.6.16")),
    ]);
    let silent = MemberLine {
        name: "m1".to_owned(),
        ..MemberLine::default()
    };
    let after = with(vec![
        of(1, pintle("m0", Line::V3_5)),
        of(2, silent),
        of(3, etcd("m2", "3.5.30")),
        of(4, etcd("m3", "3.6.16")),
    ]);
    let names: Vec<_> = lost(&before, &after).into_iter().map(|f| f.name).collect();
    assert_eq!(names, ["m1", "m2"]);
    assert!(lost(&before, &before).is_empty());
}

#[test]
fn a_downgrade_that_another_one_began_is_as_good() {
    let on_its_way =
        |cluster, downgrade| is_on_its_way(Some(&version(cluster)), downgrade, Line::V3_5);
    assert!(on_its_way(Line::V3_6, Some("3.5.0")));
    assert!(on_its_way(Line::V3_5, None));
    assert!(!on_its_way(Line::V3_6, None));
    assert!(!on_its_way(Line::V3_7, Some("3.6.0")));
}

#[test]
fn a_change_that_is_in_the_log_is_not_given_up() {
    assert!(DOWN.is_decided(Some("3.5.0")));
    assert!(!DOWN.is_decided(None));
    assert!(!UP.is_decided(Some("3.5.0")));
}

#[test]
fn a_change_begins_where_no_other_is_under_way() {
    let six = Some(version(Line::V3_6));
    let seven = Change {
        from: Line::V3_6,
        to: Line::V3_7,
    };
    let against = |kept: Kept, change| kept.blocks(change, six.as_ref());
    assert_eq!(against(Kept::Nothing, DOWN), None);
    assert_eq!(against(Kept::Founded(Line::V3_6), DOWN), None);
    assert_eq!(against(Kept::Change(DOWN), DOWN), None);
    assert_eq!(against(Kept::Change(seven), DOWN), Some(seven));
    assert_eq!(against(Kept::Change(DOWN), seven), Some(DOWN));
    // The cluster is there, and the member is about to forget it.
    assert_eq!(against(Kept::Change(UP), seven), None);
    assert_eq!(Kept::Change(UP).blocks(seven, None), Some(UP));
    for (from, to) in [(Line::V3_5, Line::V3_7), (Line::V3_6, Line::V3_6)] {
        assert!(!Change { from, to }.is_one_step());
    }
    assert!(UP.is_one_step() && DOWN.is_one_step());
}

#[test]
fn what_was_begun_since_is_not_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let six = version(Line::V3_6);
    let spoken = Spoken::new(Line::V3_6);
    let acts = || spoken.of_entries(Some(&version(Line::V3_5)));
    // One that a kill has left.
    std::fs::write(dir.path().join("pintle-line.new"), "x").unwrap();
    let kept = LineKept::new(dir.path().to_owned(), Kept::Nothing, spoken.clone());
    assert_eq!(kept.begin(UP, Some(&version(Line::V3_5))).unwrap(), None);
    assert_eq!(
        kept.begin(DOWN, Some(&version(Line::V3_5))).unwrap(),
        Some(UP)
    );
    assert_eq!(acts(), Line::V3_5);
    assert_eq!(kept.begin(DOWN, Some(&six)).unwrap(), None);
    kept.forget(Kept::Change(UP)).unwrap();
    assert_eq!(kept.get(), Kept::Change(DOWN));
    assert_eq!(super::file::read(dir.path()).unwrap(), kept.get());
    kept.forget(Kept::Change(DOWN)).unwrap();
    assert_eq!(super::file::read(dir.path()).unwrap(), Kept::Nothing);
    assert_eq!(kept.begins(), 2);
    assert_eq!(acts(), Line::V3_6);
}

#[test]
fn every_alarm_keeps_a_cluster_from_another_line() {
    use proto::etcdserverpb::AlarmType::{Corrupt, Nospace};
    assert_eq!(of_alarm(Nospace as i32).kind, "nospace");
    assert_eq!(of_alarm(Corrupt as i32).kind, "corrupt");
    assert_eq!(of_alarm(7).kind, "alarm");
}

#[test]
fn a_change_from_the_file_alone_is_resumed_where_another_member_is_in_it() {
    use Other::{InChange, Lacking, Ready, Resumed, Silent};
    let at = |is_resumed, others: &[Other]| {
        View {
            line: Line::V3_5,
            version: Some(&version(Line::V3_5)),
            downgrade: None,
            is_resumed,
            others,
        }
        .next(Kept::Change(UP))
    };
    assert_eq!(at(true, &[]), Next::GiveUp);
    assert_eq!(at(true, &[Ready, Resumed]), Next::GiveUp);
    assert_eq!(at(true, &[Silent, Resumed]), Next::Wait);
    assert_eq!(at(true, &[Silent, InChange]), Next::Resume);
    assert_eq!(at(true, &[Lacking, InChange]), Next::Resume);
    assert_eq!(at(false, &[InChange, InChange]), Next::Speak(Line::V3_6));
    assert_eq!(at(false, &[InChange, Resumed]), Next::Wait);
}

#[test]
fn a_change_is_taken_back_past_a_member_that_is_down() {
    let down = MemberLine {
        name: "m1".to_owned(),
        ..MemberLine::default()
    };
    let learner = MemberLine {
        is_learner: true,
        ..pintle("m2", Line::V3_5)
    };
    let with = |member: MemberLine| survey(Line::V3_5, vec![member, down.clone(), learner.clone()]);
    let half = with(in_change(UP, pintle("m0", Line::V3_6)));
    assert!(kinds(&half, Line::V3_5).is_empty());
    assert_eq!(kinds(&half, Line::V3_6), ["down", "learner"]);
    let at_rest = with(pintle("m0", Line::V3_5));
    assert_eq!(kinds(&at_rest, Line::V3_5), ["down", "learner"]);
}

#[test]
fn who_joins_during_a_change_down_is_left_behind_until_told() {
    let members = vec![
        in_change(DOWN, pintle("m0", Line::V3_6)),
        pintle("m1", Line::V3_5),
        pintle("m2", Line::V3_6),
        etcd("m3", "3.6.16"),
        MemberLine::default(),
    ];
    let survey = survey(Line::V3_6, members);
    let names: Vec<_> = survey.left_behind(DOWN).map(|m| &*m.name).collect();
    assert_eq!(names, ["m2"]);
}

#[test]
fn the_version_is_lowered_where_all_answer_and_go_together() {
    let target = version(Line::V3_5);
    let with = |members| survey(Line::V3_6, members);
    let goes = |name| in_change(DOWN, pintle(name, Line::V3_6));
    let all = with(vec![goes("m0"), goes("m1"), etcd("m2", "3.6.16")]);
    assert!(all.is_together(Some(DOWN), &target));
    // The leader itself has lost the change, or came after it was begun.
    assert!(!all.is_together(None, &target));
    let silent = with(vec![goes("m0"), goes("m1"), MemberLine::default()]);
    assert!(!silent.is_together(Some(DOWN), &target));
    let joined = with(vec![goes("m0"), pintle("m1", Line::V3_6)]);
    assert!(!joined.is_together(Some(DOWN), &target));
    // A downgrade as of etcd, which no one takes for a change of the line.
    let plain = with(vec![pintle("m0", Line::V3_6), etcd("m1", "3.6.16")]);
    assert!(plain.is_together(None, &target));
}

#[test]
fn what_is_not_a_short_file_of_text_is_no_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pintle-line");
    let read = || super::file::read(dir.path());
    let names_it = || {
        let error = read().unwrap_err().to_string();
        assert!(error.contains("pintle-line: holds no line"), "{error}");
    };
    let long = vec![b'3'; 1 << 20];
    let texts = [
        &b""[..],
        b"\0",
        b"\xff\xfe",
        b"3.6 from 3.6",
        b"3.7 from 3.5",
        &long,
    ];
    for text in texts {
        std::fs::write(&path, text).unwrap();
        names_it();
    }
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    names_it();
    std::fs::remove_dir(&path).unwrap();
    // Neither ends, nor says anything.
    for endless in ["/dev/zero", "/dev/tty"] {
        std::os::unix::fs::symlink(endless, &path).unwrap();
        names_it();
        std::fs::remove_file(&path).unwrap();
    }
    // A link is replaced, and what it leads to left alone.
    let other = dir.path().join("other");
    std::fs::write(&other, "3.6\n").unwrap();
    std::os::unix::fs::symlink(&other, &path).unwrap();
    assert_eq!(read().unwrap(), Kept::Founded(Line::V3_6));
    super::file::write(dir.path(), &UP.to_string()).unwrap();
    assert_eq!(read().unwrap(), Kept::Change(UP));
    assert_eq!(std::fs::read(&other).unwrap(), b"3.6\n");
}
