//! Contexts of configuration changes as Go reads them, and what no member proposes.

use proto::raftpb::{ConfChange, ConfChangeType, Entry, EntryType};

use crate::{context::Context, entry, *};

#[test]
fn keys_are_read_as_go_reads_them() {
    let read = |json: &str| Context::read(json.as_bytes()).map_err(|_| ());
    let urls = |list: &[&str]| list.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>();
    let context = |peer_urls: &[&str], is_learner, promote| Context {
        member: Member {
            id: MemberId(7),
            peer_urls: urls(peer_urls),
            is_learner,
            ..Member::default()
        },
        promote,
    };
    for (json, expected) in [
        (
            r#"{"ID":7,"PeerURLs":["a"]}"#,
            Ok(context(&["a"], false, false)),
        ),
        (
            r#"{"id":6,"id":7,"isLearner":true,"i\u017fLearner":false}"#,
            Ok(context(&[], false, false)),
        ),
        (
            r#"{"id":7,"isLearner":true,"islearner":null}"#,
            Ok(context(&[], true, false)),
        ),
        (
            r#"{"id":7,"peerURLs":["a"],"peerURLs":null}"#,
            Ok(context(&[], false, false)),
        ),
        (
            r#"{"id":7,"peerURLs":[null],"x":{"id":[8]}}"#,
            Ok(context(&[""], false, false)),
        ),
        (
            r#"{"id":7,"ISPROMOTE":true}"#,
            Ok(context(&[], false, true)),
        ),
        (r#"{"id":"7"}"#, Err(())),
        (r#"{"id":7,"isLearner":1}"#, Err(())),
        (r#"{"id":7} x"#, Err(())),
        ("[]", Err(())),
        ("", Err(())),
    ] {
        assert_eq!(read(json), expected, "{json}");
    }
}

#[test]
fn no_member_proposes_a_contradiction_or_an_address_that_is_none() {
    use ConfChangeType::*;
    let judge = |kind: ConfChangeType, context: &str| {
        let change = ConfChange {
            id: 1,
            r#type: kind as i32,
            node_id: 7,
            context: Some(context.as_bytes().to_vec().into()),
        };
        let entry = Entry {
            r#type: EntryType::EntryConfChange as i32,
            data: Some(prost::Message::encode_to_vec(&change).into()),
            ..Entry::default()
        };
        entry::judge_proposal(&entry, line::Line::DEFAULT).is_ok()
    };
    let member = |more: &str| format!(r#"{{"id":7,"peerURLs":["http://h:1"]{more}}}"#);
    let (learner, promote) = (r#","isLearner":true"#, r#","isPromote":true"#);
    for (kind, context, expected) in [
        (ConfChangeAddNode, member(""), true),
        (ConfChangeAddLearnerNode, member(learner), true),
        (ConfChangeUpdateNode, member(""), true),
        (ConfChangeUpdateNode, member(learner), true),
        (
            ConfChangeAddNode,
            r#"{"id":7,"peerURLs":null,"isPromote":true}"#.into(),
            true,
        ),
        (ConfChangeRemoveNode, String::new(), true),
        (ConfChangeAddNode, member(learner), false),
        (ConfChangeAddLearnerNode, member(""), false),
        (ConfChangeAddLearnerNode, member(promote), false),
        (ConfChangeUpdateNode, member(promote), false),
        (ConfChangeAddNode, r#"{"id":7,"peerURLs":[]}"#.into(), false),
        (
            ConfChangeUpdateNode,
            r#"{"id":7,"peerURLs":["h:1"]}"#.into(),
            false,
        ),
        (
            ConfChangeUpdateNode,
            r#"{"id":7,"peerURLs":["http://h:1/x"]}"#.into(),
            false,
        ),
    ] {
        assert_eq!(judge(kind, &context), expected, "{kind:?} {context}");
    }
}
