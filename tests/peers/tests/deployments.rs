//! Settings of real deployments: what starts an etcd starts Pintle. Every row has
//! the usual names, folders and URLs besides, given the way it gives the rest.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use peers::{
    api,
    peer::{self, Program},
    server::{self, Launch},
};

/// How a deployment gives its settings.
enum How {
    Flags(&'static [&'static str]),
    Variables(&'static [(&'static str, &'static str)]),
    Both(
        &'static [&'static str],
        &'static [(&'static str, &'static str)],
    ),
}

struct Deployment {
    name: &'static str,
    /// The release that it runs.
    version: &'static str,
    how: How,
}

const V35: &str = "3.5.30";
const KUBEADM: &[&str] = &[
    "--feature-gates=InitialCorruptCheck=true",
    "--watch-progress-notify-interval=5s",
    "--listen-metrics-urls=http://127.0.0.1:0",
    "--snapshot-count=10000",
];

const DEPLOYMENTS: &[Deployment] = &[
    Deployment {
        name: "minikube",
        version: V35,
        how: How::Flags(&[
            "--experimental-initial-corrupt-check=true",
            "--experimental-watch-progress-notify-interval=5s",
            "--listen-metrics-urls=http://127.0.0.1:0",
            "--proxy-refresh-interval=70000",
            "--snapshot-count=10000",
        ]),
    },
    Deployment {
        name: "k0s",
        version: V35,
        how: How::Flags(&[
            "--log-level=info",
            "--enable-pprof=false",
            "--tls-min-version=TLS1.2",
        ]),
    },
    Deployment {
        name: "OpenShift",
        version: V35,
        how: How::Both(
            &[
                "--logger=zap",
                "--log-level=info",
                "--experimental-initial-corrupt-check=true",
                "--snapshot-count=10000",
                "--metrics=extensive",
                "--listen-metrics-urls=http://127.0.0.1:0",
            ],
            &[
                ("ETCD_QUOTA_BACKEND_BYTES", "8589934592"),
                ("ETCD_ELECTION_TIMEOUT", "1000"),
                ("ETCD_HEARTBEAT_INTERVAL", "100"),
                ("ETCD_ENABLE_PPROF", "true"),
                ("ETCD_EXPERIMENTAL_MAX_LEARNERS", "1"),
                ("ETCD_EXPERIMENTAL_WARNING_APPLY_DURATION", "200ms"),
                ("ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL", "5s"),
                ("ETCD_SOCKET_REUSE_ADDRESS", "true"),
                ("ETCD_TLS_MIN_VERSION", "TLS1.2"),
                ("ETCD_STATIC_POD_VERSION", "3"),
            ],
        ),
    },
    Deployment {
        name: "Kubespray",
        version: V35,
        how: How::Variables(&[
            ("ETCD_METRICS", "basic"),
            ("ETCD_ELECTION_TIMEOUT", "5000"),
            ("ETCD_HEARTBEAT_INTERVAL", "250"),
            ("ETCD_PROXY", "off"),
            ("ETCD_AUTO_COMPACTION_RETENTION", "8"),
            ("ETCD_SNAPSHOT_COUNT", "10000"),
        ]),
    },
    Deployment {
        name: "Vitess",
        version: V35,
        how: How::Flags(&["--enable-v2=true"]),
    },
    Deployment {
        name: "RHEL",
        version: V35,
        how: How::Variables(&[
            ("ETCD_ENABLE_PPROF", "false"),
            ("ETCD_PROXY", "off"),
            ("ETCD_PROXY_FAILURE_WAIT", "5000"),
            ("ETCD_FORCE_NEW_CLUSTER", "false"),
            ("ETCD_STRICT_RECONFIG_CHECK", "true"),
            ("ETCD_ENABLE_V2", "true"),
            ("ETCD_DEBUG", "false"),
        ]),
    },
    Deployment {
        name: "Bitnami",
        version: V35,
        how: How::Variables(&[
            ("ETCD_ON_K8S", "yes"),
            ("ETCD_TRUSTED_CA_FILE", ""),
            ("ETCD_CERT_FILE", ""),
            ("ETCD_KEY_FILE", ""),
            ("ETCD_AUTO_TLS", "false"),
            ("ETCD_PEER_AUTO_TLS", "false"),
            ("ETCD_CLIENT_CERT_AUTH", "false"),
            ("ETCD_SNAPSHOTS_DIR", "/snapshots"),
            ("ETCD_DISABLE_STORE_MEMBER_ID", "no"),
            ("ETCD_LOG_LEVEL", "info"),
            ("ETCD_AUTH_TOKEN", "simple"),
        ]),
    },
    Deployment {
        name: "empty variables",
        version: V35,
        how: How::Variables(&[
            ("ETCD_QUOTA_BACKEND_BYTES", ""),
            ("ETCD_PRE_VOTE", ""),
            ("ETCD_LOG_LEVEL", ""),
            ("ETCD_INITIAL_CLUSTER_STATE", ""),
            ("ETCD_ENABLE_V2", ""),
            ("ETCD_HEARTBEAT_INTERVAL", ""),
            ("ETCD_VERSION", ""),
        ]),
    },
    Deployment {
        name: "kubeadm 1.34 to 1.36",
        version: "3.6.14",
        how: How::Flags(KUBEADM),
    },
    Deployment {
        name: "kubeadm 1.37",
        version: "3.7.1",
        how: How::Flags(KUBEADM.split_at(3).0),
    },
];

