//! The directories that other tests are given are as sick as their row says.

use anyhow::{Result, ensure};
use peers::peer;
use upgrades::{bucket, reality::Reality, rows, workshop};

/// Makes the directories of a row and compares the count of stale learners, one
/// number per member, and of zombies in every database.
fn is_sick(id: &str, stale_learners: &'static [usize], zombies: usize) {
    let row = rows::find(id).expect("a row of the table");
    let missing = workshop::missing(row);
    if !missing.is_empty() {
        peer::say(&format!("SKIP: {id}: {}", missing.join("; ")));
        return;
    }
    peers::run(90, async move {
        let (_kept, cases) = workshop::make(row).await?;
        ensure!(cases.len() == stale_learners.len(), "{cases:?}");
        for (case, stale_learners) in cases.iter().zip(stale_learners) {
            let found = (case.sick.stale_learners.len(), case.sick.zombies.len());
            ensure!(
                found == (*stale_learners, zombies),
                "{}: (stale learners, zombies) {found:?}",
                case.id
            );
            ensure!(case.real.is_none(), "{} was started", case.id);
            ensure!(case.dirs.len() == cases.len(), "{:?}", case.dirs);
            for dir in &case.dirs {
                // Every one of them can be read at rest.
                bucket::read(dir)?;
            }
        }
        Ok(())
    });
}

#[test]
fn promotions_of_3_5_16_are_lost_in_every_database() {
    is_sick("U1", &[2, 2, 2], 0);
}

#[test]
fn one_restart_on_3_5_30_heals_the_record_of_who_restarts_and_it_was_well() {
    is_sick("U8/one", &[2, 2, 2], 0);
}

#[test]
fn two_restarts_on_3_5_30_heal_one_record() {
    // Not in the database of the one that does not: 3.5.16 overwrites nothing.
    is_sick("U8", &[1, 1, 2], 0);
}

#[test]
fn a_restore_by_3_4_leaves_its_old_members() {
    is_sick("U13", &[0], 3);
}

#[test]
fn a_planted_zombie_is_in_every_database() {
    is_sick("U22", &[0, 0, 0], 1);
}

/// A predictor of one rule, to show the seam: two stale learners are too many
/// for 3.6, whatever the last snapshot has. It is wrong exactly where that matters.
struct OneRule;

impl upgrades::Predict for OneRule {
    fn predict(&self, dirs: &[std::path::PathBuf], target: &str) -> Result<Reality> {
        let view = bucket::read(&dirs[0])?;
        let learners = view.members.iter().filter(|m| m.is_learner).count();
        Ok(match target.starts_with("3.6.") && learners > 1 {
            true => Reality::Refuses {
                text: "too many learner members in cluster".to_owned(),
            },
            false => Reality::Boots {
                healed: Vec::new(),
                zombies: Vec::new(),
                learners_shown: Vec::new(),
            },
        })
    }
}

#[test]
fn a_predictor_is_held_against_what_happened() {
    use upgrades::predict::{Verdict, judge};
    let (u1, u2) = (rows::find("U1").expect("U1"), rows::find("U2").expect("U2"));
    if !(workshop::missing(u1).is_empty() && workshop::missing(u2).is_empty()) {
        peer::say("SKIP: etcd 3.5.16 or 3.6.14 is missing");
        return;
    }
    peers::run(120, async move {
        let right = workshop::run(u1).await?;
        let verdicts = judge(&OneRule, &right.cases)?;
        ensure!(
            verdicts.iter().all(|(_, v)| *v == Verdict::Right) && !verdicts.is_empty(),
            "{verdicts:?}"
        );
        let wrong = workshop::run(u2).await?;
        let verdicts = judge(&OneRule, &wrong.cases)?;
        ensure!(
            matches!(verdicts.first(), Some((_, Verdict::FalseAlarm(_)))),
            "{verdicts:?}"
        );
        Ok(())
    });
}
