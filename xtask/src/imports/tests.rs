//! Small crates with and without cycles.

use std::fs;

use super::{Cycle, cycles};

/// The cycles of a crate of these files.
fn found(files: &[(&str, &str)]) -> Vec<Cycle> {
    let folder = tempfile::tempdir().expect("folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        fs::write(path, text).expect("file");
    }
    cycles(&folder.path().join("lib.rs")).expect("sources")
}

/// The names of the files of each cycle.
fn names(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let name = |path: &std::path::PathBuf| -> String {
        let name = path.file_name().expect("name");
        name.to_string_lossy().into_owned()
    };
    let cycles = found(files);
    cycles
        .iter()
        .map(|cycle| cycle.files.iter().map(name).collect())
        .collect()
}

#[test]
fn one_way_is_no_cycle() {
    let crate_ = [
        ("lib.rs", "mod a; mod b; pub use b::B;"),
        ("a.rs", "pub struct A;"),
        ("b.rs", "use crate::a::A; pub struct B(A);"),
    ];
    assert!(found(&crate_).is_empty());
}

#[test]
fn two_files_that_use_each_other() {
    let crate_ = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::{self, B}; pub struct A(B);"),
        ("b.rs", "pub struct B; fn f() { super::a::A::new(); }"),
    ];
    assert_eq!(names(&crate_), [["a.rs", "b.rs"]]);
}

#[test]
fn a_facade_ties_nothing_together() {
    let crate_ = [
        ("lib.rs", "mod a; mod b; pub use a::A; pub use b::*;"),
        ("a.rs", "pub struct A; fn f() { crate::B; }"),
        ("b.rs", "pub struct B;"),
    ];
    assert!(found(&crate_).is_empty());
}

#[test]
fn a_facade_with_an_item_of_its_own_is_a_file_like_others() {
    let crate_ = [
        ("lib.rs", "mod a; pub use a::A; pub struct Own;"),
        ("a.rs", "pub struct A(super::Own);"),
    ];
    assert_eq!(names(&crate_), [["a.rs", "lib.rs"]]);
}

#[test]
fn paths_in_macros_and_in_nested_uses_count() {
    let crate_ = [
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "fn f() { println!(\"{}\", crate::b::g()); }"),
        ("b.rs", "fn g() { use crate::{c::{h, i}}; }"),
        ("c.rs", "use crate::a; fn h() { a::f(); } fn i() {}"),
    ];
    assert_eq!(names(&crate_), [["a.rs", "b.rs", "c.rs"]]);
}

#[test]
fn a_module_that_is_named_and_not_used_is_no_import() {
    let crate_ = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b; pub struct A; fn f() {}"),
        ("b.rs", "use crate::a::A; pub struct B(A);"),
    ];
    assert!(found(&crate_).is_empty());
}

#[test]
fn test_modules_are_left_out() {
    let crate_ = [
        ("lib.rs", "mod a; pub fn f() { a::f() }"),
        (
            "a.rs",
            "pub fn f() {} #[cfg(test)] mod tests { use crate::f; }",
        ),
    ];
    assert!(found(&crate_).is_empty());
}

#[test]
fn exported_macros_are_in_the_file_that_defines_them() {
    let crate_ = [
        ("lib.rs", "mod a; mod b; pub fn f() { a::f() }"),
        ("a.rs", "pub fn f() { crate::say!() }"),
        ("b.rs", "#[macro_export] macro_rules! say { () => {}; }"),
    ];
    assert!(found(&crate_).is_empty());
}
