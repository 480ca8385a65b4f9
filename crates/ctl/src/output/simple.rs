//! The parts of the `simple` format that several responses share.

use proto::mvccpb::KeyValue;

use super::Page;

impl Page {
    /// Key and value, one line each; the key is left out for
    /// `--print-value-only`.
    pub(crate) fn key_value(&mut self, kv: &KeyValue) {
        if !self.value_only {
            self.data(&kv.key);
        }
        self.data(&kv.value);
    }
}
