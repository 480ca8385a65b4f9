use line::{Change, Kept, Line};
use proto::pintlepb::MemberLine;
use semver::Version;

use super::{
    judge::judge,
    next::{Next, Other, View},
    set::Plan,
    survey::Survey,
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
    for (member, other) in [
        (MemberLine::default(), Other::Silent),
        (pintle("m0", Line::V3_5), Other::Lacking),
        (pintle("m0", Line::V3_6), Other::Ready),
        (begun, Other::Ready),
        (etcd("m0", "3.5.30"), Other::Lacking),
        (etcd("m0", "3.6.0"), Other::Ready),
    ] {
        assert_eq!(Other::of(&member, UP), other, "{member:?}");
    }
}
