//! Old log files, the words to the journal, queues of lines, and the end by a panic.

use std::{
    env, fs,
    io::Read as _,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
};

use super::{
    Line,
    journal::Journal,
    rotate::Rotating,
    writer::{Output, Writer, Writers},
};
use crate::config::{LogOutput, Logs, Rotation};

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("folder").flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_that_has_its_size_is_set_aside_compressed_and_removed_by_count() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("etcd.log");
    // As etcd left them, of long ago; and files of others.
    let oldest = "etcd-2020-01-01T00-00-00.000.log";
    for name in [
        oldest,
        "etcd-2020-01-02T00-00-00.000.log.gz",
        "etcd-other.log",
    ] {
        fs::write(dir.path().join(name), name).expect("file");
    }
    let rotation = Rotation {
        max_size: 1,
        max_backups: 2,
        compress: true,
        ..Rotation::default()
    };
    let mut log = Rotating::open(&path, &rotation).expect("log");
    let line = [b'x'; 400 << 10];
    for _ in 0..3 {
        log.write(&line).expect("line");
    }
    assert_eq!(fs::metadata(&path).expect("log").len(), 400 << 10);
    until::is("the oldest file is removed, the new one compressed", || {
        let names = names(dir.path());
        names.len() == 4 && !names.iter().any(|name| name == oldest) && names[1].ends_with(".gz")
    });
    let old: Vec<_> = names(dir.path())
        .into_iter()
        .filter(|name| name.ends_with(".gz") && !name.contains("2020"))
        .collect();
    let file = fs::File::open(dir.path().join(&old[0])).expect("old file");
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(file)
        .read_to_end(&mut text)
        .expect("gzip");
    assert_eq!(text.len(), 800 << 10);
}

#[test]
fn old_files_are_removed_by_age_alone_too() {
    let dir = tempfile::tempdir().expect("temp dir");
    let old = dir.path().join("log-2020-01-01T00-00-00.000");
    fs::write(&old, "old").expect("file");
    let rotation = Rotation {
        max_age: 1,
        local_time: true,
        ..Rotation::default()
    };
    let mut log = Rotating::open(&dir.path().join("log"), &rotation).expect("log");
    log.write(b"line\n").expect("line");
    until::is("the old file is removed", || !old.exists());
    assert_eq!(names(dir.path()), ["log"]);
}

#[test]
fn a_line_for_the_journal_is_a_datagram_of_fields() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("socket");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).expect("socket");
    let journal = Journal::open_at(&path).expect("journal");
    journal
        .write("warn", "src/boot.rs:7", "{\"level\":\"warn\"}\n")
        .expect("line");
    let mut datagram = [0; 512];
    let length = socket.recv(&mut datagram).expect("datagram");
    let text = &datagram[..length];
    assert!(text.starts_with(b"PRIORITY=4\nPACKAGE=src\nSYSLOG_IDENTIFIER="));
    assert!(text.ends_with(b"MESSAGE\n\x11\0\0\0\0\0\0\0{\"level\":\"warn\"}\n\n"));
}

#[test]
fn lines_of_every_crate_that_logs_are_written() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut logging: Vec<String> = fs::read_dir(crates)
        .expect("the crates")
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("Cargo.toml")).ok())
        .filter(|manifest| manifest.lines().any(|line| line.starts_with("tracing.")))
        .map(|manifest| {
            let library = manifest.split("[lib]").nth(1).expect("a library");
            let name = library.lines().find(|line| line.starts_with("name"));
            let name = name.and_then(|line| line.split('"').nth(1));
            name.expect("a name").to_owned()
        })
        .collect();
    logging.sort();
    assert_eq!(logging, super::OWN);
}

/// Lines that reach an output, which takes the first only when it is let.
struct Stuck {
    free: Receiver<()>,
    out: Sender<String>,
}

impl Output for Stuck {
    fn write(&mut self, lines: &[Line]) {
        // An error means that it is free for good.
        let _ = self.free.recv();
        for line in lines {
            let _ = self.out.send(line.text.clone());
        }
    }
}

fn line(text: String) -> Line {
    Line {
        level: "info".into(),
        caller: "test".into(),
        text,
    }
}

/// A queue whose output takes nothing until the sender is dropped, and what it takes then. A line
/// that counts others begins with a minus.
fn stuck() -> (Writers, Sender<()>, Receiver<String>) {
    let (held, free) = channel();
    let (out, lines) = channel();
    let writer = Writer::start(Stuck { free, out }, |count| line(format!("-{count}")));
    (Writers::new(vec![writer.expect("thread")]), held, lines)
}

