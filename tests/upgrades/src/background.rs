//! Commands of the tool that run while a test looks on, and ends them.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use peers::peer;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::{
    operated::begun,
    scripted::{MEMBERS, Scripted},
};

const WITHIN: Duration = Duration::from_secs(240);

/// A command in a process group of its own that writes what it says to a file.
///
/// # Errors
/// It cannot be started.
pub fn start(mut command: Command, said_to: &Path) -> Result<Child> {
    let log = fs::File::create(said_to)?;
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    Ok(command.process_group(0).spawn()?)
}

/// Waits until `is_so`, as long as `child` runs.
///
/// # Errors
/// It ended before, or it never was.
pub fn wait(child: &mut Child, said_to: &Path, is_so: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + WITHIN;
    while !is_so() {
        let said = || fs::read_to_string(said_to).unwrap_or_default();
        ensure!(child.try_wait()?.is_none(), "it ended before: {}", said());
        ensure!(Instant::now() < deadline, "it never came there: {}", said());
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// The exit code of a command that was signalled with its whole group, and what it said.
///
/// # Errors
/// It cannot be signalled.
pub fn terminated(mut child: Child, said_to: &Path) -> Result<(Option<i32>, String)> {
    kill_process_group(Pid::from_child(&child), Signal::TERM)?;
    let code = child.wait()?.code();
    Ok((code, fs::read_to_string(said_to)?))
}

/// Whether a file has this text.
pub fn holds(path: &Path, text: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|all| all.contains(text))
}

/// The members in the order in which the plan in the journal swaps them.
fn order(cluster: &Scripted) -> Result<Vec<usize>> {
    let text = fs::read_to_string(cluster.journal())?;
    let plan: serde_json::Value = serde_json::from_str(text.lines().next().context("empty")?)?;
    let steps = plan["steps"].as_array().context("no steps")?;
    let swaps = steps.iter().filter(|step| step["step"] == "swap");
    let names = swaps.filter_map(|step| step["member"].as_str()?.strip_prefix('m')?.parse().ok());
    Ok(names.collect())
}

/// A run to 3.6.14 that is killed when it has begun with its second member, and has not
/// stopped that yet. Gives the members in the order of its steps.
///
/// # Errors
/// The cluster or the run does not start.
pub async fn cut_off(pintle: &peer::Program) -> Result<(Scripted, [usize; MEMBERS])> {
    loop {
        let cluster = Scripted::proxied(pintle, &["3.5.30", "3.6.14"])?;
        cluster.grow("3.5.30").await?;
        let log = cluster.at("run.log");
        let mut run = start(cluster.tool("run", "3.6.14"), &log)?;
        // The look at the way, the first member, the second one.
        let begun = || begun(&cluster.journal()) >= 3;
        tokio::task::block_in_place(|| wait(&mut run, &log, begun))?;
        run.kill()?;
        run.wait()?;
        let order = order(&cluster)?;
        let [first, second, third] = order[..] else {
            anyhow::bail!("{order:?}");
        };
        if !cluster.events().contains(&format!("stop m{second}")) {
            return Ok((cluster, [first, second, third]));
        }
    }
}
