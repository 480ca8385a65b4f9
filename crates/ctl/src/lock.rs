//! `lock`: waits for a named lock, then holds it until interrupted or for as
//! long as a command runs. The key must never outlive the program by more than
//! its lease.

use bytes::Bytes;
use cli::flags::Parsed;

use crate::{
    child,
    failure::{EXIT_ERROR, Failure, Outcome},
    global::Global,
    session::{Interrupts, Session, Turn, canceled},
};

/// `etcdctl lock`.
pub(crate) async fn run(parsed: &mut Parsed) -> Outcome {
    let [name, exec @ ..] = parsed.args.as_slice() else {
        return Err(Failure::bad_args(
            "lock takes a lock name argument and an optional command to execute",
        ));
    };
    let (name, exec) = (name.clone(), exec.to_vec());
    let ttl = parsed.int("ttl");
    let global = Global::resolve(parsed)?;
    if exec.is_empty() {
        global.output.refuse_table()?;
    }
    let client = global.client().await?;
    let mut interrupts = Interrupts::catch()?;
    let mut session = Session::open(&client, ttl).await?;
    let mut turn = Turn::take(&client, &name, session.lease, Bytes::new()).await?;
    let waited = tokio::select! {
        waited = turn.wait(&client) => waited.map_err(Failure::from),
        () = interrupts.received() => Err(canceled()),
    };
    if let Err(failure) = waited {
        turn.give_up(&client).await?;
        return Err(failure);
    }
    let held = turn.look(&client).await?;
    if held.kvs.is_empty() {
        return Err(Failure::new(EXIT_ERROR, "mutex: session is expired"));
    }
    if !exec.is_empty() {
        let env = [
            (
                "ETCD_LOCK_KEY",
                String::from_utf8_lossy(&turn.key).into_owned(),
            ),
            ("ETCD_LOCK_REV", turn.revision.to_string()),
        ];
        // The lease must stay alive while the command runs.
        let ended = tokio::task::spawn_blocking(move || child::run(&exec, &env)).await;
        let released = turn.give_up(&client).await;
        let ended = ended.map_err(|error| Failure::new(EXIT_ERROR, error.to_string()))?;
        ended.map_err(|trouble| Failure::new(trouble.code.unwrap_or(EXIT_ERROR), trouble.why))?;
        return Ok(released?);
    }
    global.output.show(&held)?;
    tokio::select! {
        () = interrupts.received() => Ok(turn.give_up(&client).await?),
        () = session.ended() => Err(Failure::new(EXIT_ERROR, "session expired")),
    }
}
