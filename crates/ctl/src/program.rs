//! From a command line to an exit code: find the command, read its flags, run
//! it, say how it ended.

use std::io::Write as _;

use cli::{
    command::{Body, find},
    completion,
    flags::{self, HELP, Parsed},
};

use crate::{
    alarm, check, downgrade, elect, endpoint,
    failure::{EXIT_ERROR, Failure, Outcome},
    help, kv, lease, line, lock, maintenance, member, mirror, move_leader, role, snapshot,
    spec::{Action, COMMANDS, Command, GLOBAL},
    terminal::print_all,
    txn, user, watch,
};

/// The version of etcd whose etcdctl this is.
const ETCDCTL_VERSION: &str = "3.5.30";
const API_VERSION: &str = "3.5";

/// Runs etcdutl with the arguments after the program name, for the commands of
/// etcdctl that work on files; returns its exit code.
pub type Offline = fn(Vec<String>) -> i32;

/// The name that the program was called by: its pages and hints have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// As etcdctl: everything is as there.
    Etcdctl,
    /// As `pintle ctl`: a word that names no command of a group is an error.
    PintleCtl,
}

impl Called {
    /// As it is typed.
    fn name(self) -> &'static str {
        match self {
            Called::Etcdctl => "etcdctl",
            Called::PintleCtl => "pintle ctl",
        }
    }

    /// The name of the program for files.
    fn offline(self) -> &'static str {
        match self {
            Called::Etcdctl => "etcdutl",
            Called::PintleCtl => "pintle utl",
        }
    }
}

/// Runs the program; errors end up on stderr. `offline` runs etcdutl.
pub(crate) fn run(called: Called, words: Vec<Vec<u8>>, offline: Offline) -> i32 {
    match dispatch(called, words, offline) {
        Ok(code) => code,
        Err(failure) => {
            // Whoever reads stderr may be gone; the code says the same.
            let mut stderr = std::io::stderr().lock();
            if let Some(message) = failure.message {
                let _ = writeln!(stderr, "Error: {message}");
            }
            if let Some(hint) = failure.hint {
                let _ = writeln!(stderr, "{hint}");
            }
            failure.code
        }
    }
}

fn dispatch(called: Called, words: Vec<Vec<u8>>, offline: Offline) -> Outcome<i32> {
    let name = called.name();
    let misread = |path: &[&Command], reason: String| {
        let names: String = path.iter().map(|c| format!(" {}", c.name)).collect();
        let hint = format!("Run '{name}{names} --help' for usage.");
        Failure::new(EXIT_ERROR, reason).with_hint(hint)
    };
    if words.first().is_some_and(|word| word == b"--version") {
        return version().map(|()| 0);
    }
    let found = find(name, COMMANDS, GLOBAL, words).map_err(|reason| misread(&[], reason))?;
    let path = found.path;
    if let Some(reason) = found.stray.filter(|_| called == Called::PintleCtl) {
        return Err(misread(&path, reason));
    }
    if let Some(name) = found.no_topic {
        eprintln!("Unknown help topic [`{name}`]");
    }
    if found.asks_help {
        return page(&help::command(name, &path));
    }
    if let Some(Body::Run(Action::Offline)) = path.last().map(|command| &command.body) {
        let names: Vec<_> = path.iter().map(|command| command.name).collect();
        return Ok(hand_over(called, &names, &found.words, offline));
    }
    let own = path.iter().flat_map(|command| command.flags);
    let mut parsed =
        flags::parse(&found.words, GLOBAL.iter().chain(own)).map_err(|reason| match called {
            Called::Etcdctl => misread(&path, reason),
            Called::PintleCtl => {
                let own = path.iter().flat_map(|command| command.flags);
                let reason = flags::with_suggestion(reason, GLOBAL.iter().chain(own));
                misread(&path, reason)
            }
        })?;
    let Some(command) = path.last() else {
        return page(&help::program(name));
    };
    if parsed.bool(HELP) {
        return page(&help::command(name, &path));
    }
    match command.body {
        Body::Group(_) => page(&help::command(name, &path)),
        Body::Run(Action::Defrag) if !parsed.text("data-dir").is_empty() => {
            Ok(hand_over(called, &["defrag"], &found.words, offline))
        }
        Body::Run(action) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| Failure::new(EXIT_ERROR, format!("no runtime: {error}")))?;
            let outcome = runtime.block_on(act(action, &mut parsed));
            // A thread may be blocked on stdin; it must not hold up the end.
            runtime.shutdown_background();
            outcome.map(|()| 0)
        }
    }
}

