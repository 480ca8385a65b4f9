//! Answers to reads, for reads that may be answered from the past (`serializable`). What is
//! written through this proxy removes the answers that it changes; what is written elsewhere does
//! not, as with etcd's proxy. An answer is for the token that it was given to, and no other.

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use bytes::Bytes;
use prost::Message as _;
use proto::etcdserverpb::{RangeRequest, RangeResponse};

use super::operation::Keys;

/// Answers that are kept at most, as by etcd.
const ANSWERS_MAX: usize = 2048;
/// Bytes that they may take together.
const BYTES_MAX: usize = 64 << 20;

/// Whose answer, and to what: the token, and the encoded request.
type Question = (Option<Rc<str>>, Vec<u8>);

struct Kept {
    question: Rc<Question>,
    keys: Keys,
    /// Of the request: 0 reads the present.
    revision: i64,
    answer: Bytes,
    /// Of the answer.
    as_of: i64,
    used: u64,
}

impl Kept {
    fn size(&self) -> usize {
        self.answer.len() + self.question.1.len() + self.keys.key.len() + self.keys.end.len()
    }
}

/// What a look finds.
pub(super) enum Look {
    /// The encoded answer.
    Answer(Bytes),
    /// The revision that is asked for is gone.
    Compacted,
    /// Nothing.
    Nothing,
}

/// The answers.
#[derive(Default)]
pub(super) struct Cache {
    kept: HashMap<Rc<Question>, Kept>,
    /// By the time of their last use.
    used: BTreeMap<u64, Rc<Question>>,
    clock: u64,
    bytes: usize,
    compacted: i64,
    /// The newest write through this proxy: what is older may not have it.
    written: i64,
}

fn question(token: Option<&Rc<str>>, request: &RangeRequest) -> Question {
    let mut request = request.clone();
    request.serializable = true;
    (token.cloned(), request.encode_to_vec())
}

impl Cache {
    /// Looks for an answer that is not older than `newest`.
    pub(super) fn look(
        &mut self,
        token: Option<&Rc<str>>,
        request: &RangeRequest,
        newest: i64,
    ) -> Look {
        let question = question(token, request);
        if request.revision > 0 && request.revision < self.compacted {
            self.remove(&question);
            return Look::Compacted;
        }
        let Some(kept) = self.kept.get_mut(&question) else {
            return Look::Nothing;
        };
        if kept.as_of < newest {
            return Look::Nothing;
        }
        self.clock += 1;
        if let Some(question) = self.used.remove(&kept.used) {
            self.used.insert(self.clock, question);
        }
        kept.used = self.clock;
        Look::Answer(kept.answer.clone())
    }

    /// Keeps the answer to a request.
    pub(super) fn add(
        &mut self,
        token: Option<&Rc<str>>,
        request: &RangeRequest,
        response: &RangeResponse,
    ) {
        let as_of = response.header.as_ref().map_or(0, |header| header.revision);
        if as_of < self.written || (request.revision > 0 && request.revision < self.compacted) {
            return;
        }
        let question = Rc::new(question(token, request));
        self.remove(&question);
        self.clock += 1;
        let kept = Kept {
            question: question.clone(),
            keys: Keys::new(&request.key, &request.range_end),
            revision: request.revision,
            answer: response.encode_to_vec().into(),
            as_of,
            used: self.clock,
        };
        self.bytes += kept.size();
        self.used.insert(self.clock, question.clone());
        self.kept.insert(question, kept);
        while self.kept.len() > ANSWERS_MAX || self.bytes > BYTES_MAX {
            let Some((_, oldest)) = self.used.pop_first() else {
                break;
            };
            self.remove(&oldest);
        }
    }

    /// Keys are about to be written, or have been: at `revision`, once that is known.
    pub(super) fn written(&mut self, keys: &Keys, revision: i64) {
        self.written = self.written.max(revision);
        let changed = |kept: &&Kept| kept.revision == 0 && kept.keys.meets(keys);
        let changed = self.kept.values().filter(changed);
        let changed: Vec<Rc<Question>> = changed.map(|kept| kept.question.clone()).collect();
        for question in changed {
            self.remove(&question);
        }
    }

    /// What is older than `revision` is gone.
    pub(super) fn compacted(&mut self, revision: i64) {
        self.compacted = self.compacted.max(revision);
    }

    /// How many answers there are.
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    fn remove(&mut self, question: &Question) {
        if let Some(kept) = self.kept.remove(question) {
            self.bytes -= kept.size();
            self.used.remove(&kept.used);
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::etcdserverpb::ResponseHeader;

    use super::*;

    fn request(key: &'static str, revision: i64) -> RangeRequest {
        RangeRequest {
            key: key.into(),
            revision,
            ..RangeRequest::default()
        }
    }

    fn response(revision: i64, count: i64) -> RangeResponse {
        RangeResponse {
            header: Some(ResponseHeader {
                revision,
                ..ResponseHeader::default()
            }),
            count,
            ..RangeResponse::default()
        }
    }

    fn is_there(cache: &mut Cache, request: &RangeRequest, newest: i64) -> bool {
        matches!(cache.look(None, request, newest), Look::Answer(_))
    }

    #[test]
    fn a_write_removes_what_it_changes_and_keeps_old_answers_out() {
        let mut cache = Cache::default();
        cache.add(None, &request("a", 0), &response(5, 1));
        cache.add(None, &request("b", 0), &response(5, 1));
        cache.add(None, &request("a", 3), &response(5, 1));
        cache.written(&Keys::new(&"a".into(), &"".into()), 6);
        assert!(!is_there(&mut cache, &request("a", 0), 0));
        assert!(is_there(&mut cache, &request("b", 0), 0));
        assert!(is_there(&mut cache, &request("a", 3), 0));
        // An answer from before the write that arrives after it.
        cache.add(None, &request("a", 0), &response(5, 1));
        assert!(!is_there(&mut cache, &request("a", 0), 0));
        assert!(!is_there(&mut cache, &request("b", 0), 6));
    }

    #[test]
    fn an_answer_is_for_its_token_alone() {
        let mut cache = Cache::default();
        let token: Rc<str> = "t".into();
        cache.add(Some(&token), &request("a", 0), &response(5, 1));
        assert!(!is_there(&mut cache, &request("a", 0), 0));
        let own = cache.look(Some(&token), &request("a", 0), 0);
        assert!(matches!(own, Look::Answer(_)));
    }

    #[test]
    fn the_answer_that_was_not_used_for_longest_makes_room() {
        let mut cache = Cache::default();
        for n in 0..=ANSWERS_MAX as i64 {
            cache.add(None, &request("a", n + 1), &response(9_999, n));
            assert!(is_there(&mut cache, &request("a", 1), 0));
        }
        assert_eq!(cache.len(), ANSWERS_MAX);
        assert!(!is_there(&mut cache, &request("a", 2), 0));
    }

    #[test]
    fn an_answer_that_is_compacted_is_refused() {
        let mut cache = Cache::default();
        cache.add(None, &request("a", 3), &response(5, 1));
        cache.compacted(4);
        let gone = cache.look(None, &request("a", 3), 0);
        assert!(matches!(gone, Look::Compacted));
        assert_eq!(cache.len(), 0);
    }
}
