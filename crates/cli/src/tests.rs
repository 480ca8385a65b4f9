//! What etcdctl and etcdutl 3.5.30 print and refuse.

use std::time::Duration;

use proptest::prelude::*;

use crate::{
    command::{Body, Command, find},
    completion,
    flags::{self, Flag, Kind, Parsed, Values, go},
    table::{Side, Table},
    text::{
        duration, hex, parse_bool, parse_duration, parse_float, parse_int, parse_nanoseconds,
        parse_uint, quote, size, unquote, words,
    },
};

fn words_of(line: &str) -> Vec<Vec<u8>> {
    line.split(' ')
        .map(|word| word.as_bytes().to_vec())
        .collect()
}

const FLAGS: &[Flag] = &[
    Flag::switch("prefix", ""),
    Flag::new("rev", Kind::Int, "0", ""),
    Flag::new("endpoints", Kind::List, "a:1", ""),
    Flag::new("write-out", Kind::Text, "simple", "").short('w'),
    Flag::switch("interactive", "").short('i'),
    Flag::new("timeout", Kind::Duration, "5s", ""),
    Flag::new("bump", Kind::Uint, "0", "").required(),
    Flag::new("scale", Kind::Float, "1", ""),
    Flag::new("spawn", Kind::Array, "", ""),
];

fn parse(line: &str) -> Result<Parsed, String> {
    flags::parse(&words_of(line), FLAGS.iter())
}

#[test]
fn flags_and_arguments_mix_until_two_dashes() {
    let parsed = parse("k --rev 0x10 -iw=json end -- --prefix").expect("parses");
    assert_eq!(parsed.args, words_of("k end --prefix"));
    assert_eq!(parsed.args_before_dash, Some(2));
    assert_eq!(parsed.int("rev"), 16);
    assert_eq!(parsed.text("write-out"), "json");
    assert!(parsed.bool("interactive") && !parsed.bool("prefix"));
    assert_eq!(parsed.list("endpoints"), ["a:1"]);
    assert_eq!(parsed.duration("timeout"), Duration::from_secs(5));
}

#[test]
fn a_list_given_twice_adds_up_and_replaces_its_default() {
    let parsed = parse("--endpoints x:1,y:2 --endpoints=z:3").expect("parses");
    assert_eq!(parsed.list("endpoints"), ["x:1", "y:2", "z:3"]);
}

#[test]
fn an_array_given_twice_adds_up_and_keeps_its_commas() {
    assert!(parse("k").expect("parses").list("spawn").is_empty());
    let parsed = parse("--spawn a,b --spawn= --spawn=c").expect("parses");
    assert_eq!(parsed.list("spawn"), ["a,b", "", "c"]);
}

#[test]
fn fractions_are_read_as_go_reads_them() {
    for (text, number) in [("0.25", 0.25), ("1e3", 1000.0), ("-.5", -0.5), ("3", 3.0)] {
        let parsed = parse(&format!("--scale={text}")).expect("parses");
        assert_eq!(parsed.float("scale"), number, "{text}");
    }
    assert_eq!(parse("k").expect("parses").float("scale"), 1.0);
    assert_eq!(parse_float("Inf"), Ok(f64::INFINITY));
    let refused = |text| parse_float(text).map_err(|error| error.to_string());
    for (text, reason) in [
        ("", "invalid syntax"),
        ("1,5", "invalid syntax"),
        ("1e999", "value out of range"),
    ] {
        let message = format!("strconv.ParseFloat: parsing {text:?}: {reason}");
        assert_eq!(refused(text), Err(message));
    }
}

#[test]
fn bad_flags_are_refused_in_pflags_words() {
    for (line, message) in [
        ("--bogus", "unknown flag: --bogus"),
        ("-x", "unknown shorthand flag: 'x' in -x"),
        ("-rev=1", "unknown shorthand flag: 'r' in -rev=1"),
        ("--rev", "flag needs an argument: --rev"),
        ("-w", "flag needs an argument: 'w' in -w"),
        ("--=x", "bad flag syntax: --=x"),
        (
            "--rev x",
            "invalid argument \"x\" for \"--rev\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
        ),
        (
            "--prefix=maybe",
            "invalid argument \"maybe\" for \"--prefix\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
        ),
        (
            "--bump=-1",
            "invalid argument \"-1\" for \"--bump\" flag: strconv.ParseUint: parsing \"-1\": invalid syntax",
        ),
        (
            "--timeout 5",
            "invalid argument \"5\" for \"--timeout\" flag: time: missing unit in duration \"5\"",
        ),
    ] {
        assert_eq!(parse(line).expect_err(line), message);
    }
}

