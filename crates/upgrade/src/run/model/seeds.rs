//! Random faults, random commands. `UPGRADE_MODEL_SEEDS` says how many seeds;
//! `UPGRADE_MODEL_SEED` names the one to look at.

use super::{
    world::{self, Random},
    *,
};

/// Seeds of the gate.
const SEEDS: u64 = 400;

#[derive(Debug, Default)]
struct Count {
    commands: u64,
    kills: u64,
    done: u64,
    taken_back: u64,
    refused: u64,
}

const PATHS: [&[Version]; 6] = [
    &[Version::new(3, 5, 30), Version::new(3, 6, 14)],
    &[Version::new(3, 6, 14), Version::new(3, 7, 1)],
    &[Version::new(3, 5, 16), Version::new(3, 5, 30)],
    &[
        Version::new(3, 5, 30),
        Version::new(3, 6, 14),
        Version::new(3, 7, 1),
    ],
    &[
        Version::new(3, 5, 16),
        Version::new(3, 5, 30),
        Version::new(3, 6, 14),
    ],
    &[Version::new(3, 5, 30), Version::new(3, 5, 33)],
];

/// "Taken back" is said of a cluster that serves on the old release. Who crashed since
/// it last answered has the old manifest all the same.
fn is_taken_back(model: &Model) -> Result<(), String> {
    let world = model.world();
    let before = model.before.borrow();
    for member in world.members.iter().filter(|m| m.in_file) {
        let wanted = before.get(&member.name);
        let has = member.manifest.present.as_ref();
        let is_wanted = |launch: &Launch| {
            let wanted = wanted.map(|(version, pintle)| Launch::of(version, *pintle));
            wanted.is_some_and(|wanted| world::is_same_program(launch, &wanted))
        };
        if !has.is_some_and(is_wanted) {
            return Err(format!("{} has {has:?}, not {wanted:?}", member.name));
        }
        if has.is_some_and(|launch| !launch.flags.is_empty()) {
            return Err(format!("{} keeps flags: {has:?}", member.name));
        }
        let runs = member.process.as_ref();
        let runs = runs.map(|launch| (launch.version.clone(), launch.pintle));
        if runs.as_ref() != wanted && member.crashed_at <= member.answered_at {
            return Err(format!("{} runs {runs:?}, not {wanted:?}", member.name));
        }
    }
    Ok(())
}

/// What must hold when someone has seen to everything: a command leads out.
fn leads_out(model: &Model, random: &mut Random) -> Result<(), String> {
    model.world().see_to_it();
    let mut said = Vec::new();
    for attempt in 0..5 {
        let forward = attempt == 0 && random.one_in(2);
        let came = if forward {
            model.run()
        } else {
            model.roll_back()
        };
        if let Came::Refused(why) = &came {
            said.push(why.clone());
            // Nothing was ever begun here.
            if why.contains("there is no journal") {
                break;
            }
            continue;
        }
        break;
    }
    let world = model.world();
    let running = world.running();
    let first = running.values().next();
    let alike = running
        .values()
        .all(|one| Some(one) == first && one.is_some());
    let has_flags = running
        .values()
        .flatten()
        .any(|(_, flags)| !flags.is_empty());
    match alike && !has_flags && world.has_quorum() {
        true => Ok(()),
        false => Err(format!("no way out: {running:?}; {said:#?}")),
    }
}

fn one(seed: u64, count: &mut Count) -> Result<(), String> {
    let mut random = Random(seed);
    let size = [1, 2, 3, 3, 3, 3, 4, 5][usize::try_from(random.below(8)).unwrap_or(0)];
    let path = PATHS[usize::try_from(random.below(6)).unwrap_or(0)].to_vec();
    let mut world = match random.one_in(4) {
        true => {
            let ways = lines::ways(size);
            let at = usize::try_from(random.below(ways.len() as u64)).unwrap_or(0);
            World {
                random: Random(random.below(u64::MAX)),
                ..ways[at].1.clone()
            }
        }
        false => World::new(size, path, random.below(u64::MAX)),
    };
    world.rarity = [0, 400, 120, 40][usize::try_from(random.below(4)).unwrap_or(0)];
    world.reads_files = random.one_in(2);
    if random.one_in(3) {
        world.stale.insert(1 + random.below(size));
    }
    let model = Model::new(world);
    let commands = 1 + random.below(6);
    for at in 0..commands {
        {
            let mut world = model.world();
            world.calls = 0;
            world.kill_at = random.one_in(2).then(|| 1 + random.below(500));
            world.now += Duration::from_secs(random.below(90));
            world.settle();
        }
        let command = if at == 0 { 0 } else { random.below(5) };
        let name =
            ["run", "run", "rollback", "rollback", "repair"][usize::try_from(command).unwrap_or(0)];
        model.world().note(format!("> {name}"));
        let came = match command {
            0 | 1 => model.run(),
            2 | 3 => model.roll_back(),
            _ => model.repair(),
        };
        model.world().note(format!("< {name}: {came:?}"));
        count.commands += 1;
        match came {
            Came::Killed => count.kills += 1,
            Came::Refused(_) => count.refused += 1,
            Came::Done if name == "rollback" => {
                count.taken_back += 1;
                is_taken_back(&model).map_err(|why| model.with_history(&why))?;
            }
            _ => count.done += 1,
        }
        let wrong = model.world().wrong.first().cloned();
        if let Some(wrong) = wrong {
            return Err(model.with_history(&wrong));
        }
    }
    if model.world().is_changed {
        return Ok(());
    }
    leads_out(&model, &mut random).map_err(|why| model.with_history(&why))?;
    let wrong = model.world().wrong.first().cloned();
    wrong.map_or(Ok(()), |wrong| Err(model.with_history(&wrong)))
}

#[test]
fn no_order_of_commands_and_faults_strands_a_cluster() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse().ok());
    let mut count = Count::default();
    let seeds = match number("UPGRADE_MODEL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("UPGRADE_MODEL_SEEDS").unwrap_or(SEEDS),
    };
    let mut failed = Vec::new();
    for seed in seeds.clone() {
        if let Err(why) = one(seed, &mut count) {
            failed.push((seed, why));
        }
    }
    println!("{} seeds: {count:?}", seeds.end - seeds.start);
    let first = failed
        .first()
        .map(|(seed, why)| format!("seed {seed}: {why}"));
    assert!(
        failed.is_empty(),
        "{} seeds fail: {:?}\n{}",
        failed.len(),
        failed.iter().map(|(seed, _)| seed).collect::<Vec<_>>(),
        first.unwrap_or_default()
    );
    if seeds.end - seeds.start >= SEEDS {
        assert!(count.taken_back > 20 && count.done > 100 && count.kills > 50);
    }
}
