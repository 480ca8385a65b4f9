use semver::Version;

use crate::{Change, Choice, Feature, Kept, Known, Line, Spoken, Unfit, release};

fn version(text: &str) -> Version {
    Version::parse(text).expect("a version")
}

fn known(cluster: &str) -> Known {
    Known {
        cluster: vec![version(cluster)],
        ..Known::default()
    }
}

#[test]
fn the_release_of_a_line_is_of_that_line() {
    for line in Line::ALL {
        let release = version(line.release());
        assert_eq!(release, line.release_version());
        assert_eq!(Line::of(&release), Some(line));
        assert_eq!(
            line.cluster_version().to_string(),
            format!("{line}.0"),
            "the cluster version has no patch"
        );
        assert_eq!(
            Choice::parse(&line.to_string()),
            Some(Choice::Fixed(line)),
            "its name is a word of the flag"
        );
        let spoken = Spoken::new(Line::V3_5);
        spoken.clone().speak(line);
        assert_eq!(spoken.line(), line);
    }
    assert_eq!(Line::of(&version("3.8.0")), None);
    assert_eq!(Line::of(&version("3.4.0")), None);
}

#[test]
fn every_word_of_the_flag_is_one() {
    for word in Choice::WORDS {
        assert!(Choice::parse(word).is_some(), "{word}");
    }
    assert_eq!(Choice::parse("3.8"), None);
    assert_eq!(Choice::parse(""), None);
}

#[test]
fn auto_is_the_line_of_the_cluster() {
    for (cluster, line) in [
        ("3.0.0", Line::V3_5),
        ("3.4.0", Line::V3_5),
        ("3.5.0", Line::V3_5),
        ("3.6.0", Line::V3_6),
        ("3.7.0", Line::V3_7),
    ] {
        assert_eq!(Choice::Auto.resolve(&known(cluster)), Ok(line), "{cluster}");
    }
    assert_eq!(Choice::Auto.resolve(&Known::default()), Ok(Line::DEFAULT));
}

#[test]
fn the_newest_version_that_was_found_counts() {
    let known = Known {
        cluster: vec![version("3.5.0"), version("3.6.0")],
        ..Known::default()
    };
    assert_eq!(Choice::Auto.resolve(&known), Ok(Line::V3_6));
}

#[test]
fn a_member_that_never_heard_of_its_cluster_keeps_its_line() {
    let before = Known {
        kept: Kept::Founded(Line::V3_6),
        ..Known::default()
    };
    assert_eq!(Choice::Auto.resolve(&before), Ok(Line::V3_6));
    let heard = Known {
        kept: Kept::Founded(Line::V3_6),
        ..known("3.5.0")
    };
    assert_eq!(Choice::Auto.resolve(&heard), Ok(Line::V3_5));
}

#[test]
fn a_change_in_the_file_raises_no_directory() {
    let resolve = |cluster: &str, from, to| {
        let known = Known {
            kept: Kept::Change(Change { from, to }),
            ..known(cluster)
        };
        Choice::Auto.resolve(&known)
    };
    assert_eq!(resolve("3.5.0", Line::V3_5, Line::V3_6), Ok(Line::V3_5));
    assert_eq!(resolve("3.6.0", Line::V3_5, Line::V3_6), Ok(Line::V3_6));
    // Left over from before.
    assert_eq!(resolve("3.5.0", Line::V3_6, Line::V3_7), Ok(Line::V3_5));
    assert_eq!(resolve("3.7.0", Line::V3_5, Line::V3_6), Ok(Line::V3_7));
    // Down it goes with the cluster.
    assert_eq!(resolve("3.6.0", Line::V3_6, Line::V3_5), Ok(Line::V3_6));
    assert_eq!(resolve("3.5.0", Line::V3_6, Line::V3_5), Ok(Line::V3_5));
}

#[test]
fn a_change_that_leads_elsewhere_than_the_flag_is_left() {
    let up = Kept::Change(Change {
        from: Line::V3_5,
        to: Line::V3_6,
    });
    assert_eq!(Choice::Fixed(Line::V3_5).leave(up), Kept::Nothing);
    assert_eq!(Choice::Fixed(Line::V3_6).leave(up), up);
    assert_eq!(Choice::Auto.leave(up), up);
    let founded = Kept::Founded(Line::V3_7);
    assert_eq!(Choice::Fixed(Line::V3_5).leave(founded), founded);
}

