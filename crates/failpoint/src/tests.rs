//! A build without the feature, and one with it.

use crate::Point;

#[test]
fn names_are_unique() {
    let mut names: Vec<_> = Point::ALL.iter().map(|point| point.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Point::ALL.len());
}

/// Only what is nothing at all can be in a constant function: a call would not compile.
#[cfg(not(feature = "on"))]
#[test]
fn a_build_without_failpoints_has_nothing_in_their_places() {
    const fn passes() -> u8 {
        crate::failpoint!(RaftBeforeSave);
        crate::failpoint!(RaftAfterSave if never_called());
        crate::failpoint!(DefragBeforeCopy, |_text| return 2);
        1
    }
    fn never_called() -> bool {
        panic!("the condition of a failpoint was evaluated")
    }
    let _: fn() -> bool = never_called;
    const PASSED: u8 = passes();
    assert_eq!(PASSED, 1);
    crate::start(|_| None).expect("nothing to start");
}

#[cfg(feature = "on")]
mod on {
    use std::time::Duration;

    use crate::{
        Point, failpoint,
        http::answer,
        settings::settings,
        terms::{Action, Terms, parse_durations_with},
    };

    fn actions(text: &str, times: usize) -> Vec<Action> {
        let mut terms = Terms::parse(text).unwrap_or_else(|| panic!("{text} is not read"));
        (0..times).map(|_| terms.next()).collect()
    }

    #[test]
    fn terms_are_gofails() {
        parse_durations_with(|text| cli::text::parse_duration(text).ok());
        let sleep = |ms| Action::Sleep(Duration::from_millis(ms));
        for (text, first) in [
            ("panic", Action::Panic),
            ("panic(\"why\")", Action::Panic),
            ("sleep(100)", sleep(100)),
            ("sleep(\"1s\")", sleep(1000)),
            ("sleep(\"1m0.5s20ms\")", sleep(60_520)),
            ("return", Action::Return(String::new())),
            ("return(\"no space\")", Action::Return("no space".into())),
            ("return(7)", Action::Return("7".into())),
            ("off", Action::Off),
            ("print", Action::Print),
            ("100.0%print", Action::Print),
            ("0%print", Action::Off),
            ("0.0%panic->print", Action::Print),
            ("0*panic->2*100%sleep(1)", sleep(1)),
        ] {
            assert_eq!(actions(text, 1), [first], "{text}");
        }
        assert_eq!(
            actions("1*sleep(1)->1*print", 3),
            [sleep(1), Action::Print, Action::Off]
        );
        for text in [
            "",
            "panics",
            "sleep",
            "sleep(x)",
            "sleep(\"1\")",
            "sleep(\"1y\")",
            "5",
            "5panic",
            "x%panic",
            "panic->",
            "panic(",
            "return(\"x)",
            "sleep(\"99999999999999999999h\")",
        ] {
            assert_eq!(Terms::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_the_environment_says() {
        let read = settings("raftBeforeSave=sleep(1);;x=1*off->panic").expect("settings");
        let names: Vec<_> = read.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["raftBeforeSave", "x"]);
        settings("raftBeforeSave").expect_err("no terms");
        settings("raftBeforeSave=what").expect_err("no action");
    }

    /// One test, for the table is the process's.
    #[test]
    fn set_looked_at_done_and_switched_off() {
        fn fails() -> Option<String> {
            failpoint!(DefragBeforeCopy, |text| return Some(text));
            None
        }
        fn code(method: &str, name: &str, body: &str) -> (u16, String) {
            let (status, text) = answer(method, name, body);
            (status[..3].parse().expect("a status"), text)
        }
        let name = Point::DefragBeforeCopy.name();
        let list = || code("GET", "", "").1;
        assert!(list().contains("defragBeforeCopy=\n"), "{}", list());
        assert_eq!(list().lines().count(), Point::ALL.len());
        assert_eq!(fails(), None);
        assert_eq!(code("GET", name, "").0, 404);
        assert_eq!(code("DELETE", name, "").0, 400);
        assert_eq!(code("PUT", name, "1*return(\"full\")"), (204, "".into()));
        assert!(list().contains("defragBeforeCopy=1*return(\"full\")\n"));
        assert_eq!(code("GET", name, "").1, "1*return(\"full\")\n");
        assert_eq!(fails().as_deref(), Some("full"));
        assert_eq!(fails(), None);
        assert_eq!(code("GET", "defragBeforeCopy/count", ""), (200, "1".into()));
        assert_eq!(code("DELETE", name, ""), (204, "".into()));
        assert_eq!(code("PUT", name, "nonsense").0, 400);
        assert_eq!(code("PUT", "nowhere", "panic").0, 400);
        assert_eq!(code("DELETE", "nowhere", "").0, 400);
        assert_eq!(code("GET", "nowhere", "").0, 404);
        assert_eq!(code("POST", name, "panic").0, 405);
        let several = "beforeCommit=off;afterCommit=print";
        assert_eq!(code("PUT", "failpoints", several).0, 204);
        assert!(list().contains("afterCommit=print\n"));
        assert_eq!(code("DELETE", "beforeCommit", "").0, 204);
        assert_eq!(code("DELETE", "afterCommit", "").0, 204);
    }
}
