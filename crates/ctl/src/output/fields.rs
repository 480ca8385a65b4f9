//! The parts of the `fields` format that several responses share.

use proto::{etcdserverpb::ResponseHeader, mvccpb::KeyValue};

use super::Page;

impl Page {
    /// The four lines of a header; a missing one counts as zeros.
    pub(crate) fn header_fields(&mut self, header: Option<&ResponseHeader>) {
        let header = header.cloned().unwrap_or_default();
        self.field("ClusterID", header.cluster_id);
        self.field("MemberID", header.member_id);
        self.field("Revision", header.revision);
        self.field("RaftTerm", header.raft_term);
    }

    /// The six lines of a key; `prefix` is `Prev` for one from before.
    pub(crate) fn key_value_fields(&mut self, prefix: &str, kv: &KeyValue) {
        self.quoted(&format!("{prefix}Key"), &kv.key);
        self.field(&format!("{prefix}CreateRevision"), kv.create_revision);
        self.field(&format!("{prefix}ModRevision"), kv.mod_revision);
        self.field(&format!("{prefix}Version"), kv.version);
        self.quoted(&format!("{prefix}Value"), &kv.value);
        self.field(&format!("{prefix}Lease"), kv.lease);
    }
}
