//! `plan`: the path of versions and its steps.

use std::{collections::BTreeSet, path::Path};

use cli::flags::Parsed;

use super::allow::allow;
use crate::{
    access::access,
    checks::{self, Finding, Given, Level, Missing},
    exit,
    facts::Facts,
    failure::{Failure, Outcome},
    inspect,
    manifest::Manifest,
    output::{as_json, print},
    plan::{Plan, Wishes},
    run::{self, Named, Refusal, look_around, one_look},
    runtime::block_on,
    sources::sources,
    target::{Target, unknown},
};

pub(super) fn plan(parsed: &Parsed) -> Outcome<i32> {
    let target = Target::parse(parsed.text("target")).map_err(Failure::new)?;
    let json = as_json(parsed)?;
    let available = parsed.list("available");
    let available: Vec<semver::Version> = available
        .iter()
        .map(|text| Target::parse(text).map(|t| t.version).map_err(Failure::new))
        .collect::<Outcome<_>>()?;
    let sources = sources(parsed, &[], false, !parsed.bool("no-databases"))?;
    let wishes = Wishes {
        available: &available,
        pintles: pintles(parsed, &sources.members)?,
        allow_lower_patch: allow(parsed).lower_patch,
        anew: match allow(parsed).new_build {
            true => sources.members.iter().map(|m| m.label.clone()).collect(),
            false => BTreeSet::new(),
        },
        ..Wishes::default()
    };
    let plan = Plan::make(&sources.members, &target, &wishes);
    let mut plan = plan.map_err(|why| match sources.silent.first() {
        Some((endpoint, silent)) => Failure::new(format!("{endpoint}: {silent}")),
        None => Failure::new(why),
    })?;
    let given = Given {
        silent: sources.silent,
        hashes: sources.hashes,
        learners_max: 1,
        now: checks::now(),
        ..Given::default()
    };
    let seen = plan.check(&sources.members, &given);
    if let Some(found) = first_stop(parsed, &sources.members, &plan)? {
        plan.block(found);
    }
    let lacking = seen.map(|seen| seen.missing).unwrap_or_default();
    let becomes = match parsed.text("manifest") {
        "" => {
            plan.flags = flags_of(&sources.members, &target);
            String::new()
        }
        manifest => edits(Path::new(manifest), &mut plan, &target)?,
    };
    let text = match (json, plan.blocked.is_empty()) {
        (true, _) => serde_json::to_string(&plan).map_err(Failure::new)? + "\n",
        (false, false) => blocked(&plan),
        (false, true) => shown(&plan, &lacking, unknown(&target).as_ref()) + &becomes,
    };
    print(&text)?;
    Ok(code(&plan, &lacking))
}

fn code(plan: &Plan, lacking: &[Missing]) -> i32 {
    // What was not looked at may block the first step.
    match (plan.blocked.is_empty(), lacking.is_empty()) {
        (false, _) => exit::STOPPED,
        (true, false) => exit::INCOMPLETE,
        (true, true) => exit::OK,
    }
}

/// Flags of running members that must change for `target`.
fn flags_of(members: &[Facts], target: &Target) -> Vec<(String, String, String)> {
    let lines = members.iter().filter_map(|facts| facts.live.as_ref());
    let words: Vec<String> = lines
        .filter_map(|live| live.command_line.clone())
        .flatten()
        .collect();
    let mut flags = checks::changes(&words, target.minor());
    flags.sort();
    flags.dedup();
    flags
}

/// The manifest at `path` as it must become for each release of the plan.
fn edits(path: &Path, plan: &mut Plan, target: &Target) -> Outcome<String> {
    let mut manifest = Manifest::read(path)?;
    plan.flags = checks::changes(&manifest.settings(), target.minor());
    let mut becomes = String::new();
    for (at, to) in plan.versions.iter().enumerate().skip(1) {
        let pintle = target.is_pintle && at + 1 == plan.versions.len();
        let image = manifest.image_for(to);
        let edited = manifest.edited(&image, to, pintle, &[])?;
        becomes.push_str(&format!(
            "\nthe manifest for {}:\n{}",
            plan.path[at], edited.diff
        ));
        manifest = Manifest::parse(path, edited.text)?;
    }
    Ok(becomes)
}

/// A plan that nothing blocks, for people.
fn shown(plan: &Plan, lacking: &[Missing], unknown: Option<&semver::Version>) -> String {
    let mut text = format!("{}\n\n", plan.path.join(" -> "));
    for (at, step) in plan.steps.iter().enumerate() {
        text.push_str(&format!(
            "{:>3}. {}\n     ({})\n",
            at + 1,
            step.what,
            step.why
        ));
    }
    for (version, flag, instead) in &plan.flags {
        text.push_str(&format!("\nfor {version}: --{flag} becomes {instead}"));
    }
    if !plan.flags.is_empty() {
        text.push('\n');
    }
    if plan.steps.is_empty() {
        text.push_str("nothing to do: every member runs it\n");
    }
    if let Some(newest) = unknown {
        text.push_str(&format!(
            "\nthe target is not known here: the newest 3.{} that is, is {newest}; see whether the number is right\n",
            newest.minor
        ));
    }
    for missing in lacking {
        text.push_str(&format!(
            "\nnot looked at: {} {}: {}\n",
            missing.check, missing.title, missing.lacks
        ));
    }
    text
}

/// What keeps the first member of a plan from being stopped as the cluster is now, by the
/// same decision as `run` makes. Without endpoints no one knows.
fn first_stop(parsed: &Parsed, members: &[Facts], plan: &Plan) -> Outcome<Option<Finding>> {
    let named: Vec<Named> = members
        .iter()
        .filter_map(|facts| {
            Some(Named {
                name: facts.label.clone(),
                endpoint: facts.live.as_ref()?.endpoint.clone(),
                directory: None,
            })
        })
        .collect();
    if named.is_empty() || !plan.blocked.is_empty() {
        return Ok(None);
    }
    let access = access(parsed, None)?;
    let view = block_on(async { Ok(look_around(&access, &named, one_look, None, None).await) })?;
    // With a downgrade under way there is something to do where all run the target, too.
    let refusal = match (&view.downgrade, plan.machine.is_empty()) {
        (Some(to), true) => Some(Refusal::Downgrade { to: to.clone() }),
        _ => run::refusal(&view, plan.machine.iter()),
    };
    Ok(refusal.map(|refusal| Finding {
        check: "stop",
        level: Level::Block,
        member: String::new(),
        seen: refusal.to_string(),
        why: "`pintle upgrade run` would stop no member now".into(),
        fix: view.state(),
    }))
}

/// Why there is no plan.
fn blocked(plan: &Plan) -> String {
    let mut text = format!(
        "BLOCKED: the next step, to {}, must not begin\n",
        plan.path.get(1).map_or("the target", String::as_str)
    );
    for finding in &plan.blocked {
        text.push_str(&format!(
            "\n{} {}: {}\n     why: {}\n     fix: {}\n",
            finding.check, finding.member, finding.seen, finding.why, finding.fix
        ));
    }
    text
}

/// The members that are Pintle, by name.
fn pintles(parsed: &Parsed, members: &[Facts]) -> Outcome<BTreeSet<String>> {
    let access = access(parsed, None)?;
    block_on(async {
        let mut pintles = BTreeSet::new();
        for facts in members {
            let Some(live) = &facts.live else { continue };
            if inspect::is_pintle(&access, &live.endpoint).await == Some(true) {
                pintles.insert(facts.label.clone());
            }
        }
        Ok(pintles)
    })
}
