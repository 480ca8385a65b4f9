//! What a command line, an environment and a file mean.

use std::time::Duration;

use cli::flags::{Kind, Values};
use line::{Choice, Line};

use super::{
    setting::{Here, Setting},
    table::{env_name, flag, ids, lookup},
    *,
};

fn args(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn config(line: &str) -> Result<Config, ParseError> {
    match parse(&args(line), &[])? {
        Parsed::Serve(settings) => resolve(&settings),
        other => panic!("{other:?}"),
    }
}

fn settings_of(line: &str, env: &[(&str, &str)]) -> Settings {
    let env: Vec<_> = env
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    match parse(&args(line), &env) {
        Ok(Parsed::Serve(settings)) => settings,
        other => panic!("{line}: {other:?}"),
    }
}

fn config_of_file(text: &str) -> Result<Config, ParseError> {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("etcd.yml");
    std::fs::write(&path, text).expect("write");
    config(&format!("--config-file {}", path.display()))
}

#[test]
fn every_default_of_the_table_resolves() {
    let config = config("").expect("defaults");
    assert_eq!(config.name, "default");
    assert_eq!(config.data_dir.to_str(), Some("default.etcd"));
    assert_eq!(config.initial_cluster, "default=http://localhost:2380");
    assert_eq!(config.quota_backend_bytes, Some(2 << 30));
    assert_eq!(config.auto_compaction, AutoCompaction::Off);
    assert_eq!(config.request_timeout(), Duration::from_secs(7));
    assert_eq!(config.election_ticks(), 10);
}

#[test]
fn one_dash_two_dashes_and_equals_are_the_same() {
    for line in ["--name m1", "-name m1", "--name=m1", "-name=m1"] {
        assert_eq!(config(line).expect(line).name, "m1");
    }
}

#[test]
fn a_boolean_needs_no_value_and_takes_one_only_after_equals() {
    assert!(config("--socket-reuse-port").expect("alone").reuse_port);
    assert!(
        !config("--socket-reuse-port=false")
            .expect("false")
            .reuse_port
    );
    let error = config("--socket-reuse-port false").expect_err("stray word");
    assert_eq!(
        error,
        ParseError {
            message: "'false' is not a valid flag".into(),
            exit_code: 1,
            conflict: None
        }
    );
}

#[test]
fn unknown_and_unbuilt_flags_are_refused_by_name() {
    let unknown = config("--no-such-flag 1").expect_err("unknown");
    assert_eq!(unknown.exit_code, 2);
    assert!(
        unknown
            .message
            .contains("flag provided but not defined: -no-such-flag")
    );
    let unbuilt = config("--proxy on").expect_err("not built");
    assert_eq!(unbuilt.exit_code, 2);
    assert!(unbuilt.message.contains("-proxy"), "{}", unbuilt.message);
}

#[test]
fn a_value_that_an_operator_relies_on_is_refused_by_name() {
    for line in ["--proxy=on", "--feature-gates=SetMemberLocalAddr=true"] {
        let error = config(line).expect_err(line);
        assert!(error.message.contains("not built"), "{}", error.message);
        let name = line.trim_start_matches('-').split('=').next();
        assert!(
            error.message.contains(name.unwrap_or_default()),
            "{}",
            error.message
        );
    }
    for (line, text) in [
        (
            "--proxy=odd",
            "invalid value \"odd\" for flag -proxy: invalid value",
        ),
        (
            "--enable-v2=odd",
            "invalid boolean value \"odd\" for -enable-v2: parse error",
        ),
        ("--auth-token=odd", "auth: invalid auth options"),
        (
            "--enable-v2 --v2-deprecation=write-only",
            "--enable-v2 and --v2-deprecation=write-only are mutually exclusive",
        ),
    ] {
        assert_eq!(config(line).expect_err(line).message, text);
    }
}

#[test]
fn the_settings_of_authentication_are_checked_as_etcd_checks_them() {
    let found = config("").expect("defaults");
    assert_eq!(
        (
            found.auth_token.as_str(),
            found.auth_token_ttl,
            found.bcrypt_cost
        ),
        ("simple", Duration::from_secs(300), 10)
    );
    let jwt = "jwt,pub-key=k,priv-key=p,sign-method=RS256,ttl=10m";
    let line = format!("--auth-token={jwt} --auth-token-ttl=9 --bcrypt-cost=31");
    let found = config(&line).expect("jwt");
    assert_eq!(
        (
            found.auth_token.as_str(),
            found.auth_token_ttl,
            found.bcrypt_cost
        ),
        (jwt, Duration::from_secs(9), 31)
    );
    for (cost, used) in [("3", 10), ("4", 4), ("32", 10), ("5000000000", 10)] {
        let found = config(&format!("--bcrypt-cost={cost}")).expect(cost);
        assert_eq!(found.bcrypt_cost, used, "{cost}");
    }
    for token in ["odd", "jwt,ttl", "jwt,ttl=1s,ttl=2s", "jwt,ttl=1=2"] {
        let error = config(&format!("--auth-token={token}")).expect_err(token);
        assert_eq!(
            (error.message.as_str(), error.exit_code),
            ("auth: invalid auth options", 1)
        );
    }
}

#[test]
fn feature_gates_switch_what_the_experimental_flags_switch() {
    let gates = "InitialCorruptCheck=true,CompactHashCheck=true, LeaseCheckpoint=1,LeaseCheckpointPersist=T,\
                 TxnModeWriteWithSharedBuffer=true,FastLeaseKeepAlive=true,PriorityRequest=false";
    let by_gates = [
        resolve(&settings_of("", &[("ETCD_FEATURE_GATES", gates)])),
        config_of_file(&format!("feature-gates: {gates}\n")),
        config(&format!("--feature-gates={}", gates.replace(' ', ""))),
    ];
    for config in by_gates {
        let config = config.expect("gates");
        assert!(config.initial_corrupt_check && config.lease_checkpoint);
        assert!(config.lease_checkpoint_persist);
        assert_eq!(
            config.compact_hash_check_time,
            Some(Duration::from_secs(60))
        );
    }
    let states = |gates: &str| {
        let states = config(gates).expect("gates").feature_gates.into_iter();
        let on = states.filter(|gate| gate.on).map(|gate| gate.name);
        on.collect::<Vec<_>>()
    };
    let beta = ["FastLeaseKeepAlive", "TxnModeWriteWithSharedBuffer"];
    assert_eq!(states(""), beta);
    assert_eq!(
        states("--feature-gates=FastLeaseKeepAlive=false,AllBeta=true,PriorityRequest=true"),
        ["AllBeta", "PriorityRequest", beta[1]]
    );
    assert_eq!(
        states("--experimental-initial-corrupt-check --feature-gates=AllBeta=false"),
        ["InitialCorruptCheck"]
    );
    let by_line = |line| {
        let all = config("").expect("none").feature_gates;
        all.iter().filter(|gate| gate.is_in(line)).count()
    };
    assert_eq!((by_line(Line::V3_6), by_line(Line::V3_7)), (9, 11));
    let one = config("--feature-gates=AllAlpha=false,InitialCorruptCheck=true").expect("a group");
    assert!(one.initial_corrupt_check && !one.lease_checkpoint);
    // Of a group, what is not built is left out.
    let alpha = config("--feature-gates=AllAlpha=true").expect("a group");
    assert!(alpha.initial_corrupt_check && alpha.lease_checkpoint);
    for (gates, why) in [
        ("Odd=true", "unrecognized feature gate: Odd"),
        (
            "InitialCorruptCheck",
            "missing bool value for InitialCorruptCheck",
        ),
        (
            "InitialCorruptCheck=odd",
            "invalid value of InitialCorruptCheck=odd, err: strconv.ParseBool: parsing \"odd\": invalid syntax",
        ),
    ] {
        let error = config(&format!("--feature-gates={gates}")).expect_err(gates);
        let text = format!("invalid value {gates:?} for flag -feature-gates: {why}");
        assert_eq!((error.message, error.exit_code), (text, 2));
    }
    let both =
        "--feature-gates=InitialCorruptCheck=true --experimental-initial-corrupt-check=false";
    assert_eq!(
        config(both).expect_err("both").message,
        "cannot specify both flags: --experimental-initial-corrupt-check=false and --feature-gates=InitialCorruptCheck=true \
         at the same time, please just use --feature-gates=InitialCorruptCheck=true"
    );
}

#[test]
fn empty_variables_count_as_unset() {
    let flags = ids().filter(|id| !id.setting().file_only);
    let names = flags.flat_map(|id| id.setting().names());
    let variables: Vec<String> = names.map(|(name, _)| env_name(name)).collect();
    let empty: Vec<(&str, &str)> = variables.iter().map(|key| (key.as_str(), "")).collect();
    let settings = settings_of("", &empty);
    assert_eq!(settings, Settings::default());
    // etcd's rule for a flag and its variable looks at the name alone.
    let env = [("ETCD_NAME".to_owned(), String::new())];
    let error = parse(&args("--name m1"), &env).expect_err("both");
    assert_eq!(error.conflict.as_deref(), Some("ETCD_NAME"));
}

#[test]
fn levels_are_read_in_any_case_and_lines_are_json_unless_asked_otherwise() {
    for (text, level) in [
        ("WARN", tracing::Level::WARN),
        ("Debug", tracing::Level::DEBUG),
        ("warning", tracing::Level::WARN),
        ("DPANIC", tracing::Level::ERROR),
    ] {
        let settings = settings_of("", &[("ETCD_LOG_LEVEL", text)]);
        assert_eq!(resolve(&settings).expect(text).logs.level, level);
    }
    let debug = config("--debug --log-level=error").expect("debug");
    assert_eq!(debug.logs.level, tracing::Level::DEBUG);
    config("--logger=capnslog").expect("the default of etcd 3.4");
    assert!(config("").expect("default").logs.json);
    assert!(!config("--log-format=console").expect("text").logs.json);
}

#[test]
fn timeouts_towards_other_members_are_raised_to_etcds_least() {
    let found = config("--raft-read-timeout=7s --raft-write-timeout=1s").expect("timeouts");
    assert_eq!(found.raft_read_timeout, Duration::from_secs(7));
    assert_eq!(found.raft_write_timeout, Duration::from_secs(5));
}

#[test]
fn a_log_file_is_rotated_as_the_json_says() {
    let line = "--enable-log-rotation --log-outputs=a.log,stderr";
    let logs = config(line).expect("defaults").logs;
    let size = |max_size| Rotation {
        max_size,
        ..Rotation::default()
    };
    assert_eq!(logs.rotation, Some(size(100)));
    assert_eq!(logs.outputs.len(), 2);
    let with = |json: &str| config(&format!("{line} --log-rotation-config-json={json}"));
    let json = r#"{"MaxSize":1,"maxage":2,"maxbackups":3,"localtime":true,"compress":true,"x":0}"#;
    let all = Rotation {
        max_size: 1,
        max_age: 2,
        max_backups: 3,
        local_time: true,
        compress: true,
    };
    assert_eq!(with(json).expect("json").logs.rotation, Some(all));
    let none = "--log-outputs requires a single file path when --log-rotate-config-json is defined";
    for (line, text) in [
        ("--enable-log-rotation".to_owned(), none),
        ("--enable-log-rotation --log-outputs=x,y".to_owned(), none),
        (
            format!("{line} --log-rotation-config-json={{\"maxsize\":\"1\"}}"),
            "invalid log rotation config: json: cannot unmarshal string into Go struct field logRotationConfig.Logger.maxsize of type int",
        ),
        (
            "--log-outputs=systemd/journal,stderr".to_owned(),
            "running with systemd/journal but other '--log-outputs' values ([\"stderr\" \"systemd/journal\"]) are configured with 'default'; override 'default' value with something else",
        ),
    ] {
        assert_eq!(config(&line).expect_err(&line).message, text);
    }
    let error = with("{").expect_err("json").message;
    assert!(error.starts_with("improperly formatted log rotation config: "));
}

#[test]
fn flags_that_etcd_dropped_are_ignored_with_a_warning() {
    let settings = settings_of("--snapshot --peer-election-timeout=5 --name m", &[]);
    let notes = [
        Note::Dropped("snapshot"),
        Note::Dropped("peer-election-timeout"),
    ];
    assert_eq!(settings.notes, notes);
    assert_eq!(settings.text(flag!("name")), "m");
}

#[test]
fn what_etcd_3_6_lacks_is_warned_about_whatever_its_value() {
    let settings = settings_of("--proxy=off", &[("ETCD_PROXY_READ_TIMEOUT", "10")]);
    let deprecated = settings.notes.iter().filter_map(|note| match note {
        Note::Deprecated(text) => Some(text.clone()),
        _ => None,
    });
    assert!(deprecated.eq(["proxy", "proxy-read-timeout"].map(|name| {
        format!("--{name} is deprecated in 3.5 and will be decommissioned in 3.6.")
    })));
}

#[test]
fn what_is_about_to_go_is_by_line_and_by_name() {
    let of = |line: &str, words: &str| {
        let settings = settings_of(words, &[("PINTLE_LINE", line)]);
        let count = |note: &&Note| matches!(note, Note::Deprecated(_));
        settings.notes.iter().filter(count).count()
    };
    let words = "--proxy=off --max-snapshots=5 --experimental-corrupt-check-time=1s";
    assert_eq!(of("auto", words), 1);
    assert_eq!(of("3.5", words), 1);
    assert_eq!(of("3.6", words), 2);
    assert_eq!(of("3.7", words), 1);
    assert_eq!(of("3.6", "--corrupt-check-time=1s"), 0);
}

#[test]
fn the_first_stage_of_the_v2_api_ends_with_3_5() {
    let refused = |words: &str| config(words).err().map(|error| error.message);
    assert_eq!(refused("--v2-deprecation=not-yet"), None);
    assert_eq!(refused("--line=3.6"), None);
    assert_eq!(
        refused("--line=3.6 --v2-deprecation=not-yet").as_deref(),
        Some(r#"invalid value "not-yet" for flag -v2-deprecation: invalid value "not-yet""#)
    );
}

#[test]
fn the_version_is_that_of_the_line_that_is_asked_for() {
    let asked = |line: &str, variable: &str| {
        let env = [("PINTLE_LINE".to_owned(), variable.to_owned())];
        parse(&args(line), &env)
    };
    let version = |line| Ok(Parsed::Version(line));
    assert_eq!(asked("--version", ""), version(Choice::Auto));
    assert_eq!(
        asked("--version", "3.6"),
        version(Choice::Fixed(Line::V3_6))
    );
    assert_eq!(
        asked("--line=3.7 --version", "3.6"),
        version(Choice::Fixed(Line::V3_7))
    );
    assert_eq!(asked("--version", "4.0"), version(Choice::Auto));
}

#[test]
fn checks_speak_with_etcds_words() {
    for (line, text) in [
        (
            "--heartbeat-interval 0",
            "--heartbeat-interval must be >0 (set to 0ms)",
        ),
        (
            "--election-timeout 400",
            "--election-timeout[400ms] should be at least as 5 times as --heartbeat-interval[100ms]",
        ),
        (
            "--election-timeout 60000",
            "--election-timeout[60000ms] is too long, and should be set less than 50000ms",
        ),
        (
            "--listen-client-urls http://127.0.0.1:1",
            "--advertise-client-urls is required when --listen-client-urls is set explicitly",
        ),
        ("--logger odd", "unknown logger option \"odd\""),
        (
            "--auto-compaction-mode odd",
            "unknown auto-compaction-mode \"odd\"",
        ),
        (
            "--listen-peer-urls http://example.com:2380",
            "expected IP in URL for binding (http://example.com:2380)",
        ),
    ] {
        let error = config(line).expect_err(line);
        assert_eq!(
            (error.message.as_str(), error.exit_code),
            (text, 1),
            "{line}"
        );
    }
}

#[test]
fn a_value_that_is_no_such_thing_is_a_usage_error_on_the_command_line_alone() {
    for (flag, value) in [
        ("initial-cluster-state", "odd"),
        ("listen-client-urls", "ftp://127.0.0.1:1"),
        ("listen-peer-urls", "http://127.0.0.1"),
        ("advertise-client-urls", "x"),
        ("listen-metrics-urls", "http://127.0.0.1:1/path"),
        ("heartbeat-interval", "odd"),
        ("snapshot-count", "-1"),
        ("socket-reuse-port", "odd"),
        ("log-level", "odd"),
    ] {
        let error = config(&format!("--{flag}={value}")).expect_err(flag);
        assert_eq!(error.exit_code, 2, "{flag}");
        assert!(error.message.contains(flag), "{}", error.message);
        assert!(error.message.contains(value), "{}", error.message);
        if flag == "log-level" {
            continue;
        }
        let env = [(env_name(flag), value.to_owned())];
        let error = parse(&[], &env).expect_err(flag);
        assert_eq!(error.exit_code, 1, "{flag} in the environment");
    }
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("etcd.yml");
    for text in [
        "initial-cluster-state: odd",
        "listen-peer-urls: ftp://127.0.0.1:1",
    ] {
        std::fs::write(&path, text).expect("write");
        let error = config(&format!("--config-file {}", path.display())).expect_err(text);
        assert_eq!(error.exit_code, 1, "{text}");
    }
    std::fs::write(&path, "initial-cluster-state: ''").expect("write");
    let config = config(&format!("--config-file {}", path.display())).expect("empty state");
    assert!(!config.join_existing);
}

#[test]
fn environment_fills_in_and_conflicts_with_flags() {
    let env = [("ETCD_NAME".to_owned(), "m2".to_owned())];
    let Ok(Parsed::Serve(settings)) = parse(&[], &env) else {
        panic!("environment alone")
    };
    assert_eq!(settings.text(flag!("name")), "m2");
    let error = parse(&args("--name m1"), &env).expect_err("both");
    assert_eq!(error.exit_code, 1);
    assert!(
        error
            .message
            .contains("conflicting environment variable \"ETCD_NAME\"")
    );
}

#[test]
fn a_file_replaces_flags_and_counts_durations_in_nanoseconds() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("etcd.yml");
    std::fs::write(
        &path,
        "name: f1\nbackend-batch-interval: 5000000\nlog-outputs: [stderr]\nsocket-options:\n  reuse-port: true\nauto-compaction-retention: \"2\"\nclient-transport-security:\n  cert-file: ''\n",
    )
    .expect("write");
    let line = format!("--name m1 --config-file {}", path.display());
    let config = config(&line).expect("file");
    assert_eq!(config.name, "f1");
    assert_eq!(config.backend_batch_interval, Duration::from_millis(5));
    assert!(config.reuse_port);
    assert_eq!(
        config.auto_compaction,
        AutoCompaction::Periodic(Duration::from_secs(7200))
    );
}

#[test]
fn help_names_every_flag_and_fits_the_terminal() {
    let text = usage("pintle server", 80);
    for id in ids().filter(|id| !id.setting().file_only) {
        assert!(
            text.contains(&format!("  --{}", id.name())),
            "{}",
            id.name()
        );
    }
    assert!(
        text.lines()
            .filter(|l| l.starts_with("    "))
            .all(|l| l.len() <= 84)
    );
}

#[test]
fn tls_flags_and_the_sections_of_the_file_say_the_same() {
    let flags = "--cert-file c --key-file k --trusted-ca-file ca --client-cert-auth --client-crl-file r \
        --peer-cert-file pc --peer-key-file pk --peer-cert-allowed-cn a,b --tls-max-version TLS1.2 \
        --listen-client-urls https://127.0.0.1:1 --advertise-client-urls https://127.0.0.1:1";
    let by_flags = config(flags).expect("flags").security;
    assert_eq!(
        by_flags.peer.allowed,
        tls::Allowed::CommonNames(vec!["a".into(), "b".into()])
    );
    assert!(by_flags.peer.check_remote && !by_flags.client.check_remote);
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("etcd.yml");
    std::fs::write(
        &path,
        "tls-max-version: TLS1.2\nlisten-client-urls: https://127.0.0.1:1\nadvertise-client-urls: https://127.0.0.1:1\n\
         client-transport-security:\n  cert-file: c\n  key-file: k\n  trusted-ca-file: ca\n  client-cert-auth: true\n\
         peer-transport-security:\n  cert-file: pc\n  key-file: pk\n  allowed-cn: [a, b]\n",
    )
    .expect("write");
    let by_file = config(&format!("--config-file {}", path.display()))
        .expect("file")
        .security;
    assert_eq!(by_file.peer, by_flags.peer);
    // The list of revoked certificates has no key.
    let client = tls::Options {
        crl: None,
        ..by_flags.client
    };
    assert_eq!(by_file.client, client);
}

#[test]
fn tls_that_cannot_be_is_refused_in_etcds_words() {
    let urls =
        "--advertise-client-urls https://127.0.0.1:1 --listen-client-urls https://127.0.0.1:1";
    for (line, text) in [
        (
            urls,
            "TLS key/cert (--cert-file, --key-file) must be provided for client url https://127.0.0.1:1 with HTTPS scheme",
        ),
        (
            "--listen-metrics-urls https://127.0.0.1:1",
            "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url https://127.0.0.1:1",
        ),
        (
            "--tls-min-version TLS1.3 --tls-max-version TLS1.2",
            "min version (TLS1.3) is greater than max version (TLS1.2)",
        ),
        ("--cipher-suites odd", "unexpected TLS cipher suite \"odd\""),
    ] {
        let error = config(line).expect_err(line);
        assert_eq!(
            (error.message.as_str(), error.exit_code),
            (text, 1),
            "{line}"
        );
    }
    let error = config("--cert-file c").expect_err("half");
    assert!(
        error
            .message
            .starts_with("KeyFile and CertFile must both be present[key: , cert: c]"),
        "{}",
        error.message
    );
    let error =
        config("--peer-cert-allowed-cn a --peer-cert-allowed-hostname b").expect_err("both");
    assert!(
        error.message.contains("mutually exclusive"),
        "{}",
        error.message
    );
    config(&format!("{urls} --auto-tls")).expect("a certificate from somewhere");
}

#[test]
fn discovery_takes_the_place_of_the_initial_cluster() {
    let found = config("--discovery-srv example.com --discovery-srv-name blue").expect("srv");
    assert_eq!(found.initial_cluster, "");
    assert_eq!(
        found.discovery,
        Discovery::Srv {
            domain: "example.com".into(),
            service_name: "blue".into()
        }
    );
    assert_eq!(found.discovery.cluster_token("t"), "t");
    let found =
        config("--discovery http://127.0.0.1:1/token --discovery-proxy p:3128").expect("v2");
    assert_eq!(
        found.discovery,
        Discovery::V2 {
            url: "http://127.0.0.1:1/token".into(),
            proxy: Some("p:3128".into())
        }
    );
    assert_eq!(
        found.discovery.cluster_token("t"),
        "http://127.0.0.1:1/token"
    );
    assert_eq!(config("").expect("none").discovery, Discovery::Static);
}

#[test]
fn discovery_flags_that_contradict_each_other_are_refused_in_etcds_words() {
    let v3 = "--discovery-token t --discovery-endpoints a:1";
    for (line, text) in [
        (
            "--initial-cluster default=http://localhost:2380 --discovery-srv example.com"
                .to_owned(),
            "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \"discovery\" or \"discovery-srv\"",
        ),
        (
            format!("{v3} --discovery-srv example.com"),
            "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \"discovery\", \
             \"discovery-endpoints\" or \"discovery-srv\"",
        ),
        (
            "--discovery-token t".to_owned(),
            "both --discovery-token and --discovery-endpoints must be set",
        ),
        (
            "--discovery-endpoints a:1".to_owned(),
            "both --discovery-token and --discovery-endpoints must be set",
        ),
        (
            format!("{v3} --discovery-proxy p:1"),
            "both v2 discovery settings (discovery, discovery-proxy) and v3 discovery settings (discovery-token, \
             discovery-endpoints, discovery-cert, discovery-key, discovery-cacert, discovery-user, discovery-password) are set",
        ),
        (
            format!("{v3} --discovery-cert c"),
            "KeyFile and CertFile must both be present[key: , cert: c] (--discovery-key, --discovery-cert)",
        ),
    ] {
        let error = config(&line).expect_err(&line);
        assert_eq!(
            (error.message.as_str(), error.exit_code),
            (text, 1),
            "{line}"
        );
    }
}

#[test]
fn the_registry_of_flags_and_of_the_file_is_the_same() {
    let flags = "--discovery-token t --discovery-endpoints b:1,a:1,b:1 --discovery-request-timeout 7s --discovery-cert c \
        --discovery-key k --discovery-cacert ca --discovery-insecure-transport=false --discovery-user u:p:w";
    let by_flags = config(flags).expect("flags").discovery;
    let Discovery::Registry(registry) = &by_flags else {
        panic!("{by_flags:?}");
    };
    assert_eq!(registry.endpoints, ["a:1", "b:1"]);
    assert_eq!(registry.dial_timeout, Duration::from_secs(2));
    assert_eq!(registry.request_timeout, Duration::from_secs(7));
    assert_eq!(registry.credentials, Some(("u".into(), "p:w".into())));
    assert!(!registry.insecure_transport && !registry.skip_verify);
    assert!(
        !format!("{by_flags:?}").contains("p:w"),
        "a password in a log"
    );
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("etcd.yml");
    std::fs::write(
        &path,
        "discovery-config:\n  token: t\n  client:\n    endpoints: [b:1, a:1, b:1]\n    request-timeout: 7000000000\n    \
         secure:\n      cert: c\n      key: k\n      cacert: ca\n      insecure-transport: false\n    \
         auth:\n      username: u\n      password: p:w\n",
    )
    .expect("write");
    let by_file = config(&format!("--config-file {}", path.display())).expect("file");
    assert_eq!(by_file.discovery, by_flags);
    assert_eq!(by_file.initial_cluster, "");
}

#[test]
fn a_password_is_not_logged() {
    let env = [("ETCD_DISCOVERY_PASSWORD".to_owned(), "secret".to_owned())];
    let Ok(Parsed::Serve(settings)) = parse(&[], &env) else {
        panic!("refused");
    };
    assert_eq!(settings.text(flag!("discovery-password")), "secret");
    assert!(!format!("{:?}", settings.notes).contains("secret"));
    let given = args(
        "--discovery-password secret --name m -discovery-password=secret --discovery-user u:secret",
    );
    assert_eq!(
        without_secrets(&given),
        args("--discovery-password *** --name m -discovery-password=*** --discovery-user ***")
    );
}

#[test]
fn what_is_done_about_disagreeing_copies_is_one_of_three() {
    let check = |words: &str| config(words).map(|c| (c.membership_check, c.drop_v2_keys));
    assert_eq!(check("").ok(), Some((MembershipCheck::Heal, false)));
    assert_eq!(
        check("--membership-check=refuse --v2-deprecation=write-only-drop-data").ok(),
        Some((MembershipCheck::Refuse, true))
    );
    assert_eq!(
        check("--membership-check=report --v2-deprecation=write-only").ok(),
        Some((MembershipCheck::Report, false))
    );
    assert!(check("--membership-check=repair").is_err());
    assert_eq!(
        check("--v2-deprecation=gone").ok(),
        Some((MembershipCheck::Heal, false))
    );
    let error = check("--v2-deprecation=odd").expect_err("stage");
    assert_eq!(
        error.message,
        "invalid value \"odd\" for flag -v2-deprecation: invalid value \"odd\""
    );
}

/// A value of a setting that is not its default.
fn sample(setting: &Setting) -> &'static str {
    let default = setting.flag.default;
    match (setting.flag.name, setting.flag.kind, setting.flag.values) {
        ("v2-deprecation", ..) => "write-only",
        ("line", ..) => "3.6",
        ("max-concurrent-streams", ..) => "7",
        ("feature-gates", ..) => "InitialCorruptCheck=true",
        (_, Kind::Bool, _) if default == "true" => "false",
        (_, Kind::Bool, _) => "true",
        (_, Kind::Int | Kind::Uint | Kind::Float, _) => "77",
        (_, Kind::Duration, _) => "7s",
        (_, Kind::Text | Kind::List | Kind::Array, Values::OneOf(words)) => words
            .iter()
            .copied()
            .find(|word| *word != default)
            .expect("another word"),
        (_, Kind::Text | Kind::List | Kind::Array, Values::Checked(_)) => "http://127.0.0.1:7",
        (_, Kind::Text | Kind::List | Kind::Array, Values::Any) => "sample",
    }
}

