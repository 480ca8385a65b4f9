use std::{fs, path::Path};

use super::{CHECKS, STOP, all, find, of_boot, page, page::link};
use crate::predict::{self, Outcome, Prediction};

fn ids(asked: &str) -> Vec<&'static str> {
    find(asked).iter().map(|entry| entry.id).collect()
}

#[test]
fn every_check_that_is_made_has_an_entry_with_all_four_parts() {
    let explained: Vec<&str> = CHECKS.iter().map(|entry| entry.id).collect();
    assert_eq!(crate::checks::ids().collect::<Vec<_>>(), explained);
    for entry in all() {
        for (heading, text) in entry.parts() {
            let is_said = text.len() > 7 && text.ends_with('.');
            assert!(is_said, "{}, {heading}: {text:?}", entry.id);
        }
        let same = all().filter(|other| other.id == entry.id);
        assert_eq!(same.count(), 1, "{} is there once", entry.id);
    }
    assert_eq!(ids(STOP), [STOP]);
}

/// Every id that the code names as a check or a prediction, by a literal.
#[test]
fn no_id_in_the_code_lacks_an_entry() {
    let mut named = 0;
    for folder in ["src/checks", "src/commands", "src/report", "src"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for file in fs::read_dir(folder).expect("sources").flatten() {
            let path = file.path();
            if path.extension().is_none_or(|kind| kind != "rs") {
                continue;
            }
            let text = fs::read_to_string(&path).expect("a source");
            for word in text.split('"').filter(|word| is_id(word)) {
                named += 1;
                assert_eq!(ids(word), [word], "{}", path.display());
            }
        }
    }
    assert!(named > 25, "only {named} ids were found");
}

fn is_id(word: &str) -> bool {
    let digits = word.strip_prefix(['P', 'B']).unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

#[test]
fn every_predicted_end_has_its_entry() {
    for text in predict::TEXTS {
        let prediction = Prediction {
            outcome: Outcome::Refuses,
            text: text.to_owned(),
            healed: vec!["1".into()],
            zombies: Vec::new(),
            learners: Vec::new(),
            unsure: Vec::new(),
        };
        let explained = of_boot(&prediction);
        assert_eq!(explained.len(), 2, "{text}: {explained:?}");
        assert_eq!(explained.last(), Some(&"B10"));
    }
}

#[test]
fn a_text_of_etcd_leads_to_what_explains_it() {
    for (asked, leads_to) in [
        ("p4", &["P4"][..]),
        (
            "too many learner members in cluster",
            &["P4", "P8", "P18", "B1"],
        ),
        (
            "{\"level\":\"fatal\",\"msg\":\"discovery failed\",\"error\":\"membership: too many learner members in cluster\"}",
            &["P4", "P8", "B1"],
        ),
        (
            "panic: unmarshal should never fail (proto: cannot parse invalid wire-format data)",
            &["P11", "B4"],
        ),
        (
            "database file (/d/member/snap/db index 3) does not match with snapshot (index 17).",
            &["P25"],
        ),
        ("etcdserver: mvcc: database space exceeded", &["P14"]),
        ("nothing of the kind", &[]),
        ("", &[]),
    ] {
        assert_eq!(ids(asked), leads_to, "{asked}");
    }
    assert!(
        ids("progress notifications").contains(&"P22"),
        "by its words"
    );
}

#[test]
fn the_page_of_the_documentation_is_what_the_table_gives() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = root.join(super::PATH);
    if std::env::var_os("PINTLE_WRITE_PAGES").is_some() {
        fs::write(&path, page()).expect("the page is written");
    }
    let generated = page();
    let there = fs::read_to_string(&path).expect("the page");
    let differs = there.lines().zip(generated.lines()).find(|(a, b)| a != b);
    assert!(
        there == generated,
        "{} is not what the table gives, at {differs:?}; PINTLE_WRITE_PAGES=1 writes it anew",
        path.display()
    );
    for entry in all() {
        let anchor = link(entry);
        assert!(
            there.contains(&format!("### {} {}\n", entry.id, entry.title)),
            "{anchor}"
        );
    }
}
