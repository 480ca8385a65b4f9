//! The arithmetic of the checks; their servers are in `tests/against_etcd`.

use std::time::Duration;

use super::{
    load::{Amount, Turns, share},
    measure::Measure,
    memory::value,
};

#[test]
fn parts_of_a_load_add_up() {
    let mut whole = Measure::default();
    let mut parts = [Measure::default(), Measure::default()];
    for (at, millis) in [2, 4, 4, 4, 5, 5, 7, 9].into_iter().enumerate() {
        let took = Duration::from_millis(millis);
        whole.success(took);
        parts[at % 2].success(took);
    }
    parts[1].failure("no".into());
    parts[0].failure("no".into());
    let [mut sum, other] = parts;
    sum.add(other);
    assert_eq!(sum.done, 8);
    assert_eq!(sum.slowest, 0.009);
    assert!(
        (sum.deviation() - 0.002).abs() < 1e-9,
        "{}",
        sum.deviation()
    );
    assert!((sum.deviation() - whole.deviation()).abs() < 1e-9);
    assert_eq!(sum.failures.get("no"), Some(&2));
    assert_eq!(Measure::default().deviation(), 0.0);
}

#[test]
fn clients_are_shared_out_to_the_last() {
    for (whole, parts) in [(50, 3), (1, 1), (7, 7), (1000, 16)] {
        let sum: usize = (0..parts).map(|at| share(whole, parts, at)).sum();
        assert_eq!(sum, whole);
    }
}

#[test]
fn a_counted_load_has_so_many_turns_and_no_two_alike() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("runtime");
    runtime.block_on(async {
        let turns = Turns::new(Amount::Counted(10), 1);
        let go_on = std::sync::atomic::AtomicBool::new(false);
        for expected in 0..10 {
            assert_eq!(turns.next(&go_on).await, Some(expected));
        }
        assert_eq!(turns.next(&go_on).await, None);
    });
}

#[test]
fn memory_is_read_from_a_metrics_page() {
    let page = "HTTP/1.0 200 OK\r\n\r\n# HELP process_resident_memory_bytes x\n\
                process_resident_memory_bytes 2.6177536e+07\nother 1\n";
    assert_eq!(value(page), Some(26_177_536.0));
    assert_eq!(value("process_resident_memory_bytes_max 7\n"), None);
}
