//! A member that is made to crash, to wait and to fail from outside, as tests of etcd do it:
//! `cargo test -p pintle --features failpoints`.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread,
};

const PINTLE: &str = env!("CARGO_BIN_EXE_pintle");

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

struct Member {
    child: Child,
    client: u16,
    failpoints: u16,
}

impl Member {
    fn start(dir: &Path, failpoints_set: &str) -> Member {
        let (client, peer, failpoints) = (free_port(), free_port(), free_port());
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let child = Command::new(PINTLE)
            .arg("server")
            .arg("--data-dir")
            .arg(dir.join("data"))
            .args(["--listen-client-urls", &url(client)])
            .args(["--advertise-client-urls", &url(client)])
            .args(["--listen-peer-urls", &url(peer)])
            .args(["--initial-advertise-peer-urls", &url(peer)])
            .args(["--initial-cluster", &format!("default={}", url(peer))])
            .env("GOFAIL_HTTP", format!("127.0.0.1:{failpoints}"))
            .env("GOFAIL_FAILPOINTS", failpoints_set)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a member");
        Member {
            child,
            client,
            failpoints,
        }
    }

    fn ready(dir: &Path) -> Member {
        let mut member = Member::start(dir, "");
        until::found("a member that serves", || {
            if member.child.try_wait().expect("its state").is_some() {
                // Another process was faster with a port.
                member = Member::start(dir, "");
            }
            member.ctl(&["get", "x"]).status.success().then_some(())
        });
        member
    }

    fn ctl(&self, args: &[&str]) -> Output {
        let endpoint = format!("--endpoints=http://127.0.0.1:{}", self.client);
        Command::new(PINTLE)
            .args(["ctl", &endpoint, "--command-timeout=5s"])
            .args(args)
            .output()
            .expect("ctl")
    }

    fn put(&self, key: &str) -> bool {
        self.ctl(&["put", key, key]).status.success()
    }

    fn has(&self, key: &str) -> bool {
        let found = self.ctl(&["get", key, "--print-value-only"]);
        assert!(found.status.success(), "{found:?}");
        found.stdout == format!("{key}\n").into_bytes()
    }

    /// Status and body of a request to the failpoints.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.failpoints)).expect("a listener");
        let request = format!(
            "{method} /{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("sent");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("an answer");
        let (head, body) = response.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        (status.expect("a status"), body.to_owned())
    }

    /// How it ended, and what it said.
    fn ended(mut self) -> (ExitStatus, String) {
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().expect("its standard error");
        let reader = thread::spawn(move || {
            let _ = stderr.read_to_string(&mut said);
            said
        });
        let status = until::found("the end of a member", || {
            self.child.try_wait().expect("its state")
        });
        (status, reader.join().expect("its words"))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // One that has ended cannot be killed, and need not be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whatever a crash interrupts: what was acknowledged is there after it.
#[test]
fn no_write_is_lost_wherever_a_member_crashes() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut acknowledged: Vec<String> = Vec::new();
    for point in [
        "raftBeforeSave",
        "walBeforeSync",
        "walAfterSync",
        "raftAfterSave",
        "raftBeforeAdvance",
        "beforeApplyOneEntryNormal",
        "beforeWritebackBuf",
        "beforeStartDBTxn",
        "commitBeforePreCommitHook",
        "commitAfterPreCommitHook",
        "beforeCommit",
        "beforeSyncDataPages",
        "beforeSyncMetaPage",
        "afterCommit",
    ] {
        let member = Member::ready(dir.path());
        for key in &acknowledged {
            assert!(member.has(key), "{key} is lost before {point}");
        }
        let before = format!("before-{point}");
        assert!(member.put(&before), "{before}");
        acknowledged.push(before);
        assert_eq!(
            member.ask("PUT", point, "panic"),
            (204, String::new()),
            "{point}"
        );
        let at = format!("at-{point}");
        if member.put(&at) {
            acknowledged.push(at);
        }
        let (status, said) = member.ended();
        assert_eq!(status.code(), Some(2), "{point}: {said}");
        assert!(
            said.contains(&format!("failpoint panic: {point}")),
            "{point}: {said}"
        );
    }
    let member = Member::ready(dir.path());
    for key in &acknowledged {
        assert!(member.has(key), "{key} is lost");
    }
}

#[test]
fn it_waits_and_fails_as_told_and_then_no_more() {
    let dir = tempfile::tempdir().expect("a directory");
    let member = Member::ready(dir.path());
    let (status, list) = member.ask("GET", "", "");
    assert_eq!(status, 200);
    assert!(list.contains("raftBeforeSave=\n"), "{list}");

    assert_eq!(
        member.ask("PUT", "raftBeforeSave", "sleep(\"10ms\")").0,
        204
    );
    assert!(member.put("slow"));
    let (_, count) = member.ask("GET", "raftBeforeSave/count", "");
    assert!(count.parse::<u64>().expect("a number") > 0, "{count}");
    assert_eq!(member.ask("DELETE", "raftBeforeSave", "").0, 204);
    assert_eq!(member.ask("GET", "raftBeforeSave", "").0, 404);

    for point in ["defragBeforeCopy", "defragBeforeRename"] {
        assert_eq!(member.ask("PUT", point, "return(\"no room\")").0, 204);
        let failed = member.ctl(&["defrag"]);
        let said = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert!(
            !failed.status.success() && said.contains("no room"),
            "{said}"
        );
        assert_eq!(member.ask("DELETE", point, "").0, 204);
        assert!(member.ctl(&["defrag"]).status.success());
    }
    assert!(member.has("slow"));
}

#[test]
fn the_environment_sets_them_from_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let (status, said) = Member::start(dir.path(), "beforePublishing=panic").ended();
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("failpoint panic: beforePublishing"), "{said}");
}
