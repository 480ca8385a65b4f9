//! The etcdctl that people have installed, against the subject and against
//! real etcd: the same commands, the same output, the same exit codes.

use anyhow::{Result, ensure};
use peers::{
    ctl::{Ctl, Line, Outcome, line},
    peer::{self, Program},
    server::Launch,
};

const fn fed(args: &'static str, stdin: &'static str) -> Line {
    Line {
        args,
        stdin,
        lines: None,
    }
}

const fn first(args: &'static str, lines: usize) -> Line {
    Line {
        args,
        stdin: "",
        lines: Some(lines),
    }
}

/// Commands in order; revisions in them count from a fresh store.
fn script() -> Vec<Line> {
    let mut lines = vec![
        line("put a 1"),
        line("put a 2 --prev-kv"),
        line("put a 2 --prev-kv -w json"),
        line("put b/1 x"),
        line("put b/2 y"),
        line("put b/3 z"),
        fed("put c", "from standard input"),
        line("put none --ignore-value"),
        line("put b/1 --ignore-value -w fields"),
        line("put"),
        line("get a"),
        line("get none"),
        line("get a --rev=2"),
        line("get a --rev=1000"),
        line("get b/ --prefix"),
        line("get b/ --prefix --limit=2 -w json"),
        line("get b/ --prefix -w fields"),
        line("get b/ --prefix --keys-only"),
        line("get b/ --prefix --count-only -w json"),
        line("get b/ --prefix --count-only -w fields"),
        line("get b/1 b/3 --print-value-only"),
        line("get b --from-key --order=DESCEND --sort-by=KEY"),
        line("get b/ --prefix --order=DESCEND --sort-by=CREATE"),
        line("get b/ --prefix --sort-by=VALUE -w json"),
        line("get b/ --prefix --consistency=s"),
        line("get b/ --prefix --consistency=x"),
        line("get a -w table"),
        line("get a --hex"),
        line("get  --prefix"),
        fed(
            "txn",
            "mod(\"a\") > \"0\"\n\nput a 3\nget a\nget b/ --prefix\n\nget c\n\n",
        ),
        fed(
            "txn",
            "val(\"a\") = \"nope\"\nver(\"b/1\") > \"0\"\n\nput a 4\n\nget c\ndel c\n\n",
        ),
        fed(
            "txn -w json",
            "create(\"new\") = \"0\"\n\nput new 1\ndel b/3\nget new\n\n\n",
        ),
        fed(
            "txn -w fields",
            "create(\"new\") = \"0\"\n\nput new 1\n\nget new\n\n",
        ),
        fed("txn", "nonsense\n\n\n\n"),
        fed("txn", "\nput a 1\nput a 2\n\n\n"),
        line("del b/1 --prev-kv"),
        line("del none"),
        line("del b/2 b/9 -w json"),
        line("del new -w fields"),
        first("watch --rev=2 a", 9),
        first("watch --rev=2 --prefix b/ --prev-kv", 9),
        first("watch --rev=2 a -w json", 1),
        first("watch --rev=2 a -w fields", 5),
        // Later the store holds lease ids that the server picked.
        line("endpoint hashkv"),
        line("endpoint hashkv -w json"),
        line("lease grant 5000"),
        line("put leased 1 --lease={L}"),
        line("lease timetolive {L}"),
        // With one key: the order of more is not fixed.
        line("lease timetolive {L} --keys"),
        line("lease timetolive {L} --keys -w json"),
        line("put leased/2 1 --lease={L}"),
        line("lease keep-alive {L} --once"),
        line("lease keep-alive {L} --once -w json"),
        line("lease list"),
        line("lease list -w json"),
        line("get leased -w json"),
        line("get leased -w fields"),
        line("lease revoke {L}"),
        line("lease revoke {L}"),
        line("lease timetolive {L}"),
        line("lease keep-alive {L} --once"),
        line("lease grant 9000000001"),
        line("put x 1 --lease=123abc"),
        line("get leased --prefix"),
        line("compaction 5"),
        line("compaction 5"),
        line("compaction 1000"),
        line("compaction 6 --physical"),
        line("get a --rev=3"),
        line("watch --rev=2 a"),
        line("member list"),
        line("member list -w json"),
        line("member list -w fields"),
        line("member list -w table"),
        line("member list --hex -w json"),
        line("member remove 1234"),
        line("member promote 1234"),
        line("member promote 5b64a5100030811d"),
        line("member update 1234 --peer-urls=http://127.0.0.1:9"),
        line("member add x --peer-urls=http://127.0.0.1:2"),
        line("move-leader 1234"),
        line("endpoint health"),
        line("endpoint health -w json"),
        line("endpoint status -w json"),
        line("endpoint status -w fields"),
        line("endpoint hashkv --rev=8 -w fields"),
        line("alarm list"),
        line("alarm disarm"),
        line("defrag"),
        line("snapshot save {DIR}/snap.db"),
        line("snapshot status {DIR}/snap.db -w json"),
        line("lock l echo locked"),
        line("get l --prefix"),
        line("nonsense"),
    ];
    lines.push(first("elect -l unknown", 0));
    lines
}

