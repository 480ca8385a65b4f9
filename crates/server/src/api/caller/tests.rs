use std::{fs, path::Path};

use auth::rules::METHODS;

use super::*;

/// `/package.Service/Method` of every method that the proto files declare, but for the service of
/// collectors of traces: this server calls it.
fn declared() -> Vec<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/proto");
    let mut paths = Vec::new();
    for file in fs::read_dir(dir).expect("proto files") {
        let text = fs::read_to_string(file.expect("a file").path()).expect("text");
        let (mut package, mut service) = (String::new(), String::new());
        for line in text.lines() {
            let words: Vec<&str> = line
                .split([' ', '(', ';', '{'])
                .filter(|w| !w.is_empty())
                .collect();
            match words.as_slice() {
                ["package", name, ..] => package = (*name).to_owned(),
                ["service", name, ..] => service = (*name).to_owned(),
                ["rpc", name, ..] => paths.push(format!("/{package}.{service}/{name}")),
                _ => {}
            }
        }
    }
    paths.retain(|path| !path.contains(".TraceService/"));
    paths
}

#[test]
fn every_method_that_is_declared_or_served_has_a_rule() {
    let declared = declared();
    assert!(declared.len() > 40, "{declared:?}");
    let served = Method::ALL.iter().map(|method| method.path().to_owned());
    for path in declared.into_iter().chain(served) {
        for line in line::Line::ALL {
            assert!(
                rules::need(&path, Release::of(line)).is_some(),
                "{path} has no rule"
            );
        }
    }
}

#[test]
fn every_rule_is_about_a_method_that_is_served() {
    for rule in METHODS {
        assert!(Method::of(rule.path).is_some(), "{}", rule.path);
    }
}

#[test]
fn four_methods_let_errors_through_as_they_are() {
    let raw = |method| {
        refused(method, line::Line::V3_5, Error::PermissionDenied).message
            == "auth: permission denied"
    };
    let found: Vec<&Method> = Method::ALL.iter().filter(|method| raw(**method)).collect();
    let expected = [
        Method::Defragment,
        Method::Hash,
        Method::HashKv,
        Method::Snapshot,
    ];
    assert_eq!(found, expected.iter().collect::<Vec<_>>());
}