/// Lets etcdutl do what works on files. Flags that are about a server have no
/// meaning there.
fn hand_over(called: Called, names: &[&str], words: &[Vec<u8>], offline: Offline) -> i32 {
    let names = names.join(" ");
    eprintln!("Deprecated: Use `{} {names}` instead.\n", called.offline());
    let online: Vec<_> = GLOBAL
        .iter()
        .filter(|flag| flag.name != "write-out")
        .copied()
        .collect();
    let mut line: Vec<String> = names.split(' ').map(str::to_owned).collect();
    let words = flags::without(words, &online);
    line.extend(
        words
            .iter()
            .map(|word| String::from_utf8_lossy(word).into_owned()),
    );
    offline(line)
}

async fn act(action: Action, parsed: &mut Parsed) -> Outcome {
    match action {
        Action::Version => version(),
        Action::Get => kv::get(parsed).await,
        Action::Put => kv::put(parsed).await,
        Action::Del => kv::del(parsed).await,
        Action::Txn => txn::run(parsed).await,
        Action::Compaction => maintenance::compaction(parsed).await,
        Action::AlarmDisarm => alarm::disarm(parsed).await,
        Action::AlarmList => alarm::list(parsed).await,
        Action::Defrag => maintenance::defrag(parsed).await,
        Action::EndpointHealth => endpoint::health(parsed).await,
        Action::EndpointStatus => endpoint::status(parsed).await,
        Action::EndpointHashKv => endpoint::hash_kv(parsed).await,
        Action::MoveLeader => move_leader::run(parsed).await,
        Action::Watch => watch::run(parsed).await,
        Action::LeaseGrant => lease::grant(parsed).await,
        Action::LeaseRevoke => lease::revoke(parsed).await,
        Action::LeaseTimeToLive => lease::time_to_live(parsed).await,
        Action::LeaseList => lease::list(parsed).await,
        Action::LeaseKeepAlive => lease::keep_alive(parsed).await,
        Action::MemberAdd => member::add(parsed).await,
        Action::MemberRemove => member::remove(parsed).await,
        Action::MemberUpdate => member::update(parsed).await,
        Action::MemberList => member::list(parsed).await,
        Action::MemberPromote => member::promote(parsed).await,
        Action::SnapshotSave => snapshot::save(parsed).await,
        Action::Offline => Err(Failure::new(EXIT_ERROR, "this runs in etcdutl")),
        Action::MakeMirror => mirror::run(parsed).await,
        Action::Lock => lock::run(parsed).await,
        Action::Elect => elect::run(parsed).await,
        Action::AuthEnable => user::auth_enable(parsed).await,
        Action::AuthDisable => user::auth_disable(parsed).await,
        Action::AuthStatus => user::auth_status(parsed).await,
        Action::UserAdd => user::add(parsed).await,
        Action::UserDelete => user::delete(parsed).await,
        Action::UserGet => user::get(parsed).await,
        Action::UserList => user::list(parsed).await,
        Action::UserPasswd => user::passwd(parsed).await,
        Action::UserGrantRole => user::grant_role(parsed).await,
        Action::UserRevokeRole => user::revoke_role(parsed).await,
        Action::RoleAdd => role::add(parsed).await,
        Action::RoleDelete => role::delete(parsed).await,
        Action::RoleGet => role::get(parsed).await,
        Action::RoleList => role::list(parsed).await,
        Action::RoleGrantPermission => role::grant_permission(parsed).await,
        Action::RoleRevokePermission => role::revoke_permission(parsed).await,
        Action::CheckPerf => check::perf(parsed).await,
        Action::CheckDatascale => check::datascale(parsed).await,
        Action::DowngradeValidate | Action::DowngradeEnable | Action::DowngradeCancel => {
            downgrade::run(parsed, action).await
        }
        Action::Line => line::run(parsed).await,
        Action::Completion(shell) => completion(shell),
    }
}

fn completion(shell: &str) -> Outcome {
    let script = completion::script(shell, "etcdctl", COMMANDS, GLOBAL).unwrap_or_default();
    print_all(script.as_bytes())
}

fn version() -> Outcome {
    print_all(
        format!(
            "etcdctl version: {ETCDCTL_VERSION}\nAPI version: {API_VERSION}\nPintle version: {}\n",
            env!("CARGO_PKG_VERSION")
        )
        .as_bytes(),
    )
}

fn page(text: &str) -> Outcome<i32> {
    print_all(text.as_bytes()).map(|()| 0)
}
