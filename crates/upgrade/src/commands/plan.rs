//! `plan`: the path of versions and its steps.

use std::{collections::BTreeSet, path::Path};

use cli::flags::Parsed;

use super::{allow::allow, next::after_plan};
use crate::{
    access::access,
    checks::{self, Finding, Given, Level, Missing},
    exit,
    facts::Facts,
    failure::{Failure, Outcome},
    hops::How,
    manifest::Manifest,
    output::{as_json, json_line, print},
    plan::{Plan, Wishes},
    report::{self, Context},
    run::{self, Named, Refusal, look_around, one_look},
    runtime::block_on,
    sources::{self, sources},
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
        pintles: sources::pintles(parsed, &sources.members)?,
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
    plan.compare(&sources.members, &target, &wishes);
    let seen = plan.check(&sources.members, &given);
    if let Some(found) = first_stop(parsed, &sources.members, &plan)? {
        plan.block(found);
    }
    let lacking = seen.map(|seen| seen.missing).unwrap_or_default();
    let starts_etcd = plan.hops.iter().any(|hop| hop.how == How::Etcd);
    let becomes = match parsed.text("manifest") {
        // Pintle knows the flags of all lines.
        "" if starts_etcd => {
            plan.flags = flags_of(&sources.members, &target);
            String::new()
        }
        "" => String::new(),
        manifest => {
            let manifest = Manifest::read(Path::new(manifest))?;
            if starts_etcd {
                plan.flags = checks::changes(&manifest.settings(), target.minor());
            }
            edits(manifest, &plan)?
        }
    };
    let next = after_plan(parsed, &sources.members, &plan, &lacking);
    let text = match (json, plan.blocked.is_empty()) {
        (true, _) => {
            let mut value = serde_json::to_value(&plan).map_err(Failure::new)?;
            value["next"] = next.line().into();
            report::join(&mut value, &Context::of(&sources.members));
            json_line(value)
        }
        (false, false) => blocked(&plan) + "\n" + &next.text(),
        (false, true) => {
            let shown = shown(&plan, &lacking, unknown(&target).as_ref());
            shown + &becomes + "\n" + &next.text()
        }
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

/// The manifest as it must become for each release of the plan.
fn edits(mut manifest: Manifest, plan: &Plan) -> Outcome<String> {
    let path = manifest.path().to_owned();
    let mut becomes = String::new();
    for hop in plan.hops.iter().filter(|hop| hop.how != How::Line) {
        let image = manifest.image_for(&hop.to);
        let edited = manifest.edited(&image, &hop.to, hop.how == How::Pintle, &[])?;
        becomes.push_str(&format!(
            "\nthe manifest for {}:\n{}",
            hop.words(),
            edited.diff
        ));
        manifest = Manifest::parse(&path, edited.text)?;
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
    match plan.steps.is_empty() {
        true => text.push_str("nothing to do: every member runs it\n"),
        false => text.push_str(&costs(plan)),
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

/// What a plan costs, and the other one, where there is one.
fn costs(plan: &Plan) -> String {
    let mut text = format!("\nit takes {}\n", plan.estimate.words());
    if let Some(other) = &plan.other {
        text.push_str(&format!(
            "or --target {}: {}\n   takes {}\n",
            other.target,
            other.path.join(" -> "),
            other.estimate.words()
        ));
    }
    text.push_str("(times are of small members on one machine)\n");
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
    let of = |member: &Named| (member.name.clone(), member.endpoint.clone());
    let endpoints: Vec<(String, String)> = named.iter().map(of).collect();
    let (view, refusal) = block_on(async {
        let view = look_around(&access, &named, one_look, None, None).await;
        // With a downgrade under way there is something to do where all run the target, too.
        let refusal = match (&view.downgrade, plan.machine.is_empty()) {
            (Some(to), true) => Some(Refusal::Downgrade { to: to.clone() }),
            _ => run::refusal(&access, &endpoints, &view, plan.machine.iter()).await,
        };
        Ok((view, refusal))
    })?;
    Ok(refusal.map(|refusal| Finding {
        check: match &refusal {
            Refusal::Line { .. } => "line",
            _ => "stop",
        },
        level: Level::Block,
        member: String::new(),
        seen: refusal.to_string(),
        why: "`pintle upgrade run` would not begin as the cluster is now".into(),
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