#[test]
fn a_reader_that_takes_nothing_stops_no_one_and_costs_lines_that_are_counted() {
    let (writer, free, lines) = stuck();
    // Far more than may wait; each returns at once.
    let long = "x".repeat(1000);
    for number in 0..5000 {
        writer.push(line(format!("{number} {long}")));
    }
    drop(free);
    let (mut next, mut taken) = (0, 0);
    let mut account = |text: &str| {
        let word = text.split(' ').next().unwrap_or_default();
        if let Some(count) = word.strip_prefix('-') {
            next += count.parse::<u64>().expect("count");
        } else {
            assert_eq!(
                word.parse(),
                Ok(next),
                "in order, and none missing uncounted"
            );
            next += 1;
            taken += 1;
        }
        next
    };
    let within = std::time::Duration::from_secs(60);
    while account(&lines.recv_timeout(within).expect("more lines")) < 5000 {}
    assert!(taken < 3000, "bounded: {taken}");
    writer.push(line("last".into()));
    assert_eq!(lines.recv_timeout(within).as_deref(), Ok("last"));
}

#[test]
fn a_line_longer_than_all_that_may_wait_is_written_and_so_is_the_next() {
    let (writer, free, lines) = stuck();
    drop(free);
    writer.push(line("x".repeat(3 << 20)));
    writer.flush();
    assert_eq!(lines.recv().expect("a line").len(), 3 << 20);
    writer.push(line("next".into()));
    assert_eq!(lines.recv().expect("a line"), "next");
}

#[test]
fn a_fatal_line_is_not_among_those_that_are_dropped() {
    let (writer, free, lines) = stuck();
    let long = "x".repeat(1000);
    (0..5_000).for_each(|_| writer.push(line(long.clone())));
    writer.push(Line {
        level: "fatal".into(),
        ..line("the reason".into())
    });
    writer.push(line("dropped".into()));
    drop(free);
    // Until there is nothing more to come: a flush has a limit, and a busy machine needs longer.
    let within = std::time::Duration::from_secs(60);
    let mut other = Vec::new();
    while other.last().is_none_or(|text| text != "the reason") {
        let text = lines.recv_timeout(within).expect("more lines");
        other.extend(Some(text).filter(|text| *text != long));
    }
    assert!(
        matches!(other.as_slice(), [gap, last] if gap.starts_with('-') && last == "the reason")
    );
}

#[test]
fn a_flush_gives_up_on_a_reader_that_takes_nothing() {
    let (writer, _held, _lines) = stuck();
    writer.push(line("never taken".into()));
    writer.flush();
}

/// The log file of the process that [`a_process_that_panics`] runs in.
const LOG_FILE: &str = "PINTLE_TEST_LOG_FILE";

/// Not a test: a process whose thread panics while no one reads its standard error, which is full.
#[test]
#[ignore = "the process that another test starts"]
fn a_process_that_panics() {
    let Some(file) = env::var_os(LOG_FILE) else {
        return;
    };
    let logs = Logs {
        outputs: vec![LogOutput::Stderr, LogOutput::File(file.into())],
        ..Logs::default()
    };
    super::start(&logs).expect("logging");
    (0..1000).for_each(|_| tracing::warn!("{}", "x".repeat(1000)));
    let thread = std::thread::Builder::new().name("wal".into());
    let thread = thread.spawn(|| panic!("the disk is on fire"));
    let _ = thread.expect("a thread").join();
    // Whoever caught the panic would carry on here.
    std::process::exit(0);
}

#[test]
fn a_panic_of_any_thread_ends_the_process_and_is_logged_whoever_reads_the_log() {
    let dir = tempfile::tempdir().expect("temp dir");
    let file = dir.path().join("log");
    let mut child = Command::new(env::current_exe().expect("the path of this test"))
        .args(["--exact", "logging::tests::a_process_that_panics"])
        .args(["--include-ignored", "--nocapture"])
        .env(LOG_FILE, &file)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a process");
    let status = until::found("its end", || child.try_wait().expect("its state"));
    assert_eq!(status.code(), Some(1));
    let log = fs::read_to_string(&file).expect("the log");
    let last: serde_json::Value =
        serde_json::from_str(log.lines().last().expect("a line")).expect("JSON");
    let fields = ["level", "msg", "error", "thread"].map(|name| last[name].as_str());
    let expected = ["fatal", "a thread panicked", "the disk is on fire", "wal"].map(Some);
    assert_eq!(fields, expected);
}