impl Deployment {
    /// Starts `program` as this deployment does; it must serve, and keep what it is given.
    async fn run(&self, program: &Program) -> Result<()> {
        let dir = tempfile::tempdir()?;
        let data = dir.path().join("data");
        let (flags, variables): (&[&str], &[(&str, &str)]) = match self.how {
            How::Flags(flags) => (flags, &[]),
            How::Variables(variables) => (&[], variables),
            How::Both(flags, variables) => (flags, variables),
        };
        let mut launch = match self.how {
            How::Variables(_) => usual_variables(program, &data)?,
            _ => Launch::new(program, &data),
        };
        for flag in flags {
            launch = launch.flag(flag);
        }
        for (name, value) in variables {
            launch = launch.env(name, value);
        }
        let server = launch.start().await?;
        server.api().put(api::put("k", "v")).await?;
        server.terminate().await
    }
}

/// The usual settings as variables.
fn usual_variables(program: &Program, data: &Path) -> Result<Launch> {
    let (client, peer) = server::free_ports()?;
    let (client_url, peer_url) = (
        format!("http://127.0.0.1:{client}"),
        format!("http://127.0.0.1:{peer}"),
    );
    Ok(Launch::new(program, data)
        .only_given_flags()
        .ports(client, peer)
        .env("ETCD_NAME", "m")
        .env("ETCD_DATA_DIR", &data.display().to_string())
        .env("ETCD_LISTEN_CLIENT_URLS", &client_url)
        .env("ETCD_ADVERTISE_CLIENT_URLS", &client_url)
        .env("ETCD_LISTEN_PEER_URLS", &peer_url)
        .env("ETCD_INITIAL_ADVERTISE_PEER_URLS", &peer_url)
        .env("ETCD_INITIAL_CLUSTER", &format!("m={peer_url}")))
}

#[test]
fn what_starts_an_etcd_of_a_real_deployment_starts_pintle() {
    let Some(subject) = peer::subject() else {
        return;
    };
    peers::run(300, async {
        for deployment in DEPLOYMENTS {
            let programs = [Some(subject.clone()), peer::etcd(deployment.version)];
            for program in programs.into_iter().flatten() {
                let context = || format!("{} on {program}", deployment.name);
                deployment.run(&program).await.with_context(context)?;
            }
        }
        Ok(())
    });
}

/// Every key that etcd's sample file has, at its value there, on free ports.
fn sample_file(data: &Path, client: u16, peer: u16) -> String {
    let (client, peer) = (
        format!("http://127.0.0.1:{client}"),
        format!("http://127.0.0.1:{peer}"),
    );
    let data = data.display();
    let tls = "  cert-file:\n  key-file:\n  client-cert-auth: false\n  trusted-ca-file:\n  auto-tls: false\n";
    format!(
        "name: 'default'\ndata-dir: {data}\nwal-dir:\nsnapshot-count: 10000\nheartbeat-interval: 100\n\
         election-timeout: 1000\nquota-backend-bytes: 0\nlisten-peer-urls: {peer}\nlisten-client-urls: {client}\n\
         max-snapshots: 5\nmax-wals: 5\ncors:\ninitial-advertise-peer-urls: {peer}\n\
         advertise-client-urls: {client}\ndiscovery:\ndiscovery-fallback: 'proxy'\ndiscovery-proxy:\n\
         discovery-srv:\ninitial-cluster: default={peer}\ninitial-cluster-token: 'etcd-cluster'\ninitial-cluster-state: 'new'\n\
         strict-reconfig-check: false\nenable-v2: true\nenable-pprof: true\nproxy: 'off'\n\
         proxy-failure-wait: 5000\nproxy-refresh-interval: 30000\nproxy-dial-timeout: 1000\n\
         proxy-write-timeout: 5000\nproxy-read-timeout: 0\nclient-transport-security:\n{tls}\
         peer-transport-security:\n{tls}self-signed-cert-validity: 1\nlog-level: debug\nlogger: zap\n\
         log-outputs: [stderr]\nforce-new-cluster: false\nauto-compaction-mode: periodic\n\
         auto-compaction-retention: \"1\"\ncipher-suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, \
         TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]\ntls-min-version: 'TLS1.2'\ntls-max-version: 'TLS1.3'\n"
    )
}

#[test]
fn the_keys_of_etcds_sample_file_start_pintle() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(60, async {
        for program in [subject, reference] {
            let dir = tempfile::tempdir()?;
            let (client, peer) = server::free_ports()?;
            let file = dir.path().join("etcd.conf.yml");
            std::fs::write(&file, sample_file(&dir.path().join("data"), client, peer))?;
            let server = Launch::new(&program, dir.path())
                .only_given_flags()
                .ports(client, peer)
                .flag(&format!("--config-file={}", file.display()))
                .start()
                .await?;
            server.api().put(api::put("k", "v")).await?;
            let warned = "setting is accepted, but not built into this version of Pintle";
            let warnings = server.log_text().matches(warned).count();
            ensure!(
                !program.is_pintle || warnings == 1,
                "enable-v2 alone is worth a warning: {warnings}"
            );
            server.terminate().await?;
        }
        Ok(())
    });
}