#[test]
fn a_flag_that_was_meant_is_offered() {
    let offered = |reason: &str| flags::with_suggestion(reason.to_owned(), FLAGS.iter());
    assert_eq!(
        offered("unknown flag: --endpoint"),
        "unknown flag: --endpoint\n\nDid you mean this?\n\t--endpoints\n"
    );
    assert_eq!(offered("unknown flag: --zzzzz"), "unknown flag: --zzzzz");
}

#[test]
#[should_panic(expected = "--bogus is no flag of this command")]
fn a_name_outside_the_table_is_no_empty_value() {
    parse("k").expect("parses").text("bogus");
}

#[derive(Debug)]
struct Found(&'static Flag);

impl go::Entry for Found {
    fn flag(&self) -> &Flag {
        self.0
    }
}

fn parse_as_go(line: &str) -> Result<go::Line<Found>, go::UsageError> {
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    go::parse(&words, |name| {
        FLAGS.iter().find(|flag| flag.name == name).map(Found)
    })
}

#[test]
fn gos_grammar_has_one_dash_or_two_and_ends_at_the_first_word_that_is_no_flag() {
    let line = parse_as_go("-prefix --rev 0x10 -timeout=1m30s k --bump=1").expect("parses");
    let [prefix, rev, timeout] = &line.flags[..] else {
        panic!("{line:?}");
    };
    assert!(prefix.value.bool());
    assert_eq!(rev.value.int(), 16);
    assert_eq!(timeout.value.duration(), Duration::from_secs(90));
    assert_eq!(line.stray.as_deref(), Some("k"));
    let line = parse_as_go("--prefix=f -- --rev").expect("parses");
    assert!(!line.flags[0].value.bool());
    assert_eq!(line.stray.as_deref(), Some("--rev"));
    assert_eq!(parse_as_go("-h").err(), Some(go::UsageError::Help));
}

#[test]
fn bad_flags_are_refused_in_the_words_of_gos_flag_package() {
    for (line, message) in [
        ("--bogus", "flag provided but not defined: -bogus"),
        ("--rev", "flag needs an argument: -rev"),
        ("---rev", "bad flag syntax: ---rev"),
        ("-=x", "bad flag syntax: -=x"),
        ("--rev x", "invalid value \"x\" for flag -rev: parse error"),
        (
            "--rev=9223372036854775808",
            "invalid value \"9223372036854775808\" for flag -rev: value out of range",
        ),
        (
            "--prefix=maybe",
            "invalid boolean value \"maybe\" for -prefix: parse error",
        ),
        (
            "--timeout=5",
            "invalid value \"5\" for flag -timeout: parse error",
        ),
    ] {
        let error = parse_as_go(line).expect_err(line);
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn spellings_of_one_value_are_equal() {
    let flag = Flag::new("timeout", Kind::Duration, "5s", "");
    assert_eq!(flag.read("5000ms"), Ok(flag.default_value()));
    assert_ne!(flag.read("-5s"), Ok(flag.default_value()));
    let flag = Flag::switch("on", "").values(Values::Any);
    assert_eq!(flag.read("F"), Ok(flag.default_value()));
    let flag = Flag::new("color", Kind::Text, "red", "").values(Values::OneOf(&["red", "blue"]));
    assert_eq!(
        flag.read("Red").expect_err("case").to_string(),
        "invalid value"
    );
    assert_eq!(flags::variable("ETCD", "data-dir"), "ETCD_DATA_DIR");
}

#[test]
fn integers_are_read_as_go_reads_them() {
    assert_eq!(parse_int("+50", 10), Ok(50));
    assert_eq!(parse_int("-8000000000000000", 16), Ok(i64::MIN));
    assert_eq!(parse_int("1_0", 0), Ok(10));
    let error = |text, base| parse_int(text, base).expect_err(text).to_string();
    assert_eq!(
        error("1_0", 10),
        "strconv.ParseInt: parsing \"1_0\": invalid syntax"
    );
    assert_eq!(
        error("", 0),
        "strconv.ParseInt: parsing \"\": invalid syntax"
    );
    assert_eq!(
        error("ffffffffffffffff", 16),
        "strconv.ParseInt: parsing \"ffffffffffffffff\": value out of range"
    );
    assert_eq!(parse_uint("ffffffffffffffff", 16), Ok(u64::MAX));
    assert_eq!(
        parse_uint("zz", 16).expect_err("zz").to_string(),
        "strconv.ParseUint: parsing \"zz\": invalid syntax"
    );
    assert_eq!(parse_bool("T"), Ok(true));
    assert!(parse_bool("yes").is_err());
}

#[test]
fn durations_are_written_and_read_as_go_does() {
    for (nanoseconds, text) in [
        (0, "0s"),
        (1, "1ns"),
        (678_249, "678.249µs"),
        (4_686_930, "4.68693ms"),
        (1_000_463_571, "1.000463571s"),
        (90_000_000_000, "1m30s"),
        (3_723_500_000_000, "1h2m3.5s"),
    ] {
        let value = Duration::from_nanos(nanoseconds);
        assert_eq!(duration(value), text);
        assert_eq!(parse_duration(text), Ok(value), "{text}");
    }
    assert_eq!(parse_duration("-1s"), Ok(Duration::ZERO));
    assert_eq!(parse_nanoseconds("-1s"), Ok(-1_000_000_000));
    assert!(parse_nanoseconds("1h 2m").is_err());
    assert_eq!(
        parse_duration("5x").expect_err("unit"),
        "time: unknown unit \"x\" in duration \"5x\""
    );
}

#[test]
fn sizes_are_decimal() {
    assert_eq!(
        [0, 9, 10, 1500, 24_576, 2_100_000_000].map(size),
        ["0 B", "9 B", "10 B", "1.5 kB", "25 kB", "2.1 GB"]
    );
}

#[test]
fn strings_are_quoted_as_go_does() {
    let bytes = b"a\xffb\x01\x7f\xc3\xbc\xe2\x80\x8b\"\\\n";
    assert_eq!(quote(bytes), r#""a\xffb\x01\x7fü\u200b\"\\\n""#);
    assert_eq!(quote("\u{a0}e\u{301}".as_bytes()), "\"\\u00a0e\u{301}\"");
    assert_eq!(hex(b"a\0"), r"\x61\x00");
}

#[test]
fn a_line_splits_into_plain_literal_and_quoted_words() {
    let split = words(r#" put  'q "q' "a\tb\x41" --x=1 "#).expect("splits");
    assert_eq!(split, [&b"put"[..], b"q \"q", b"a\tbA", b"--x=1"]);
    assert_eq!(words(r#"get "a\q""#), None);
    assert_eq!(words(r#"get "open"#), None);
}

#[test]
fn a_flag_that_must_be_given_is_missed_by_name() {
    let missing = |line| parse(line).expect("parses").missing(FLAGS.iter());
    assert_eq!(
        missing("k").as_deref(),
        Some("required flag(s) \"bump\" not set")
    );
    assert_eq!(missing("k --bump=3"), None);
}

#[test]
fn flags_of_another_program_are_left_out_with_their_values() {
    let some: Vec<Flag> = FLAGS
        .iter()
        .filter(|flag| ["endpoints", "interactive", "write-out"].contains(&flag.name))
        .copied()
        .collect();
    let left = flags::without(
        &words_of("--endpoints x:1 file -i --rev 3 -w json --endpoints=y -- -i"),
        &some,
    );
    assert_eq!(left, words_of("file --rev 3 -- -i"));
}

static COMMANDS: &[Command<u8>] = &[
    Command::run(
        "get",
        "<key>",
        "Gets",
        &[Flag::switch("prefix", "it's all")],
        1,
    ),
    Command::group(
        "lease",
        "Leases",
        &[
            Command::run("grant", "", "Grants", &[], 2),
            Command::run("keep-alive", "", "Keeps", &[Flag::switch("once", "")], 3),
        ],
    ),
    Command::run(
        "lock",
        "",
        "Locks",
        &[Flag::new("ttl", Kind::Int, "10", "")],
        4,
    ),
];

fn found(line: &str) -> (Vec<&'static str>, Vec<String>) {
    let found = find("etcdctl", COMMANDS, FLAGS, words_of(line)).expect(line);
    let path = found.path.iter().map(|command| command.name).collect();
    let words = found.words.iter();
    let words = words.map(|w| String::from_utf8_lossy(w).into_owned());
    (path, words.collect())
}

#[test]
fn a_command_is_found_by_any_beginning_that_fits_it_alone() {
    let line = found("--endpoints get:1 le --rev 2 keep x --once");
    assert_eq!(line.0, ["lease", "keep-alive"]);
    assert_eq!(
        line.1,
        ["--endpoints", "get:1", "--rev", "2", "x", "--once"]
    );
    assert_eq!(found("lease nonsense").0, ["lease"]);
    assert_eq!(found("lo -- get").0, ["lock"]);
    assert_eq!(found("help lease gr").0, ["lease", "grant"]);
    assert!(find("etcdctl", COMMANDS, FLAGS, words_of("help lease")).is_ok_and(|f| f.asks_help));
    let unknown = |line| find("etcdctl", COMMANDS, FLAGS, words_of(line)).expect_err(line);
    // Two commands begin so.
    assert_eq!(
        unknown("l"),
        "unknown command \"l\" for \"etcdctl\"\n\nDid you mean this?\n\tlease\n\tlock\n"
    );
    assert_eq!(
        unknown("nonsense"),
        "unknown command \"nonsense\" for \"etcdctl\""
    );
}

#[test]
fn a_table_is_a_box_with_centred_headings_and_cells_to_the_right() {
    let mut table = Table::new(&["endpoint", "hash"]);
    table.row(vec!["127.0.0.1:2379".into(), "1".into()]);
    table.row(vec![
        "x".into(),
        "memberID:8837003876426463409 alarm:NOSPACE ".into(),
    ]);
    let right = "\
┌────────────────┬────────────────────────────────────────────┐
│    ENDPOINT    │                    HASH                    │
├────────────────┼────────────────────────────────────────────┤
│ 127.0.0.1:2379 │                                          1 │
│              x │ memberID:8837003876426463409 alarm:NOSPACE │
└────────────────┴────────────────────────────────────────────┘
";
    assert_eq!(table.draw(), right);
    let left = table.last(Side::Left).draw();
    assert!(
        left.contains("│ 127.0.0.1:2379 │ 1                 "),
        "{left}"
    );
}

/// Asks the shell itself what it would offer.
fn bash_offers(line: &[&str]) -> Option<Vec<String>> {
    let script = completion::script("bash", "etcdctl", COMMANDS, FLAGS)?;
    let words: Vec<String> = line.iter().map(|word| format!("{word:?}")).collect();
    let ask = format!(
        "{script}\nCOMP_WORDS=(etcdctl {}); COMP_CWORD={}; compopt() {{ :; }}; _etcdctl; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.join(" "),
        line.len()
    );
    let out = std::process::Command::new("bash")
        .args(["-c", &ask])
        .output()
        .ok()?;
    assert!(
        out.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let text = String::from_utf8(out.stdout).ok()?;
    Some(text.lines().map(str::to_owned).collect())
}

#[test]
fn bash_completes_commands_and_flags_of_the_place_it_is_in() {
    let Some(offers) = bash_offers(&["le"]) else {
        return eprintln!("SKIP: no bash here");
    };
    assert_eq!(offers, ["lease"]);
    assert_eq!(
        bash_offers(&["--rev=1", "lease", ""]).expect("bash"),
        ["grant", "keep-alive"]
    );
    assert_eq!(
        bash_offers(&["lease", "keep-alive", "--o"]).expect("bash"),
        ["--once"]
    );
    assert_eq!(
        bash_offers(&["lock", "--t"]).expect("bash"),
        ["--ttl=", "--timeout="]
    );
    assert_eq!(
        bash_offers(&["lease", "grant", "--ttl"]).expect("bash"),
        [""]
    );
}

#[test]
fn every_shell_has_a_script_that_names_every_command() {
    for (shell, _) in completion::SHELLS {
        let script = completion::script(shell, "etcdctl", COMMANDS, FLAGS).expect(shell);
        for command in COMMANDS {
            assert!(script.contains(command.name), "{shell}: {}", command.name);
            if let Body::Group(children) = command.body {
                assert!(children.iter().all(|c| script.contains(c.name)), "{shell}");
            }
        }
    }
    assert!(completion::script("tcsh", "etcdctl", COMMANDS, FLAGS).is_none());
}

proptest! {
    #[test]
    fn what_is_quoted_unquotes_to_itself(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        prop_assert_eq!(unquote(&quote(&bytes)), Some(bytes));
    }

    #[test]
    fn no_text_breaks_the_parsers(text in "[-+ \\PC\"'\\\\x0-9a-z=]{0,30}") {
        let _ = (parse_duration(&text), parse_int(&text, 0), unquote(&text), words(&text));
        let _ = parse(&text);
    }
}
