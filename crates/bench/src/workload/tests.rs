//! Flags that every test of a workload begins from.

use crate::{
    command::{self, Asked},
    options::Load,
};

/// The flags as they are when none is given.
pub(super) fn load() -> Load {
    match command::read(&["put".to_owned()]) {
        Ok(Asked::Run(_, parsed)) => Load::of(&parsed),
        other => panic!("put alone is a command: {other:?}"),
    }
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