async fn outputs(program: &Program, ctl: &Ctl) -> Result<Vec<Outcome>> {
    let dir = tempfile::tempdir()?;
    let server = Launch::new(program, &dir.path().join("data"))
        .start()
        .await?;
    let outcomes = ctl.script(server.port(), &script()).await?;
    server.terminate().await?;
    Ok(outcomes)
}

/// Whether Pintle's own etcdctl says what the real one says. It may word an
/// error otherwise, and draw a table otherwise (builds of etcdctl differ in that).
fn alike(line: &Line, ours: &Outcome, theirs: &Outcome) -> bool {
    let cells = |text: &str| -> Vec<String> {
        let words = text.split(|c: char| c.is_whitespace() || "+-|│┌┬┐├┼┤└┴┘─".contains(c));
        words.filter(|w| !w.is_empty()).map(str::to_owned).collect()
    };
    let table = line.args.contains("-w table");
    ours.code == theirs.code
        && ours.stderr.is_empty() == theirs.stderr.is_empty()
        && match table {
            true => cells(&ours.stdout) == cells(&theirs.stdout),
            false => ours.stdout == theirs.stdout,
        }
}

async fn same(
    ours: (&Program, &Ctl),
    theirs: (&Program, &Ctl),
    equal: fn(&Line, &Outcome, &Outcome) -> bool,
) -> Result<()> {
    let (a, b) = tokio::join!(outputs(ours.0, ours.1), outputs(theirs.0, theirs.1));
    let mut differences = Vec::new();
    for ((line, a), b) in script().iter().zip(a?).zip(b?) {
        if !equal(line, &a, &b) {
            differences.push(format!("etcdctl {}\n  {a:?}\n  {b:?}", line.args));
        }
    }
    ensure!(
        differences.is_empty(),
        "{} commands print something else ({} with {} first, {} with {} second):\n{}",
        differences.len(),
        ours.0,
        ours.1.version,
        theirs.0,
        theirs.1.version,
        differences.join("\n")
    );
    Ok(())
}

fn against_both(version: &str) {
    let (Some((subject, reference)), Some(ctl)) = (peer::pair(), Ctl::of(version)) else {
        return;
    };
    peers::run(180, async {
        same((&subject, &ctl), (&reference, &ctl), |_, a, b| a == b).await
    });
    peer::say(&format!(
        "RAN: etcdctl {version}, {} commands",
        script().len()
    ));
}

#[test]
fn of_3_4_23() {
    against_both("3.4.23");
}

#[test]
fn of_3_5_1() {
    against_both("3.5.1");
}

#[test]
fn of_3_5_16() {
    against_both("3.5.16");
}

#[test]
fn of_3_5_30() {
    against_both("3.5.30");
}

/// Pintle under the name `etcdctl` prints what the real one prints; see [`alike`].
#[test]
fn of_pintle_itself() {
    let (Some((subject, reference)), Some(real)) = (peer::pair(), Ctl::of("3.5.30")) else {
        return;
    };
    if !subject.is_pintle {
        peer::say("SKIP: etcdctl of Pintle: no pintle binary");
        return;
    }
    peers::run(180, async {
        let dir = tempfile::tempdir()?;
        let link = dir.path().join("etcdctl");
        std::os::unix::fs::symlink(&subject.path, &link)?;
        let ours = Ctl::at(link, "of pintle");
        same((&reference, &ours), (&reference, &real), alike).await
    });
    peer::say(&format!(
        "RAN: etcdctl of pintle, {} commands",
        script().len()
    ));
}