/// The file that has `value` under nested keys.
fn file_of(path: &[&str], kind: Kind, value: &str) -> String {
    let value = match kind {
        Kind::Duration => "7000000000".to_owned(),
        Kind::Text | Kind::List | Kind::Array => format!("'{value}'"),
        Kind::Bool | Kind::Int | Kind::Uint | Kind::Float => value.to_owned(),
    };
    let mut lines = String::new();
    for (depth, key) in path.iter().enumerate() {
        lines += &format!("{}{key}:", "  ".repeat(depth));
        lines += if depth + 1 == path.len() { " " } else { "\n" };
    }
    lines + &value + "\n"
}

fn settings_of_file(text: &str) -> Result<Settings, ParseError> {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("etcd.yml");
    std::fs::write(&path, text).expect("write");
    match parse(&args(&format!("--config-file {}", path.display())), &[])? {
        Parsed::Serve(settings) => Ok(settings),
        other => panic!("{other:?}"),
    }
}

fn served(parsed: Parsed) -> Settings {
    match parsed {
        Parsed::Serve(settings) => settings,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_setting_means_the_same_as_flag_as_variable_and_in_the_file() {
    for id in ids() {
        let setting = id.setting();
        let text = sample(setting);
        let value = setting.flag.read(text).expect("a value of its kind");
        assert_ne!(value, setting.flag.default_value(), "--{}", id.name());
        let check = |result: Result<Settings, ParseError>, how: &str| match result {
            Err(error) => {
                assert_eq!(setting.here, Here::Refused, "{how}: {error:?}");
                assert!(error.message.contains("not built"), "{how}: {error:?}");
            }
            Ok(settings) => {
                assert_eq!(settings.value(id), value, "{how}");
                let set: Vec<_> = ids().filter(|id| settings.is_set(*id)).collect();
                assert_eq!(set, [id], "{how}");
                let warnings = settings.notes.iter();
                let warnings = warnings.filter(|note| matches!(note, Note::Unbuilt { .. }));
                let expected = matches!(setting.here, Here::Warned(_));
                assert_eq!(warnings.count(), usize::from(expected), "{how}");
            }
        };
        for (name, _) in setting.names().filter(|_| !setting.file_only) {
            let line = format!("--{name}={text}");
            check(parse(&args(&line), &[]).map(served), &line);
            let env = [(env_name(name), text.to_owned())];
            check(parse(&[], &env).map(served), &env[0].0);
        }
        for (path, _) in setting.paths() {
            let text = file_of(&path, setting.flag.kind, text);
            check(settings_of_file(&text), &text);
        }
    }
}

#[test]
fn a_default_that_is_spelled_out_is_no_reason_to_warn() {
    // etcd warns about some whatever their value.
    let notes = |mut settings: Settings| {
        settings
            .notes
            .retain(|note| !matches!(note, Note::Deprecated(_)));
        settings.notes
    };
    for id in ids().filter(|id| !id.setting().file_only) {
        let flag = &id.setting().flag;
        let (name, default) = (flag.name, flag.default);
        assert!(flag.read(default).is_ok(), "{name}");
        let line = [format!("--{name}={default}")];
        let settings = parse(&line, &[]).map(served).expect(name);
        assert_eq!(notes(settings), [], "{name}");
    }
    // In every spelling.
    for line in [
        "--enable-pprof=0",
        "--proxy off",
        "--grpc-keepalive-min-time=5000ms",
    ] {
        assert_eq!(notes(settings_of(line, &[])), [], "{line}");
    }
}

#[test]
fn two_names_of_one_setting_are_one_too_many() {
    for id in ids() {
        let names: Vec<_> = id.setting().names().map(|(name, _)| name).collect();
        let value = sample(id.setting());
        let [own, other] = names[..] else {
            assert_eq!(names.len(), 1);
            continue;
        };
        if id.setting().here == Here::Refused {
            continue;
        }
        let line = format!("--{own}={value} --{other}={value}");
        let error = parse(&args(&line), &[]).expect_err(&line);
        let text =
            format!("cannot set --{own} and --{other} at the same time, please use --{other} only");
        assert!(error.message.ends_with(&text), "{}", error.message);
    }
}

/// The flags that the releases of etcd accept, those that `--help` leaves out included.
const RELEASES: [(u8, &str); 4] = [
    (4, include_str!("names/3.4.23.txt")),
    (5, include_str!("names/3.5.30.txt")),
    (6, include_str!("names/3.6.16.txt")),
    (7, include_str!("names/3.7.3.txt")),
];

#[test]
fn the_table_has_every_flag_of_every_line_and_no_other() {
    let mut all: Vec<&str> = definitions::DROPPED.to_vec();
    all.extend(ids().flat_map(|id| id.setting().names().map(|(name, _)| name)));
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count, "a name is in the table once");
    for (line, names) in RELEASES {
        let known: Vec<&str> = names.lines().collect();
        assert!(known.len() > 80, "3.{line}");
        for name in &known {
            assert!(lookup(name).is_some(), "--{name} of 3.{line}");
        }
        for id in ids().filter(|id| !id.setting().file_only) {
            for (name, lines) in id.setting().names() {
                let in_table = lines.is_some_and(|(first, last)| (first..=last).contains(&line));
                assert_eq!(in_table, known.contains(&name), "--{name} in 3.{line}");
            }
        }
    }
}

#[test]
fn values_are_read_as_go_reads_them() {
    let found = config("--heartbeat-interval=0x64 --quota-backend-bytes=1_000").expect("numbers");
    assert_eq!(found.heartbeat, Duration::from_millis(100));
    assert_eq!(found.quota_backend_bytes, Some(1000));
    for (line, text) in [
        (
            "--snapshot-count=99999999999999999999",
            "invalid value \"99999999999999999999\" for flag -snapshot-count: value out of range",
        ),
        (
            "--max-concurrent-streams=4294967296",
            "invalid value \"4294967296\" for flag -max-concurrent-streams: strconv.ParseUint: parsing \"4294967296\": value out of range",
        ),
        (
            "--backend-batch-interval=5",
            "invalid value \"5\" for flag -backend-batch-interval: parse error",
        ),
        ("---name=x", "bad flag syntax: ---name=x"),
        ("--name", "flag needs an argument: -name"),
    ] {
        let error = config(line).expect_err(line);
        assert_eq!(
            (error.message.as_str(), error.exit_code),
            (text, 2),
            "{line}"
        );
    }
    assert!(!config("--metrics=odd").expect("any word").extensive_metrics);
    assert!(config("--auto-compaction-mode=").is_ok());
}

#[test]
fn keys_of_the_file_are_read_where_etcd_reads_them() {
    let settings =
        settings_of_file("Name: m\ncert-file: c\npeer-crl-file: r\nodd: 1\n").expect("file");
    assert_eq!(settings.text(flag!("name")), "m");
    for id in [flag!("cert-file"), flag!("peer-crl-file")] {
        assert!(!settings.is_set(id), "{}", id.name());
    }
    let unknown = |key: &str| Note::UnknownKey(key.to_owned());
    let expected = ["cert-file", "peer-crl-file", "odd"].map(unknown);
    assert!(expected.iter().all(|note| settings.notes.contains(note)));
}