#[test]
fn within_a_change_entries_go_by_the_cluster_version() {
    let (five, six) = (version("3.5.0"), version("3.6.0"));
    let spoken = Spoken::new(Line::V3_6);
    assert_eq!(spoken.of_entries(Some(&five)), Line::V3_6);
    spoken.set_in_change(true);
    assert_eq!(spoken.of_entries(Some(&five)), Line::V3_5);
    assert_eq!(spoken.of_entries(Some(&six)), Line::V3_6);
    assert_eq!(spoken.of_entries(None), Line::V3_6);
    spoken.speak(Line::V3_5);
    assert_eq!(spoken.of_entries(Some(&six)), Line::V3_5);
}

#[test]
fn what_a_member_keeps_is_read_as_it_is_written() {
    let change = Change {
        from: Line::V3_6,
        to: Line::V3_5,
    };
    assert_eq!(change.to_string(), "3.5 from 3.6");
    assert_eq!(Kept::parse("3.5 from 3.6\n"), Some(Kept::Change(change)));
    assert_eq!(Kept::parse("3.6\n"), Some(Kept::Founded(Line::V3_6)));
    for text in [
        "",
        "auto",
        "3.8",
        "3.6 from",
        "3.6 from auto",
        "3.7 from 3.5",
        "3.6 from 3.6",
    ] {
        assert_eq!(Kept::parse(text), None, "{text}");
    }
}

#[test]
fn a_schema_on_its_way_down_does_not_keep_the_line_up() {
    let lowered = Known {
        storage: Some(version("3.6.0")),
        ..known("3.5.0")
    };
    assert_eq!(Choice::Auto.resolve(&lowered), Ok(Line::V3_5));
}

#[test]
fn what_no_line_knows_is_refused() {
    let newer = [
        known("3.8.0"),
        Known {
            storage: Some(version("3.8.0")),
            ..known("3.7.0")
        },
    ];
    for known in newer {
        for word in Choice::WORDS {
            let choice = Choice::parse(word).expect("a word");
            let refused = choice.resolve(&known).expect_err("it is newer than all");
            assert_eq!(
                refused,
                Unfit::TooNew {
                    found: version("3.8.0")
                }
            );
        }
    }
}

#[test]
fn a_line_fits_within_one_minor_above_its_cluster() {
    let fixed = |line, cluster: &str| Choice::Fixed(line).resolve(&known(cluster));
    assert_eq!(fixed(Line::V3_5, "3.4.0"), Ok(Line::V3_5));
    assert_eq!(fixed(Line::V3_5, "3.0.0"), Ok(Line::V3_5));
    assert_eq!(fixed(Line::V3_6, "3.5.0"), Ok(Line::V3_6));
    assert_eq!(fixed(Line::V3_7, "3.6.0"), Ok(Line::V3_7));
    let skips = fixed(Line::V3_7, "3.5.0").expect_err("two minors");
    assert!(skips.to_string().contains("--line=3.6"), "{skips}");
    let skips = fixed(Line::V3_6, "3.4.0").expect_err("two minors");
    assert!(skips.to_string().contains("--line=3.5"), "{skips}");
    let lower = fixed(Line::V3_5, "3.6.0").expect_err("below the cluster");
    assert!(lower.to_string().contains("--line=3.6"), "{lower}");
    let lower = fixed(Line::V3_6, "3.7.0").expect_err("below the cluster");
    assert!(
        lower.to_string().starts_with("invalid downgrade; server"),
        "{lower}"
    );
}

#[test]
fn what_a_line_has_later_lines_keep_or_have_dropped() {
    assert!(Line::V3_7.has(Feature::RangeStream));
    assert!(!Line::V3_6.has(Feature::RangeStream));
    assert!(Line::V3_6.has(Feature::StatusOfStorage));
    assert!(!Line::V3_5.has(Feature::StatusOfStorage));
    assert!(Line::V3_5.has(Feature::GrpcOnPeerPort));
    assert!(!Line::V3_6.has(Feature::GrpcOnPeerPort));
}

#[test]
fn the_patch_decides_who_keeps_the_vote() {
    for (text, keeps) in [
        ("3.4.45", false),
        ("3.5.30", false),
        ("3.5.31", true),
        ("3.6.0", false),
        ("3.6.11", false),
        ("3.6.12", true),
        ("3.7.0", true),
    ] {
        assert_eq!(
            release::update_keeps_the_vote(&version(text)),
            keeps,
            "{text}"
        );
    }
}

#[test]
fn series_that_are_not_named_are_in_every_line() {
    for line in Line::ALL {
        assert!(line.has_series("etcd_server_has_leader"));
    }
    let ranges = "etcd_debugging_mvcc_range_total";
    assert_eq!(
        Line::ALL.map(|line| line.has_series(ranges)),
        [true, false, false]
    );
    let requests = "etcd_server_request_duration_seconds";
    assert_eq!(
        Line::ALL.map(|line| line.has_series(requests)),
        [false, false, true]
    );
}
