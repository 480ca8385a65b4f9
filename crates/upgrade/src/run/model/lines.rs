//! Members that run Pintle in the model: they change their line together, one after the other, and
//! go on by themselves when whoever asked is gone. Then a run and a rollback over lines.

use line::Line;
use proto::pintlepb::MemberLine;

use super::*;

const OLD: Version = Version::new(3, 5, 30);

fn release(minor: u64) -> Version {
    let version = Version::new(3, minor, 0);
    Line::of(&version).map_or(version, Line::release_version)
}

/// A cluster of Pintle at 3.5.
fn pintles(count: u64, target: &str, last: Version) -> World {
    let mut world = World::new(count, vec![release(5), last], 1);
    for member in &mut world.members {
        for launch in [&mut member.manifest.present, &mut member.process] {
            launch.iter_mut().for_each(|launch| launch.pintle = true);
        }
    }
    world.was_pintle = true;
    world.target = target.to_owned();
    world
}

/// Ways over lines: to Pintle and up, up alone, and up to a binary of etcd.
pub(super) fn ways(count: u64) -> Vec<(&'static str, World)> {
    let mut swapped = World::new(count, vec![OLD, release(7)], 1);
    swapped.target = "pintle:3.7".to_owned();
    let etcd = Version::new(3, 7, 1);
    vec![
        ("by Pintle", swapped),
        ("by lines", pintles(count, "pintle:3.7", release(7))),
        (
            "by a line to etcd",
            pintles(count, &etcd.to_string(), etcd.clone()),
        ),
    ]
}

impl World {
    /// The line at which Pintle starts: that of the cluster, as far as it knows.
    pub(super) fn line_found(&self, at: usize) -> Version {
        release(match self.has_quorum() {
            true => self.cluster_version,
            false => self.members[at].seen_version,
        })
    }

    /// Continues the change that the members have in hand: up once all are there, down as each
    /// one is; one of them at a time.
    pub(super) fn follow_lines(&mut self) {
        let Some((from, to)) = self.line else { return };
        let all_up = self.members.iter().all(|m| m.process.is_some());
        if to > from && !all_up {
            return;
        }
        let running = self.members.iter_mut().filter(|m| m.process.is_some());
        let mut behind = running.filter(|m| m.process.as_ref().is_some_and(|p| is_behind(p, to)));
        if let Some(member) = behind.next() {
            let process = member.process.as_mut().expect("it runs");
            process.version = release(to);
            let name = member.name.clone();
            self.note(format!("{name} speaks 3.{to}"));
        } else if all_up && self.cluster_version == to && self.downgrade.is_none() {
            self.line = None;
        }
    }

    /// What a member says of the lines of all.
    pub(super) fn lines(&self, asked: &str, target: &str) -> Result<ShowResponse, CallError> {
        if !self.runs_pintle(asked) {
            return Err(super::super::cluster::of_etcd());
        }
        let shown = self.members.iter().map(|member| {
            let process = member.process.as_ref();
            let version = process.map(|p| p.version.clone());
            let storage = version.as_ref().map(|v| v.minor.min(self.cluster_version));
            MemberLine {
                id: member.id,
                name: member.name.clone(),
                answers: member.is_ready && process.is_some() && !member.is_frozen,
                release: version.map(|v| v.to_string()).unwrap_or_default(),
                pintle: process.filter(|p| p.pintle).map_or("", |_| "1").to_owned(),
                storage_version: storage.map(|s| format!("3.{s}.0")).unwrap_or_default(),
                change: self
                    .line
                    .map(|(from, to)| format!("3.{to} from 3.{from}"))
                    .unwrap_or_default(),
                ..MemberLine::default()
            }
        });
        let goal = Version::parse(&format!("{target}.0")).map(|v| v.minor);
        Ok(ShowResponse {
            cluster_version: self.version().to_string(),
            downgrade_target: self
                .downgrade
                .map(|to| format!("3.{to}.0"))
                .unwrap_or_default(),
            members: shown.collect(),
            findings: goal.map_or(Vec::new(), |goal| self.kept_from_line(goal)),
        })
    }

