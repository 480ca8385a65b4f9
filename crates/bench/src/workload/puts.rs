//! Puts of one size, on keys in order or at random.

use super::measure::values;
use crate::closed::Requests;
use crate::grpc::Method;
use crate::keys::{Keys, Random, Values};
use crate::options::Load;
use crate::wire;

/// Chooses keys in order or at random.
#[derive(Debug)]
pub(super) struct Choice {
    keys: Keys,
    random: Random,
    next: u64,
    sequential: bool,
    key: Vec<u8>,
}

impl Choice {
    pub(super) fn new(load: &Load, sequential: bool) -> Self {
        Self {
            keys: Keys::new(load),
            random: Random::new(load.seed),
            next: 0,
            sequential,
            key: Vec::new(),
        }
    }

    pub(super) fn key(&mut self) -> &[u8] {
        let index = if self.sequential {
            self.next % self.keys.count
        } else {
            self.random.below(self.keys.count)
        };
        self.next += 1;
        self.keys.key(index, &mut self.key);
        &self.key
    }
}

/// Puts of one size.
#[derive(Debug)]
pub(super) struct Puts {
    choice: Choice,
    values: Values,
    size: usize,
    revision: i64,
}

impl Puts {
    pub(super) fn new(load: &Load, sequential: bool) -> Self {
        Self {
            choice: Choice::new(load, sequential),
            values: values(load),
            size: load.value_size,
            revision: 0,
        }
    }
}

impl Requests for Puts {
    fn method(&mut self, _: usize) -> Method {
        Method::Put
    }

    fn body(&mut self, _: usize, out: &mut Vec<u8>) {
        wire::put(self.choice.key(), self.values.next(self.size), 0, out);
    }

    fn answer(&mut self, _: usize, body: &[u8]) -> Result<(), String> {
        let revision = wire::revision(body).map_err(|error| error.to_string())?;
        if revision == 0 {
            return Err("the answer to a put has no revision".into());
        }
        self.revision = self.revision.max(revision);
        Ok(())
    }
}
