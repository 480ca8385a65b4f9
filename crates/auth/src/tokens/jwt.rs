//! JSON Web Tokens with the claims `username`, `revision` and `exp`, which any member with the
//! key can check without asking another.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::{keys::Key, method::Method};
use crate::{Error, Identity};

/// Signs and verifies tokens.
pub struct Jwt {
    method: Method,
    key: Key,
    ttl: Duration,
}

impl Jwt {
    pub(super) fn new(method: Method, key: Key, ttl: Duration) -> Jwt {
        Jwt { method, key, ttl }
    }

    pub(super) fn sign(&self, user: &[u8], revision: u64, unix_secs: i64) -> Result<String, Error> {
        let ttl_secs = self.ttl.as_secs().try_into().unwrap_or(i64::MAX);
        let header = json!({ "alg": self.method.name(), "typ": "JWT" });
        let claims = json!({
            "exp": unix_secs.saturating_add(ttl_secs),
            "revision": revision,
            // As Go writes it: a name that is no text is no longer that of its user.
            "username": proto::wire::text(user),
        });
        let mut token = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.key.sign(token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    pub(super) fn verify(&self, token: &str, unix_secs: i64) -> Option<Identity> {
        let (message, signature) = token.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        let (header, claims) = (decode(header)?, decode(claims)?);
        if header.get("alg")?.as_str()? != self.method.name() {
            tracing::warn!("failed to parse a JWT token: it is of another signing method");
            return None;
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        if !is_current(&claims, unix_secs) || !self.key.verify(message.as_bytes(), &signature) {
            tracing::warn!("failed to parse a JWT token: it is expired, or not of this cluster");
            return None;
        }
        Some(Identity {
            user: claims.get("username")?.as_str()?.to_owned().into(),
            // etcd reads every number as a floating-point one.
            revision: claims.get("revision")?.as_f64()? as u64,
        })
    }
}

/// Whether the times in a token, as far as it has any, are kept.
fn is_current(claims: &Map<String, Value>, unix_secs: i64) -> bool {
    let now = unix_secs as f64;
    let keeps = |name: &str, holds: &dyn Fn(f64) -> bool| match claims.get(name) {
        None => true,
        Some(time) => time.as_f64().is_some_and(|time| time == 0.0 || holds(time)),
    };
    keeps("exp", &|time| now < time)
        && keeps("iat", &|time| now >= time)
        && keeps("nbf", &|time| now >= time)
}

fn encode(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}

fn decode(part: &str) -> Option<Map<String, Value>> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&bytes).ok()
}
