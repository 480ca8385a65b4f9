//! Flags that every test of a workload begins from.

use clap::Parser as _;

use crate::options::Load;

#[derive(clap::Parser)]
struct Flags {
    #[command(flatten)]
    load: Load,
}

/// The flags as they are when none is given.
pub(super) fn load() -> Load {
    Flags::parse_from(["bench"]).load
}

#[test]
fn the_defaults_pass_their_own_check() {
    assert_eq!(load().check(), Ok(()));
    assert!(
        Load {
            key_size: 8,
            ..load()
        }
        .check()
        .is_err()
    );
    assert!(
        Load {
            clients: 0,
            ..load()
        }
        .check()
        .is_err()
    );
}
