//! The global flags, resolved: command line before environment before default.
//! Resolution happens before anything is sent, and names what is wrong.

use std::{sync::Arc, time::Duration};

use cli::{flags::Parsed, text::duration};
use client::{Client, Config, Credentials, Endpoint};

use crate::{
    discovery,
    failure::{EXIT_CONNECTION, EXIT_ERROR, EXIT_FEATURE, Failure, Outcome},
    output::{Format, Output},
    spec::GLOBAL,
    terminal,
};

const ENV_PREFIX: &str = "ETCDCTL_";
/// Variables that are read elsewhere.
const ENV_OTHER: [&str; 3] = [
    "ETCDCTL_API",
    "ETCDCTL_WATCH_KEY",
    "ETCDCTL_WATCH_RANGE_END",
];

/// What every command knows.
#[derive(Clone)]
pub(crate) struct Global {
    pub(crate) output: Output,
    /// The endpoints as given, in order.
    pub(crate) endpoints: Vec<String>,
    /// Whether `--command-timeout` was given, by flag or environment.
    pub(crate) timeout_given: bool,
    command_timeout: Duration,
    dial_timeout: Duration,
    keepalive_time: Duration,
    keepalive_timeout: Duration,
    credentials: Option<Credentials>,
    security: Security,
}

/// TLS, as the flags say it.
#[derive(Clone, Default)]
struct Security {
    connector: Option<Arc<tls::Connector>>,
    /// Endpoints without a scheme are secure.
    by_default: bool,
}

impl Global {
    /// Resolves the global flags of `parsed` and takes in the environment.
    pub(crate) fn resolve(parsed: &mut Parsed) -> Outcome<Self> {
        from_environment(parsed)?;
        let format = Format::from_name(parsed.text("write-out"))
            .ok_or_else(|| Failure::new(EXIT_FEATURE, "unsupported output format"))?;
        let security = security(parsed, "")?;
        if parsed.bool("debug") {
            for flag in GLOBAL {
                // A password has no place in a terminal's history.
                let value = match flag.name {
                    "password" => "",
                    "user" => parsed.text("user").split(':').next().unwrap_or_default(),
                    name => parsed.text(name),
                };
                eprintln!("{}={value}", variable(flag.name));
            }
        }
        let mut endpoints = discovery::endpoints(parsed)?;
        if endpoints.is_empty() {
            let given = parsed.list("endpoints").into_iter();
            endpoints = given.map(str::to_owned).collect();
        }
        Ok(Self {
            output: Output::new(format, parsed.bool("hex")),
            endpoints,
            timeout_given: parsed.given("command-timeout"),
            command_timeout: parsed.duration("command-timeout"),
            dial_timeout: parsed.duration("dial-timeout"),
            keepalive_time: parsed.duration("keepalive-time"),
            keepalive_timeout: parsed.duration("keepalive-timeout"),
            credentials: credentials(parsed, "", "Password: ")?,
            security,
        })
    }

    /// A client on all endpoints.
    pub(crate) async fn client(&self) -> Outcome<Client> {
        self.client_on(self.endpoints.iter().map(String::as_str))
            .await
    }

    /// A client on these endpoints alone.
    pub(crate) async fn client_on<'a>(
        &self,
        endpoints: impl Iterator<Item = &'a str>,
    ) -> Outcome<Client> {
        self.connect(endpoints)
            .await
            .map_err(|error| Failure::call(EXIT_CONNECTION, &error))
    }

    /// As [`Global::client_on`], with the error of the call itself.
    pub(crate) async fn connect<'a>(
        &self,
        endpoints: impl Iterator<Item = &'a str>,
    ) -> Result<Client, client::Error> {
        let endpoints: Vec<&str> = endpoints.collect();
        // A trailing comma names an endpoint that is never reached, as long as there is another.
        let named = |endpoint: &&str| !endpoint.trim().is_empty();
        let some = endpoints.iter().any(named);
        let endpoints = endpoints
            .into_iter()
            .filter(|endpoint| !some || named(endpoint))
            .map(Endpoint::parse)
            .collect::<Result<Vec<_>, _>>()?;
        let mut config = Config::new(endpoints);
        config.command_timeout = Some(self.command_timeout);
        config.dial_timeout = self.dial_timeout;
        config.keepalive_time = self.keepalive_time;
        config.keepalive_timeout = self.keepalive_timeout;
        config.credentials = self.credentials.clone();
        config.tls = self.security.connector.clone();
        config.tls_by_default = self.security.by_default;
        Client::connect(config).await
    }

    /// A client on the destination of `make-mirror`, by the `dest-` flags.
    pub(crate) async fn destination(&self, parsed: &Parsed, endpoint: &str) -> Outcome<Client> {
        let there = Self {
            security: security(parsed, "dest-")?,
            credentials: credentials(parsed, "dest-", "Destination Password: ")?,
            ..self.clone()
        };
        there.client_on([endpoint].into_iter()).await
    }

    /// The same settings with another `--command-timeout`.
    pub(crate) fn patient(&self, command_timeout: Duration) -> Self {
        Self {
            command_timeout,
            ..self.clone()
        }
    }

    /// `--command-timeout`.
    pub(crate) fn command_timeout(&self) -> Duration {
        self.command_timeout
    }
}

