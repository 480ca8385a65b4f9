//! Random tokens with a time to live that every use renews.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use rand::RngExt as _;

use super::login::Login;

const LETTERS: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const PREFIX_LEN: usize = 16;
const TTL_DEFAULT: Duration = Duration::from_secs(300);
/// How often expired tokens are looked for, at most.
const SWEEP_MS: u64 = 1000;

/// The tokens of this member.
pub struct Simple {
    ttl_ms: u64,
    tokens: Mutex<Tokens>,
}

#[derive(Default)]
struct Tokens {
    /// Authentication is on.
    accepted: bool,
    known: HashMap<String, Token>,
    swept_ms: u64,
}

struct Token {
    user: Bytes,
    ends_ms: u64,
}

impl Simple {
    /// No tokens; they will live for `ttl`, or etcd's 300 seconds if that is zero.
    #[must_use]
    pub fn new(ttl: Duration) -> Simple {
        let ttl = if ttl.is_zero() { TTL_DEFAULT } else { ttl };
        Simple {
            ttl_ms: ttl.as_millis().try_into().unwrap_or(u64::MAX),
            tokens: Mutex::default(),
        }
    }

    fn end(&self, now_ms: u64) -> u64 {
        now_ms.saturating_add(self.ttl_ms)
    }

    pub(super) fn remember(&self, login: &Login<'_>, now_ms: u64) {
        let mut tokens = self.tokens.lock();
        if tokens.accepted {
            tokens.sweep(now_ms);
            let new = Token {
                user: Bytes::copy_from_slice(login.user),
                ends_ms: self.end(now_ms),
            };
            tokens.known.insert(write(login), new);
        }
    }

    pub(super) fn user_of(&self, token: &str, now_ms: u64) -> Option<Bytes> {
        index_of(token)?;
        let mut tokens = self.tokens.lock();
        let found = tokens.known.get_mut(token)?;
        if now_ms > found.ends_ms {
            tokens.known.remove(token);
            return None;
        }
        found.ends_ms = self.end(now_ms);
        Some(found.user.clone())
    }

    pub(super) fn accept(&self) {
        self.tokens.lock().accepted = true;
    }

    pub(super) fn forget_all(&self) {
        *self.tokens.lock() = Tokens::default();
    }

    pub(super) fn forget(&self, user: &[u8]) {
        self.tokens.lock().known.retain(|_, one| one.user != user);
    }
}

impl Tokens {
    /// Tokens that no one shows any more are not looked up either.
    fn sweep(&mut self, now_ms: u64) {
        if now_ms < self.swept_ms.saturating_add(SWEEP_MS) {
            return;
        }
        self.swept_ms = now_ms;
        self.known.retain(|_, one| now_ms <= one.ends_ms);
    }
}

/// The token of a login.
pub(super) fn write(login: &Login<'_>) -> String {
    format!("{}.{}", login.prefix, login.index)
}

pub(super) fn prefix() -> String {
    let mut random = rand::rng();
    let letter = |_| char::from(LETTERS[random.random_range(0..LETTERS.len())]);
    (0..PREFIX_LEN).map(letter).collect()
}

/// The number in a token; `None` if it is none of these.
pub(super) fn index_of(token: &str) -> Option<u64> {
    let (_, index) = token.split_once('.')?;
    if !index.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    index.parse().ok()
}
