//! From flags to the way members are reached.

use std::{path::PathBuf, sync::Arc};

use cli::flags::Parsed;
use client::Credentials;

use crate::{
    failure::{Failure, Outcome},
    inspect::Access,
};

/// How members are reached, by the flags of etcdctl.
pub(crate) fn access(parsed: &Parsed, scratch: Option<PathBuf>) -> Outcome<Access> {
    let (cert, key, cacert) = (
        parsed.text("cert"),
        parsed.text("key"),
        parsed.text("cacert"),
    );
    if cert.is_empty() != key.is_empty() {
        return Err(Failure::new("--cert and --key go together"));
    }
    let skip_verify = parsed.bool("insecure-skip-tls-verify");
    let options = tls::ClientOptions {
        identity: (!cert.is_empty()).then(|| tls::Identity {
            cert: cert.into(),
            key: key.into(),
        }),
        trusted_ca: (!cacert.is_empty()).then(|| cacert.into()),
        skip_verify,
        alpn: vec![b"h2".to_vec()],
        ..tls::ClientOptions::default()
    };
    let secure = !cert.is_empty() || !cacert.is_empty() || skip_verify;
    let mut probe = options.clone();
    probe.skip_verify = true;
    probe.alpn = vec![b"http/1.1".to_vec()];
    let connect = |options| match secure {
        true => tls::Connector::new(options)
            .map(|connector| Some(Arc::new(connector)))
            .map_err(Failure::new),
        false => Ok(None),
    };
    let (connector, probe) = (connect(options)?, connect(probe)?);
    let user = parsed.text("user");
    let (name, password) = user
        .split_once(':')
        .unwrap_or((user, parsed.text("password")));
    Ok(Access {
        tls: connector,
        tls_by_default: !cert.is_empty() || !cacert.is_empty(),
        probe,
        credentials: (!name.is_empty()).then(|| Credentials {
            name: name.to_owned(),
            password: password.to_owned(),
        }),
        dial_timeout: parsed.duration("dial-timeout"),
        command_timeout: parsed.duration("command-timeout"),
        scratch,
        pages: true,
        stream_rate: parsed.uint("stream-rate") << 20,
        hash_at: 0,
    })
}

/// The folder for streamed databases.
pub(crate) fn scratch_folder(parsed: &Parsed) -> PathBuf {
    match parsed.text("scratch") {
        "" => std::env::temp_dir(),
        folder => folder.into(),
    }
}
