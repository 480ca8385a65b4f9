//! The parts that need no files.

use crate::target::Target;

#[test]
fn targets_are_versions_kubernetes_or_pintle() {
    let version = |text: &str| Target::parse(text).map(|t| t.version.to_string());
    assert_eq!(version("3.6.14").as_deref(), Ok("3.6.14"));
    assert_eq!(version("v3.5.30").as_deref(), Ok("3.5.30"));
    assert_eq!(version("kubernetes:1.34").as_deref(), Ok("3.6.5"));
    for (minor, deploys) in [
        (33, "3.5.24"),
        (35, "3.6.6"),
        (36, "3.6.8"),
        (37, "3.7.0"),
        (38, "3.7.1"),
    ] {
        let given = format!("kubernetes:v1.{minor}.2");
        assert_eq!(version(&given).as_deref(), Ok(deploys), "{given}");
    }
    // Known by its source; members report all of it.
    assert_eq!(version("v3.8.0-alpha.0").as_deref(), Ok("3.8.0-alpha.0"));
    for (given, speaks) in [
        ("pintle", "3.5.30"),
        ("pintle:3.6", "3.6.16"),
        ("pintle:3.7", "3.7.3"),
    ] {
        let target = Target::parse(given).expect("a target");
        assert!(target.is_pintle);
        assert_eq!(target.version.to_string(), speaks);
    }
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
        "3.8.0",
        "3.8.0-alpha.1",
        "vv3.6.14",
        "pintle:3.8",
        "pintle3.6",
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

#[test]
fn a_plan_leads_over_no_release_that_loses_data_and_down_no_patch() {
    use crate::{
        facts::{Facts, Live},
        plan::{Plan, Wishes},
    };
    let planned = |running: &[&str], target: &str, allow_lower_patch: bool| {
        let members: Vec<Facts> = running
            .iter()
            .map(|version| Facts {
                label: (*version).to_owned(),
                live: Some(Live {
                    version: version.parse().ok(),
                    ..Live::default()
                }),
                ..Facts::default()
            })
            .collect();
        let target = Target::parse(target).expect("a target");
        let wishes = Wishes {
            allow_lower_patch,
            ..Wishes::default()
        };
        Plan::make(&members, &target, &wishes).map(|plan| plan.path.join(" "))
    };
    for (running, target, says) in [
        ("3.5.30", "3.5.1", "etcd#13766"),
        ("3.4.23", "3.5.2", "etcd#13766"),
        ("3.4.23", "3.5.4", "etcd#14370"),
        ("3.5.0", "3.5.5", "etcd#14685"),
    ] {
        // Not even who insists gets those.
        let refused = planned(&[running], target, true).expect_err("refused");
        assert!(refused.to_string().contains(says), "{refused}");
    }
    for (running, target) in [
        (&["3.5.30"][..], "3.5.16"),
        (&["3.5.30"], "kubernetes:1.33"),
        (&["3.5.30", "3.6.14"], "3.6.11"),
    ] {
        let refused = planned(running, target, false).expect_err("refused");
        assert!(
            refused.to_string().contains("--allow-lower-patch"),
            "{refused}"
        );
        assert!(planned(running, target, true).is_ok());
    }
    assert_eq!(
        planned(&["3.5.33"], "pintle", false).as_deref(),
        Ok("3.5.33 pintle (etcd 3.5.30)")
    );
    assert!(planned(&["3.5.1"], "3.5.30", false).is_ok());
}

/// Three members of a cluster that answer and all run the same, and what a plan is told of them.
fn three(
    cluster: &str,
    runs: &str,
    pintle: bool,
) -> ([crate::facts::Facts; 3], crate::plan::Wishes<'static>) {
    use crate::{
        facts::{Facts, Live},
        plan::Wishes,
    };
    const NAMES: [&str; 3] = ["a", "b", "c"];
    let members = NAMES.map(|name| Facts {
        label: name.to_owned(),
        live: Some(Live {
            version: runs.parse().ok(),
            cluster_version: cluster.parse().ok(),
            ..Live::default()
        }),
        ..Facts::default()
    });
    let mut wishes = Wishes::default();
    if pintle {
        wishes.pintles = NAMES.map(str::to_owned).into();
    }
    (members, wishes)
}

#[test]
fn pintle_goes_in_and_out_at_the_line_of_the_cluster() {
    use crate::{plan::Plan, steps::Step};
    let planned = |cluster: &str, runs: &str, pintle: bool, target: &str| {
        let (members, wishes) = three(cluster, runs, pintle);
        let target = Target::parse(target).expect("a target");
        Plan::make(&members, &target, &wishes)
    };
    for (cluster, runs, target, path) in [
        ("3.5.0", "3.5.30", "pintle", "3.5.30 pintle (etcd 3.5.30)"),
        ("3.6.0", "3.6.14", "pintle", "3.6.14 pintle (etcd 3.6.16)"),
        ("3.7.0", "3.7.1", "pintle", "3.7.1 pintle (etcd 3.7.3)"),
        (
            "3.6.0",
            "3.6.14",
            "pintle:3.6",
            "3.6.14 pintle (etcd 3.6.16)",
        ),
    ] {
        let plan = planned(cluster, runs, false, target).expect("a plan");
        assert_eq!(plan.path.join(" "), path);
        let swaps = plan
            .machine
            .iter()
            .filter(|s| matches!(s, Step::Swap { .. }));
        assert_eq!(swaps.count(), 3, "{path}");
    }
    // No line comes by a swap of programs, and none by another cluster's half of an upgrade.
    let refused = planned("3.5.0", "3.6.14", false, "pintle:3.6").expect_err("ahead");
    assert!(refused.to_string().contains("half done"), "{refused}");
    let refused = planned("3.8.0", "3.8.0-alpha.0", false, "pintle:3.7").expect_err("above");
    assert!(refused.to_string().contains("a way back"), "{refused}");
    assert!(planned("3.6.0", "3.6.14", false, "pintle:3.5").is_err());
    // Its version is no patch, and its log needs no flush before 3.7.
    assert!(planned("3.6.0", "3.6.16", true, "3.6.14").is_ok());
    let plan = planned("3.6.0", "3.6.16", true, "3.7.1").expect("a plan");
    let is_flush = |step: &Step| matches!(step, Step::Flush { .. });
    assert!(!plan.machine.iter().any(is_flush), "{:?}", plan.machine);
}

#[test]
fn a_line_above_is_a_hop_of_its_own_and_restarts_no_one() {
    use crate::plan::Plan;
    let planned = |runs: &str, pintle: bool, target: &str| {
        let cluster = format!("3.{}.0", runs.as_bytes()[2] - b'0');
        let (members, wishes) = three(&cluster, runs, pintle);
        let target = Target::parse(target).expect("a target");
        let mut plan = Plan::make(&members, &target, &wishes).expect("a plan");
        plan.compare(&members, &target, &wishes);
        plan
    };
    for (runs, pintle, target, path, restarts, lines) in [
        (
            "3.5.30",
            true,
            "pintle:3.6",
            "pintle (etcd 3.5.30) line 3.6",
            0,
            1,
        ),
        (
            "3.5.30",
            true,
            "pintle:3.7",
            "pintle (etcd 3.5.30) line 3.6 line 3.7",
            0,
            2,
        ),
        (
            "3.5.30",
            true,
            "kubernetes:1.34",
            "pintle (etcd 3.5.30) line 3.6",
            0,
            1,
        ),
        (
            "3.5.30",
            true,
            "kubernetes:1.33",
            "pintle (etcd 3.5.30)",
            0,
            0,
        ),
        (
            "3.5.16",
            false,
            "pintle:3.7",
            "3.5.16 pintle (etcd 3.5.30) line 3.6 line 3.7",
            3,
            2,
        ),
        (
            "3.6.14",
            false,
            "pintle:3.7",
            "3.6.14 pintle (etcd 3.6.16) line 3.7",
            3,
            1,
        ),
        // The last hop brings the binary and its minor version.
        (
            "3.5.30",
            true,
            "3.6.14",
            "pintle (etcd 3.5.30) 3.6.14",
            3,
            0,
        ),
        (
            "3.6.16",
            false,
            "3.8.0-alpha.0",
            "3.6.16 3.7.3 3.8.0-alpha.0",
            12,
            0,
        ),
        (
            "3.5.30",
            true,
            "3.7.1",
            "pintle (etcd 3.5.30) line 3.6 3.7.1",
            3,
            1,
        ),
        (
            "3.5.30",
            false,
            "kubernetes:1.37",
            "3.5.30 3.6.16 3.7.0",
            12,
            0,
        ),
    ] {
        let plan = planned(runs, pintle, target);
        assert_eq!(plan.path.join(" "), path, "{target}");
        let costs = (plan.estimate.restarts, plan.estimate.lines);
        assert_eq!(costs, (restarts, lines), "{path}");
    }
    let other = |runs, pintle, target| {
        let other = planned(runs, pintle, target).other;
        other.map(|other| (other.target, other.estimate.restarts))
    };
    assert_eq!(
        other("3.5.30", false, "3.7.3"),
        Some(("pintle:3.7".into(), 3))
    );
    assert_eq!(
        other("3.5.30", false, "pintle:3.7"),
        Some(("3.7.3".into(), 12))
    );
    assert_eq!(other("3.5.30", false, "3.6.14"), None);
    assert_eq!(other("3.5.30", true, "pintle:3.7"), None);
}

#[test]
fn files_alone_never_say_that_there_is_nothing_to_do() {
    use crate::{
        facts::{Database, Facts},
        plan::{Plan, Wishes},
    };
    let planned = |target: &str| {
        let mut database = Database::default();
        database.members.cluster_version =
            format!("3.{}.0", target.as_bytes()[2] - b'0').parse().ok();
        let members = [Facts {
            label: "m0".to_owned(),
            database: Some(database),
            ..Facts::default()
        }];
        let target = Target::parse(target).expect("a target");
        Plan::make(&members, &target, &Wishes::default())
    };
    // The cluster version has no patch: it equals these targets by chance.
    let refused = planned("3.5.0").expect_err("loses data");
    assert!(refused.to_string().contains("etcd#13766"), "{refused}");
    for target in ["3.6.0", "3.7.0", "3.5.30"] {
        let plan = planned(target).expect("a plan");
        let swaps = plan.steps.iter().filter(|step| step.member == "m0");
        assert!(swaps.count() > 0, "{target}: {:?}", plan.path);
    }
}

mod variables {
    use cli::flags::{self, Parsed, variable};

    use crate::command::COMMANDS;
    use crate::environment::supply;

    /// What `line` has with these variables.
    fn read(line: &str, set: &[(&str, &str)]) -> Result<Parsed, String> {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        let command = COMMANDS.iter().find(|c| c.name == name).expect("a command");
        let words: Vec<Vec<u8>> = rest.split_whitespace().map(|w| w.into()).collect();
        let mut parsed = flags::parse(&words, command.flags.iter()).expect("flags");
        supply(command.flags, &mut parsed, |flag| {
            let found = set
                .iter()
                .find(|(name, _)| *name == variable("ETCDCTL", flag));
            found.map(|(_, value)| (*value).to_owned())
        })
        .map_err(|why| why.to_string())?;
        Ok(parsed)
    }

    #[test]
    fn every_command_that_asks_members_reads_the_variables_of_etcdctl() {
        let set = [
            ("ETCDCTL_ENDPOINTS", "http://a:1,http://b:1"),
            ("ETCDCTL_USER", "root:pw"),
            ("ETCDCTL_CACERT", "ca.crt"),
            ("ETCDCTL_DIAL_TIMEOUT", "9s"),
        ];
        for command in COMMANDS {
            let has = |name: &str| command.flags.iter().any(|flag| flag.name == name);
            let parsed = read(command.name, &set).expect(command.name);
            for (flag, value) in [
                ("user", "root:pw"),
                ("cacert", "ca.crt"),
                ("dial-timeout", "9s"),
            ] {
                assert_eq!(
                    has(flag),
                    !["rehearse", "explain"].contains(&command.name),
                    "{} {flag}",
                    command.name
                );
                assert!(!has(flag) || parsed.text(flag) == value, "{}", command.name);
            }
            if has("endpoints") {
                assert_eq!(parsed.list("endpoints").len(), 2, "{}", command.name);
            }
        }
    }

    #[test]
    fn a_flag_and_its_variable_are_a_conflict_as_in_etcdctl_and_files_need_no_endpoints() {
        let set = [("ETCDCTL_ENDPOINTS", "http://a:1")];
        let conflict = read("check --endpoints http://b:1", &set).expect_err("both");
        assert!(
            conflict.starts_with(
                "conflicting environment variable ETCDCTL_ENDPOINTS is shadowed by the flag --endpoints"
            ),
            "{conflict}"
        );
        let offline = read("repair --data-dir d", &set).expect("files");
        assert!(offline.list("endpoints").iter().all(|e| e.is_empty()));
    }
}
