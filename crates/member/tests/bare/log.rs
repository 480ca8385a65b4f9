//! The order of the log, and the snapshots of this member.

use member::{log::LogCommand, propose};

use crate::bench::{Bench, SNAPSHOT_COUNT, put};

#[test]
fn what_queued_up_becomes_one_sync() {
    let mut bench = Bench::leading();
    let slots: Vec<u32> = (0..3)
        .map(|n| bench.propose(put(&format!("k{n}"), "v")))
        .collect();
    assert!(bench.host.log.len() >= 3);
    let written = bench
        .writer
        .write(&mut bench.host.log, &mut |_| panic!("nothing to apply"))
        .expect("written");
    assert!(written.sync.expect("one sync").bytes > 0);
    assert!(written.applies_inline(3, false));
    assert!(!written.applies_inline(5, false), "too many");
    assert!(!written.applies_inline(3, true), "more waits to be written");
    bench.host.node.persisted(written.number.expect("a number"));
    bench.host.hand_on();
    bench.settle();
    for slot in slots {
        assert!(bench.answer(slot).expect("applied").is_ok());
    }
}

#[test]
fn a_snapshot_follows_so_many_entries_and_lets_the_log_go() {
    let mut bench = Bench::leading();
    for n in 0..=SNAPSHOT_COUNT {
        assert!(bench.run(put("a", &n.to_string())).is_ok());
        if bench.host.job.is_some() {
            break;
        }
    }
    let index = bench.machine.applied();
    assert!(bench.host.job.is_some(), "none was started");
    // Entries go on being applied while it is written.
    assert!(bench.run(put("b", "1")).is_ok());
    bench.host.write_snapshot();
    assert!(matches!(
        bench.host.log.back(),
        Some(LogCommand::Snapshot { record }) if record.index == index
    ));
    bench.settle();
    let view = bolt_view(&bench);
    let held = mvcc::backend::consistent_index(&view)
        .expect("readable")
        .index;
    assert!(held >= index, "the database is behind its snapshot");
    let names: Vec<_> = std::fs::read_dir(bench.snap_dir())
        .expect("listed")
        .map(|entry| entry.expect("listed").file_name())
        .collect();
    let snap = |name: &std::ffi::OsString| name.to_string_lossy().ends_with(".snap");
    assert_eq!(names.iter().filter(|name| snap(name)).count(), 1);
}

fn bolt_view(bench: &Bench) -> bolt::ReadTx {
    bench.state.store.load().backend().db().begin_read()
}

#[test]
fn a_request_is_refused_where_the_machine_is_far_behind() {
    use member::status::errors;
    assert_eq!(propose::admit(5_000, 0, 10, 100, false), Ok(()));
    let late = propose::admit(5_001, 0, 10, 100, false);
    assert_eq!(late, Err(errors::TOO_MANY_REQUESTS));
    assert_eq!(propose::admit(10_000, 0, 10, 100, true), Ok(()));
    let late = propose::admit(10_001, 0, 10, 100, true);
    assert_eq!(late, Err(errors::TOO_MANY_REQUESTS));
    let large = propose::admit(0, 0, 101, 100, true);
    assert_eq!(large, Err(errors::REQUEST_TOO_LARGE));
}
