//! JSON as Go's encoding/json writes etcd's structs: proto field names, zero
//! values left out, bytes in base64, 64-bit numbers as numbers, enums as
//! numbers, `<`, `>` and `&` escaped.

use base64::{Engine, engine::general_purpose::STANDARD};
use proto::{
    etcdserverpb::{self as api, response_op::Response as Op},
    mvccpb::{Event, KeyValue},
};

/// An object being written.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Writes one object.
    pub(crate) fn write(out: &'a mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
        out.push(b'{');
        let mut object = Object { out, empty: true };
        fill(&mut object);
        object.out.push(b'}');
    }

    /// Writes an array of objects.
    pub(crate) fn array<T>(
        out: &mut Vec<u8>,
        items: &[T],
        mut fill: impl FnMut(&mut Object<'_>, &T),
    ) {
        out.push(b'[');
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            Object::write(out, |object| fill(object, item));
        }
        out.push(b']');
    }

    fn key(&mut self, name: &str) {
        if !std::mem::take(&mut self.empty) {
            self.out.push(b',');
        }
        string(self.out, name);
        self.out.push(b':');
    }

    /// A value that is written even when it is zero.
    pub(crate) fn always(&mut self, name: &str, value: impl std::fmt::Display) {
        self.key(name);
        self.out.extend_from_slice(value.to_string().as_bytes());
    }

    pub(crate) fn text_always(&mut self, name: &str, value: &str) {
        self.key(name);
        string(self.out, value);
    }

    pub(crate) fn uint(&mut self, name: &str, value: u64) {
        if value != 0 {
            self.always(name, value);
        }
    }

    pub(crate) fn int(&mut self, name: &str, value: i64) {
        if value != 0 {
            self.always(name, value);
        }
    }

    pub(crate) fn bool(&mut self, name: &str, value: bool) {
        if value {
            self.always(name, value);
        }
    }

    pub(crate) fn text(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.text_always(name, value);
        }
    }

    pub(crate) fn bytes(&mut self, name: &str, value: &[u8]) {
        if !value.is_empty() {
            self.text_always(name, &STANDARD.encode(value));
        }
    }

    pub(crate) fn texts(&mut self, name: &str, values: &[String]) {
        if !values.is_empty() {
            self.strings(name, values.iter().map(String::as_str));
        }
    }

    /// Names, which may be any bytes, as texts.
    pub(crate) fn names(&mut self, name: &str, values: &[bytes::Bytes]) {
        let texts: Vec<_> = values
            .iter()
            .map(|value| proto::wire::text(value))
            .collect();
        self.texts(name, &texts);
    }

    /// An array of strings, written even when empty.
    fn strings<'s>(&mut self, name: &str, values: impl Iterator<Item = &'s str>) {
        self.key(name);
        self.out.push(b'[');
        for (at, value) in values.enumerate() {
            if at > 0 {
                self.out.push(b',');
            }
            string(self.out, value);
        }
        self.out.push(b']');
    }

    /// An array of byte strings; `null` when empty.
    pub(crate) fn bytes_or_null(&mut self, name: &str, values: &[bytes::Bytes]) {
        if values.is_empty() {
            return self.always(name, "null");
        }
        let encoded: Vec<_> = values.iter().map(|value| STANDARD.encode(value)).collect();
        self.strings(name, encoded.iter().map(String::as_str));
    }

    pub(crate) fn child(&mut self, name: &str, fill: impl FnOnce(&mut Object<'_>)) {
        self.key(name);
        Object::write(self.out, fill);
    }

    /// An array of objects, written even when empty.
    pub(crate) fn children_always<T>(
        &mut self,
        name: &str,
        items: &[T],
        fill: impl FnMut(&mut Object<'_>, &T),
    ) {
        self.key(name);
        Object::array(self.out, items, fill);
    }

    pub(crate) fn children<T>(
        &mut self,
        name: &str,
        items: &[T],
        fill: impl FnMut(&mut Object<'_>, &T),
    ) {
        if !items.is_empty() {
            self.children_always(name, items, fill);
        }
    }

    pub(crate) fn header(&mut self, header: Option<&api::ResponseHeader>) {
        if let Some(header) = header {
            self.child("header", |object| object.header_fields(header));
        }
    }

    /// The header's fields in this object itself.
    pub(crate) fn header_fields(&mut self, header: &api::ResponseHeader) {
        self.uint("cluster_id", header.cluster_id);
        self.uint("member_id", header.member_id);
        self.int("revision", header.revision);
        self.uint("raft_term", header.raft_term);
    }

    pub(crate) fn key_value(&mut self, kv: &KeyValue) {
        self.bytes("key", &kv.key);
        self.int("create_revision", kv.create_revision);
        self.int("mod_revision", kv.mod_revision);
        self.int("version", kv.version);
        self.bytes("value", &kv.value);
        self.int("lease", kv.lease);
    }

    pub(crate) fn event(&mut self, event: &Event) {
        self.int("type", event.r#type.into());
        if let Some(kv) = &event.kv {
            self.child("kv", |object| object.key_value(kv));
        }
        if let Some(kv) = &event.prev_kv {
            self.child("prev_kv", |object| object.key_value(kv));
        }
    }

    pub(crate) fn range(&mut self, response: &api::RangeResponse) {
        self.header(response.header.as_ref());
        self.children("kvs", &response.kvs, |object, kv| object.key_value(kv));
        self.bool("more", response.more);
        self.int("count", response.count);
    }

    pub(crate) fn put(&mut self, response: &api::PutResponse) {
        self.header(response.header.as_ref());
        if let Some(kv) = &response.prev_kv {
            self.child("prev_kv", |object| object.key_value(kv));
        }
    }

    pub(crate) fn delete(&mut self, response: &api::DeleteRangeResponse) {
        self.header(response.header.as_ref());
        self.int("deleted", response.deleted);
        self.children("prev_kvs", &response.prev_kvs, |object, kv| {
            object.key_value(kv);
        });
    }

    pub(crate) fn txn(&mut self, response: &api::TxnResponse) {
        self.header(response.header.as_ref());
        self.bool("succeeded", response.succeeded);
        self.children("responses", &response.responses, |object, op| {
            match &op.response {
                Some(op) => object.child("Response", |object| object.operation(op)),
                None => object.always("Response", "null"),
            };
        });
    }

    fn operation(&mut self, op: &Op) {
        match op {
            Op::ResponseRange(r) => self.child("response_range", |object| object.range(r)),
            Op::ResponsePut(r) => self.child("response_put", |object| object.put(r)),
            Op::ResponseDeleteRange(r) => {
                self.child("response_delete_range", |object| object.delete(r));
            }
            Op::ResponseTxn(r) => self.child("response_txn", |object| object.txn(r)),
        }
    }

    pub(crate) fn member(&mut self, member: &api::Member) {
        self.uint("ID", member.id);
        self.text("name", &member.name);
        self.texts("peerURLs", &member.peer_ur_ls);
        self.texts("clientURLs", &member.client_ur_ls);
        self.bool("isLearner", member.is_learner);
    }

    /// A member under `--hex`; `clientURLS` is etcdctl's spelling there.
    pub(crate) fn member_hex(&mut self, member: &api::Member) {
        self.text_always("ID", &format!("{:x}", member.id));
        self.text("name", &member.name);
        self.texts("peerURLs", &member.peer_ur_ls);
        self.texts("clientURLS", &member.client_ur_ls);
    }

    pub(crate) fn status(&mut self, status: &api::StatusResponse) {
        self.header(status.header.as_ref());
        self.text("version", &status.version);
        self.int("dbSize", status.db_size);
        self.uint("leader", status.leader);
        self.uint("raftIndex", status.raft_index);
        self.uint("raftTerm", status.raft_term);
        self.uint("raftAppliedIndex", status.raft_applied_index);
        self.texts("errors", &status.errors);
        self.int("dbSizeInUse", status.db_size_in_use);
        self.bool("isLearner", status.is_learner);
        self.text("storageVersion", &status.storage_version);
        self.int("dbSizeQuota", status.db_size_quota);
        if let Some(downgrade) = &status.downgrade_info {
            self.child("downgradeInfo", |object| {
                object.bool("enabled", downgrade.enabled);
                object.text("targetVersion", &downgrade.target_version);
            });
        }
    }

    pub(crate) fn hash_kv(&mut self, response: &api::HashKvResponse) {
        self.header(response.header.as_ref());
        self.uint("hash", response.hash.into());
        self.int("compact_revision", response.compact_revision);
        self.int("hash_revision", response.hash_revision);
    }
}

/// A JSON string with Go's escapes.
fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\x08' => out.extend_from_slice(b"\\b"),
            '\x0c' => out.extend_from_slice(b"\\f"),
            '\0'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.extend_from_slice(format!("\\u{:04x}", c as u32).as_bytes());
            }
            _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}