fn variable(flag: &str) -> String {
    format!("{ENV_PREFIX}{}", flag.to_uppercase().replace('-', "_"))
}

fn from_environment(parsed: &mut Parsed) -> Outcome {
    match std::env::var("ETCDCTL_API").as_deref() {
        Err(_) | Ok("" | "3") => {}
        Ok("2") => {
            return Err(Failure::new(
                EXIT_ERROR,
                "ETCDCTL_API=2 asks for the v2 API, which this etcdctl does not have; unset it",
            ));
        }
        Ok(other) => {
            return Err(Failure::new(
                EXIT_ERROR,
                format!("unsupported API version: {other}"),
            ));
        }
    }
    for flag in GLOBAL {
        let variable = variable(flag.name);
        // An empty variable counts as unset.
        let Some(value) = std::env::var(&variable).ok().filter(|v| !v.is_empty()) else {
            continue;
        };
        if parsed.given(flag.name) {
            return Err(Failure::new(
                EXIT_ERROR,
                format!(
                    "conflicting environment variable {variable} is shadowed by the flag --{}; \
                     unset the one or leave out the other",
                    flag.name
                ),
            ));
        }
        if let Err(reason) = parsed.supply(flag, value) {
            eprintln!("Warning: {variable} is ignored: {reason}");
        }
    }
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let known = GLOBAL.iter().any(|flag| variable(flag.name) == name);
        if name.starts_with(ENV_PREFIX) && !known && !ENV_OTHER.contains(&&*name) {
            eprintln!("Warning: {name} is ignored: etcdctl has no such flag");
        }
    }
    Ok(())
}

/// How connections are secured. `prefix` precedes the names of the flags.
fn security(parsed: &Parsed, prefix: &str) -> Outcome<Security> {
    let text = |name: &str| parsed.text(&format!("{prefix}{name}"));
    for name in ["cert", "key", "cacert"] {
        if parsed.given(&format!("{prefix}{name}")) && text(name).is_empty() {
            return Err(Failure::bad_args(format!(
                "empty string is passed to --{prefix}{name} option"
            )));
        }
    }
    let (cert, key, cacert) = (text("cert"), text("key"), text("cacert"));
    if cert.is_empty() != key.is_empty() {
        return Err(Failure::bad_args(format!(
            "KeyFile and CertFile must both be present[key: {key}, cert: {cert}]"
        )));
    }
    let by_default = !cert.is_empty()
        || !cacert.is_empty()
        || !parsed.bool(&format!("{prefix}insecure-transport"));
    // The destination of a mirror has no such flag.
    let skip_verify = prefix.is_empty() && parsed.bool("insecure-skip-tls-verify");
    // Endpoints that must be secure must also be of the domain that named them.
    let server_name = prefix
        .is_empty()
        .then(|| discovery::server_name(parsed))
        .flatten();
    let by_default = by_default || server_name.is_some();
    if !by_default && !skip_verify {
        return Ok(Security::default());
    }
    let options = tls::ClientOptions {
        identity: (!cert.is_empty()).then(|| tls::Identity {
            cert: cert.into(),
            key: key.into(),
        }),
        trusted_ca: (!cacert.is_empty()).then(|| cacert.into()),
        skip_verify,
        server_name,
        alpn: vec![b"h2".to_vec()],
        ..tls::ClientOptions::default()
    };
    let connector =
        tls::Connector::new(options).map_err(|error| Failure::bad_args(error.to_string()))?;
    Ok(Security {
        connector: Some(Arc::new(connector)),
        by_default,
    })
}

/// `prefix` precedes the names of the flags.
fn credentials(parsed: &Parsed, prefix: &str, prompt: &str) -> Outcome<Option<Credentials>> {
    let user = parsed.text(&format!("{prefix}user"));
    let given = parsed.text(&format!("{prefix}password"));
    if user.is_empty() {
        return Ok(None);
    }
    let (name, password) = if !given.is_empty() {
        (user, given.to_owned())
    } else if let Some((name, password)) = user.split_once(':') {
        (name, password.to_owned())
    } else {
        (user, terminal::ask_password(prompt)?)
    };
    // As etcd's client: without a name or without a password no one logs in.
    let complete = !name.is_empty() && !password.is_empty();
    Ok(complete.then(|| Credentials {
        name: name.to_owned(),
        password,
    }))
}

/// `took = ...` and the like.
pub(crate) fn took(since: std::time::Instant) -> String {
    duration(since.elapsed())
}