    /// What keeps the members from a line.
    fn kept_from_line(&self, goal: u64) -> Vec<Finding> {
        let found = |name: &str, kind: &str, text: &str| Finding {
            name: name.to_owned(),
            kind: kind.to_owned(),
            text: text.to_owned(),
            ..Finding::default()
        };
        let mut findings = Vec::new();
        if self.cluster_version.abs_diff(goal) > 1 {
            findings.push(found(
                "",
                "too_far",
                "a cluster goes one minor version at a time",
            ));
        }
        if self
            .downgrade
            .is_some_and(|to| to != goal && to + 1 != goal)
        {
            findings.push(found("", "downgrade", "a downgrade is under way"));
        }
        if !self.alarms.is_empty() {
            findings.push(found("", "alarm", "an alarm is raised"));
        }
        for member in &self.members {
            match &member.process {
                None => findings.push(found(&member.name, "down", "does not answer")),
                Some(process) if !process.pintle => {
                    findings.push(found(&member.name, "swap", "runs etcd"));
                }
                Some(_) => {}
            }
        }
        findings
    }

    pub(super) fn set_line(
        &mut self,
        asked: &str,
        target: &str,
    ) -> Result<Vec<Finding>, CallError> {
        let findings = self.lines(asked, target)?.findings;
        if !findings.is_empty() {
            return Ok(findings);
        }
        let goal = Version::parse(&format!("{target}.0")).map_or(0, |v| v.minor);
        let from = self
            .line
            .map_or(self.cluster_version, |(from, to)| match to == goal {
                true => from,
                false => to,
            });
        self.note(format!("the line is set from 3.{from} to 3.{goal}"));
        self.line = Some((from, goal));
        if goal < self.cluster_version {
            self.cluster_version = goal;
            self.downgrade = Some(goal);
        }
        // One that was begun before is taken back.
        if goal > self.cluster_version {
            self.downgrade = None;
        }
        Ok(Vec::new())
    }
}

fn is_behind(process: &Launch, to: u64) -> bool {
    process.pintle && process.version.minor != to
}

/// Members that were stopped since the history had `known` lines.
fn stops(model: &Model, known: usize) -> usize {
    let world = model.world();
    let history = world.history[known..].iter();
    history.filter(|line| line.ends_with("is stopped")).count()
}

#[test]
fn a_hop_by_lines_restarts_no_one_and_is_taken_back_by_lines() {
    let (_, world) = ways(3).remove(1);
    let model = Model::new(world);
    assert_eq!(model.run(), Came::Done);
    assert_eq!(model.world().cluster_version, 7);
    assert_eq!(model.run(), Came::Nothing);
    assert_eq!(model.roll_back(), Came::Done);
    assert_eq!(model.world().cluster_version, 5);
    assert_eq!(stops(&model, 0), 0, "{:#?}", model.world().history);
}

#[test]
fn over_two_minor_versions_pintle_restarts_each_member_once_each_way() {
    let (_, world) = ways(3).remove(0);
    let model = Model::new(world);
    assert_eq!(model.run(), Came::Done);
    assert_eq!(stops(&model, 0), 3);
    let known = model.world().history.len();
    assert_eq!(model.roll_back(), Came::Done);
    assert_eq!(stops(&model, known), 3);
}

#[test]
fn what_keeps_the_members_from_a_line_ends_the_run_and_nothing_is_begun() {
    let (_, mut world) = ways(3).remove(1);
    world.downgrade = Some(9);
    let model = Model::new(world);
    let came = model.run();
    let Came::Refused(why) = came else {
        panic!("{came:?}");
    };
    assert!(why.contains("downgrade"), "{why}");
    let history = model.world().history.join("\n");
    assert!(!history.contains("the line is set"), "{history}");
}

