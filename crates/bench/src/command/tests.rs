//! Lines of `pintle bench`, read and refused.

use super::*;
use crate::{
    compare::{self, Compare},
    options::Load,
    restart::Restart,
    workload::Cluster,
};

fn line(text: &str) -> Result<Asked, String> {
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    read(&words)
}

fn parsed(text: &str) -> Parsed {
    match line(text) {
        Ok(Asked::Run(_, parsed)) => parsed,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn every_command_reads_only_flags_of_its_own() {
    for command in COMMANDS {
        let Body::Run(action) = command.body else {
            panic!("{} is a group", command.name)
        };
        match action {
            Action::Restart => drop(Restart::of(&parsed("restart -- server"))),
            Action::Compare => drop(Compare::of(&parsed("compare"))),
            Action::K8s => drop((Load::of(&parsed("k8s")), Cluster::of(&parsed("k8s")))),
            _ => drop(Load::of(&parsed(command.name))),
        }
        let Ok(Asked::Page(page)) = line(&format!("{} --help", command.name)) else {
            panic!("{} has no page", command.name)
        };
        assert!(page.starts_with(command.short), "{page}");
    }
}

#[test]
fn values_keep_their_commas_where_the_flag_is_repeatable() {
    let parsed = parsed(
        "compare a=x,y --spawn b=etcd --spawn=c=etcd,d --server-flag --listen=x,y --scale 0.5 --rows get,watch",
    );
    assert_eq!(parsed.list("spawn"), ["b=etcd", "c=etcd,d"]);
    assert_eq!(parsed.list("server-flag"), ["--listen=x,y"]);
    assert_eq!(parsed.list("rows"), ["get", "watch"]);
    assert_eq!(parsed.words(), ["a=x,y"]);
    assert_eq!(parsed.float("scale"), 0.5);
}

#[test]
fn lines_that_make_no_sense_are_refused() {
    for text in [
        "compare --members 0",
        "compare --members 10",
        "compare --scale 0",
        "compare --scale inf",
        "put extra",
        "put --server-pid 1,x",
        "put --write-out yaml",
        "restart",
        "restart server",
        "restart --",
        "nonsense",
        "help nonsense",
    ] {
        assert!(line(text).is_err(), "{text}");
    }
    assert!(matches!(line(""), Ok(Asked::Page(_))));
    assert!(matches!(line("help compare"), Ok(Asked::Page(_))));
    assert!(
        Load::of(&parsed("put --random --sequential"))
            .check()
            .is_err()
    );
}

#[test]
fn the_page_of_compare_lists_every_row() {
    let Ok(Asked::Page(page)) = line("compare --help") else {
        panic!("compare has no page")
    };
    for row in compare::row_names() {
        assert!(page.contains(row), "{row}");
    }
}
