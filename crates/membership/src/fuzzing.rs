//! Entries for the fuzz targets: bytes from outside, no panic.

use bytes::Bytes;
use proto::raftpb::Entry;

use crate::{Cluster, v2store::Tree};

/// The JSON of a `.snap` file.
pub fn v2store(data: &[u8]) {
    if let Ok(tree) = Tree::parse(data) {
        // Whether it names members or not is not the question here.
        let _ = Cluster::recover(1.into(), &tree);
        assert!(Tree::parse(&tree.to_json()).is_ok_and(|again| again == tree));
    }
}

/// The payload of a normal entry, applied if it is a v2 request.
pub fn entry(data: &[u8]) {
    let entry = Entry {
        data: Some(Bytes::copy_from_slice(data)),
        ..Entry::default()
    };
    // Judging is decoding and more: none of it may panic.
    let _ = crate::entry::judge_proposal(&entry, line::Line::DEFAULT);
    if let Ok(crate::Payload::V2(request)) =
        crate::decode_entry(&Bytes::copy_from_slice(data), line::Line::DEFAULT)
    {
        let mut tree = Tree::new();
        let _ = tree.apply(&request);
        assert!(Tree::parse(&tree.to_json()).is_ok());
    }
}
