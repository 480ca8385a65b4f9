//! What a command line, an environment and a file mean.

use std::time::Duration;

use super::{
    settings::parse_duration,
    unbuilt::{Other, UNBUILT},
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
fn a_name_is_a_flag_here_or_in_etcd_alone_and_never_twice() {
    let mut names: Vec<&str> = flags::names()
        .chain(unbuilt::DROPPED.iter().copied())
        .collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
    for name in flags::names() {
        assert!(flags::lookup(name).is_some(), "{name}");
    }
}

#[test]
fn a_value_that_asks_for_nothing_is_accepted_for_what_is_not_built() {
    for unbuilt in UNBUILT {
        let (name, default) = (unbuilt.flag.name, unbuilt.flag.default);
        let settings = settings_of(&format!("--{name}={default}"), &[]);
        assert_eq!(settings.notes, [], "--{name}={default}");
        resolve(&settings).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    }
    // In every spelling, as flag, as variable and in the file.
    for line in [
        "--enable-pprof=0",
        "--proxy off",
        "--grpc-keepalive-min-time=5000ms",
    ] {
        assert_eq!(settings_of(line, &[]).notes, [], "{line}");
    }
    let settings = settings_of("", &[("ETCD_PROXY", "off"), ("ETCD_ENABLE_V2", "F")]);
    assert!(
        settings
            .notes
            .iter()
            .all(|note| matches!(note, Note::Variable { .. }))
    );
    config_of_file(
        "proxy: 'off'\nproxy-read-timeout: 0\nenable-v2: false\ndiscovery-fallback: proxy\n",
    )
    .expect("a file of defaults");
}

#[test]
fn a_value_that_an_operator_relies_on_is_refused_by_name() {
    for line in [
        "--proxy=on",
        "--enable-log-rotation",
        "--experimental-enable-distributed-tracing=true",
        "--enable-distributed-tracing=true",
        "--experimental-enable-v2v3=/v2",
        "--memory-mlock",
        "--feature-gates=SetMemberLocalAddr=true",
    ] {
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
fn a_value_that_changes_little_is_accepted_with_one_warning() {
    for unbuilt in UNBUILT {
        let Other::Warned(effect) = unbuilt.other else {
            continue;
        };
        let name = unbuilt.flag.name;
        let value = match unbuilt.flag.kind {
            flags::Kind::Bool if unbuilt.flag.default == "false" => "true",
            flags::Kind::Bool => "false",
            flags::Kind::Duration => "7s",
            flags::Kind::Text => "simple",
            _ => "7",
        };
        let settings = settings_of(&format!("--{name}={value}"), &[]);
        let value = value.to_owned();
        assert_eq!(
            settings.notes,
            [Note::Unbuilt {
                name,
                value,
                effect
            }]
        );
        resolve(&settings).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    }
}

#[test]
fn the_names_of_etcd_3_6_mean_the_flags_of_3_5_everywhere() {
    for (newer, older, value, in_file) in [
        (
            "watch-progress-notify-interval",
            "experimental-watch-progress-notify-interval",
            "5s",
            "5000000000",
        ),
        (
            "corrupt-check-time",
            "experimental-corrupt-check-time",
            "3m",
            "180000000000",
        ),
        (
            "compaction-batch-limit",
            "experimental-compaction-batch-limit",
            "77",
            "77",
        ),
        (
            "compaction-sleep-interval",
            "experimental-compaction-sleep-interval",
            "2ms",
            "2000000",
        ),
        (
            "warning-apply-duration",
            "experimental-warning-apply-duration",
            "2s",
            "2000000000",
        ),
        (
            "snapshot-catchup-entries",
            "experimental-snapshot-catchup-entries",
            "9",
            "9",
        ),
        (
            "bootstrap-defrag-threshold-megabytes",
            "experimental-bootstrap-defrag-threshold-megabytes",
            "3",
            "3",
        ),
        (
            "compact-hash-check-time",
            "experimental-compact-hash-check-time",
            "9s",
            "9000000000",
        ),
        (
            "downgrade-check-time",
            "experimental-downgrade-check-time",
            "1s",
            "1000000000",
        ),
        (
            "peer-skip-client-san-verification",
            "experimental-peer-skip-client-san-verification",
            "true",
            "true",
        ),
    ] {
        let same = |config: Config, how: &str| {
            let by_flag = self::config(&format!("--{older}={value}")).expect(older);
            assert_eq!(
                format!("{config:?}"),
                format!("{by_flag:?}"),
                "{newer} as {how}"
            );
            let default = self::config("").expect("defaults");
            // The time of that check counts with the check alone.
            if newer != "compact-hash-check-time" {
                assert_ne!(format!("{config:?}"), format!("{default:?}"), "{newer}");
            }
        };
        same(config(&format!("--{newer}={value}")).expect(newer), "flag");
        let variable = flags::env_name(newer);
        let settings = settings_of("", &[(variable.as_str(), value)]);
        same(resolve(&settings).expect(newer), "variable");
        same(
            config_of_file(&format!("{newer}: {in_file}\n")).expect(newer),
            "key",
        );
        let error = config(&format!("--{older}={value} --{newer}={value}")).expect_err("both");
        assert!(
            error.message.ends_with(&format!(
                "cannot set --{older} and --{newer} at the same time, please use --{newer} only"
            )),
            "{}",
            error.message
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
    let one = config("--feature-gates=AllAlpha=false,InitialCorruptCheck=true").expect("a group");
    assert!(one.initial_corrupt_check && !one.lease_checkpoint);
    for (gates, text) in [
        ("Odd=true", "unrecognized feature gate: Odd"),
        (
            "InitialCorruptCheck",
            "missing bool value for InitialCorruptCheck",
        ),
        (
            "InitialCorruptCheck=odd",
            "invalid value of InitialCorruptCheck=odd, err: strconv.ParseBool: parsing \"odd\": invalid syntax",
        ),
        (
            "InitialCorruptCheck=true --experimental-initial-corrupt-check=false",
            "cannot specify both flags: --experimental-initial-corrupt-check=false and --feature-gates=InitialCorruptCheck=true \
             at the same time, please just use --feature-gates=InitialCorruptCheck=true",
        ),
    ] {
        let error = config(&format!("--feature-gates={gates}")).expect_err(gates);
        assert_eq!(error.message, text);
    }
}

#[test]
fn empty_variables_count_as_unset() {
    let variables: Vec<String> = flags::names().map(flags::env_name).collect();
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
        ("DPANIC", tracing::Level::ERROR),
    ] {
        let settings = settings_of("", &[("ETCD_LOG_LEVEL", text)]);
        assert_eq!(resolve(&settings).expect(text).logs.level, level);
    }
    assert!(config("").expect("default").logs.json);
    assert!(!config("--log-format=console").expect("text").logs.json);
}

#[test]
fn flags_that_etcd_dropped_are_ignored_with_a_warning() {
    let settings = settings_of("--snapshot --peer-election-timeout=5 --name m", &[]);
    let notes = [
        Note::Dropped("snapshot"),
        Note::Dropped("peer-election-timeout"),
    ];
    assert_eq!(settings.notes, notes);
    assert_eq!(settings.get("name"), "m");
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
        let env = [(flags::env_name(flag), value.to_owned())];
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
    assert_eq!(settings.get("name"), "m2");
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
fn durations_read_as_go_reads_them() {
    for (text, nanos) in [
        ("1h30m", 5_400_000_000_000),
        ("1.5s", 1_500_000_000),
        ("0", 0),
        ("-2ms", -2_000_000),
    ] {
        assert_eq!(parse_duration(text), Some(nanos), "{text}");
    }
    for text in ["", "5", "s", "1x", "1h 2m"] {
        assert_eq!(parse_duration(text), None, "{text:?}");
    }
}

#[test]
fn help_names_every_flag_and_fits_the_terminal() {
    let text = usage("pintle server", 80);
    for group in FLAGS {
        for flag in group.flags {
            assert!(text.contains(&format!("--{}", flag.name)), "{}", flag.name);
        }
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
    assert_eq!(settings.get("discovery-password"), "secret");
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
    assert!(check("--v2-deprecation=gone").is_err());
}
