//! The parsers on lines as the kernel writes them, and the whole on ourselves.

use std::net::TcpListener;

use super::*;

#[test]
fn cpu_time_is_read_behind_a_name_with_parentheses() {
    let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 5 0 0 0 120 30 9 9 20 0 3 0 100 0 0";
    assert_eq!(cpu_ticks(stat), Some(150));
    assert_eq!(cpu_ticks("7 (short) S 1"), None);
}

#[test]
fn memory_is_in_bytes() {
    let status = "Name:\tetcd\nVmHWM:\t   51200 kB\nVmRSS:\t    1024 kB\n";
    assert_eq!(memory(status, "VmHWM:"), Some(51_200 << 10));
    assert_eq!(memory(status, "VmRSS:"), Some(1 << 20));
    assert_eq!(memory(status, "VmSwap:"), None);
}

#[test]
fn our_own_listener_is_found() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    assert_eq!(listener(address), Some(std::process::id()));
    drop(socket);
    assert_eq!(listener(address), None);
}

#[test]
fn our_own_usage_grows() {
    let before = own();
    assert!(before.resident > 0 && before.peak >= before.resident);
    // Until a tick has passed on the CPU clock of this process.
    while own().cpu == before.cpu {
        std::hint::black_box((0..100_000u64).sum::<u64>());
    }
    assert!(
        usage_of(&[std::process::id(), std::process::id()])
            .unwrap()
            .cpu
            > own().cpu
    );
}

#[test]
fn a_process_that_has_ended_has_no_usage() {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    // Ended but not yet reaped, then gone.
    while usage(child.id()).is_some() {
        std::thread::yield_now();
    }
    child.wait().unwrap();
    assert_eq!(usage_of(&[std::process::id(), child.id()]), Err(child.id()));
}
