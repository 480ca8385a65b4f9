//! ARCHITECTURE.md says which crate may import which.

use xtask::{floors, workspace};

#[test]
fn a_crate_imports_from_floors_below_its_own() {
    let wrong = floors::violations(&workspace::root()).expect("manifests");
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