/// A run of the second way that is killed once the cluster version is `3.minor`.
fn killed_at_line(minor: u64) -> Model {
    let (_, world) = ways(3).remove(1);
    for call in 1.. {
        let model = Model::new(world.clone());
        model.world().kill_at = Some(call);
        assert_eq!(model.run(), Came::Killed, "it never came to 3.{minor}");
        if model.world().cluster_version == minor {
            model.world().kill_at = None;
            return model;
        }
    }
    unreachable!("it ends");
}

#[test]
fn a_member_that_was_stopped_by_hand_comes_back_at_the_line_of_the_others() {
    for command in [Model::run, Model::roll_back] {
        for minor in [6, 7] {
            let model = killed_at_line(minor);
            {
                let mut world = model.world();
                let member = world.find("n2");
                (member.process, member.is_ready) = (None, false);
                member.manifest.present = None;
                world.settle();
            }
            let came = command(&model);
            let history = model.world().history.join("\n");
            assert_eq!(came, Came::Done, "at 3.{minor}\n{history}");
            let world = model.world();
            assert!(world.wrong.is_empty(), "{:?}", world.wrong);
            assert!(world.running().values().all(Option::is_some), "{history}");
        }
    }
}

/// Whether the turn is there after a signal that finds no member in hand.
fn has_turn_after_signal(model: &Model, engine: &Engine<'_, Handle, Handle>) -> bool {
    model.world().kill_at = None;
    drive(engine.leave_between()).expect("an end");
    model.world().lock.is_some()
}

#[test]
fn a_signal_while_the_line_changes_keeps_the_turn() {
    let (mut up, mut down) = (0, 0);
    for call in 1.. {
        let (_, world) = ways(3).remove(1);
        let model = Model::new(world);
        model.world().kill_at = Some(call);
        if model.run() != Came::Killed {
            break;
        }
        if model.world().line.is_none() {
            continue;
        }
        let (mut driver, cluster) = (model.world.clone(), model.world.clone());
        let journal = Journal::open(model.state.path()).expect("a journal");
        let engine = model.engine(&mut driver, &cluster, journal);
        let why = format!("killed at call {call} of a run");
        assert!(has_turn_after_signal(&model, &engine), "{why}");
        up += 1;
    }
    for call in 1.. {
        let (_, world) = ways(3).remove(1);
        let model = Model::new(world);
        assert_eq!(model.run(), Came::Done);
        let (mut driver, cluster) = (model.world.clone(), model.world.clone());
        let mut journal = Journal::reopen(model.state.path()).expect("a journal");
        journal.take_up().expect("a journal");
        let mut engine = model.engine(&mut driver, &cluster, journal);
        model.world().calls = 0;
        model.world().kill_at = Some(call);
        if drive(engine.rollback()).is_some() {
            break;
        }
        if model.world().line.is_none() {
            continue;
        }
        let why = format!("killed at call {call} of a rollback");
        assert!(has_turn_after_signal(&model, &engine), "{why}");
        down += 1;
    }
    assert!(up > 5 && down > 5, "{up} up, {down} down");
}

#[test]
fn a_dry_run_of_a_journal_says_that_a_member_that_is_down_is_started() {
    for minor in [6, 7] {
        let model = killed_at_line(minor);
        model.world().crash(1, true);
        let (mut driver, cluster) = (model.world.clone(), model.world.clone());
        let target = Target::parse(&model.world().target).expect("a target");
        let journal = Journal::open(model.state.path()).expect("a journal");
        let mut engine = model.engine(&mut driver, &cluster, journal);
        let outlook = drive(async {
            let steps = engine.begin(&target, Allow::default(), false).await?;
            engine.outlook_ahead(&steps).await
        });
        let outlook = outlook.expect("an answer").expect("an outlook");
        assert!(!outlook.is_refused, "at 3.{minor}: {outlook:?}");
        let said = "n2 does not answer: it is started first";
        assert!(outlook.lines.iter().any(|line| line == said), "{outlook:?}");
    }
}
