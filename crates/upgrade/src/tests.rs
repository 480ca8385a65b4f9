//! The parts that need no files.

use crate::target::Target;

#[test]
fn targets_are_versions_kubernetes_or_pintle() {
    let version = |text: &str| Target::parse(text).map(|t| t.version.to_string());
    assert_eq!(version("3.6.14").as_deref(), Ok("3.6.14"));
    assert_eq!(version("v3.5.30").as_deref(), Ok("3.5.30"));
    assert_eq!(version("kubernetes:1.34").as_deref(), Ok("3.6.5"));
    assert_eq!(version("kubernetes:v1.37.2").as_deref(), Ok("3.7.1"));
    assert!(Target::parse("pintle").is_ok_and(|t| t.is_pintle));
    for wrong in [
        "",
        "3.6",
        "4.0.0",
        "3.3.25",
        "kubernetes:1.99",
        "kubernetes:",
        "kubernetes:vv1.34",
        "latest",
        "3.6.14-0",
        "3.6.14+k3s1",
        "3.6.14-rc.0",
        "vv3.6.14",
    ] {
        assert!(Target::parse(wrong).is_err(), "{wrong:?} was taken");
    }
}

#[test]
fn a_flag_that_is_gone_is_replaced_by_name() {
    let words = [
        "--experimental-initial-corrupt-check=true",
        "--enable-v2",
        "--name=a",
    ];
    let words: Vec<String> = words.map(str::to_owned).into();
    let changes = crate::checks::changes(&words, 7);
    assert_eq!(changes.len(), 2);
    assert_eq!(changes[0].0, "3.7");
    assert!(changes[0].2.contains("InitialCorruptCheck"));
    assert_eq!(changes[1].0, "3.6");
    assert!(crate::checks::changes(&words, 5).is_empty());
}
