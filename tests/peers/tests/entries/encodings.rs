//! Entries whose fields come in another encoding than their own, or twice. Members up to 3.6 end on
//! the first; Go's own code, which members of 3.7 read with, passes over them. Any client can have
//! such a request in the log of a member of 3.7: what its port does not know it keeps.

use anyhow::Context as _;
use bytes::Bytes;
use line::Line;
use peers::{
    entries::{self, Field, plain},
    users::{Call, Pair},
};

use super::{
    by_line::{self, Log, normal, text},
    pairs::{bed, operation},
};

const OPERATIONS: [u32; 26] = [
    3, 4, 5, 6, 8, 9, 10, 11, 1012, 1013, 1100, 1101, 1102, 1103, 1104, 1105, 1106, 1107, 1200,
    1201, 1202, 1203, 1204, 1300, 1301, 1302,
];

/// The fields that requests have, some that few have, and one that none has.
const FIELDS: [u32; 8] = [1, 2, 3, 4, 5, 6, 13, 64];

/// A field in each encoding.
fn odd(number: u32) -> [Vec<u8>; 5] {
    let tag = |kind: u32| {
        let mut out = Vec::new();
        prost::encoding::encode_varint(u64::from(number << 3 | kind), &mut out);
        out
    };
    [
        [tag(0), vec![5]].concat(),
        [tag(1), vec![1; 8]].concat(),
        [tag(2), vec![0]].concat(),
        [tag(3), vec![0x08, 1], tag(4)].concat(),
        [tag(5), vec![1; 4]].concat(),
    ]
}

/// Each operation as it should be, with one odd field after or before all others.
fn with_odd_fields(line: Line, member: u64) -> Vec<Bytes> {
    let mut all = Vec::new();
    for operation_number in OPERATIONS {
        for odd in FIELDS.into_iter().flat_map(odd) {
            if operation_number == 6 && odd.len() == 2 && odd[1] == 0 {
                // An operation that is none ends members of every line.
                continue;
            }
            let n = all.len() as u64;
            let Field::Message(_, fields) = operation(operation_number, n, line, member) else {
                continue;
            };
            let content = match n % 2 {
                0 => [plain(&fields), odd].concat(),
                _ => [odd, plain(&fields)].concat(),
            };
            all.push(entries::logged(5, operation_number, content));
        }
    }
    all
}

/// The request itself has odd fields: its id, its header, and operations.
fn around(line: Line, member: u64) -> Vec<Bytes> {
    let put = |n| plain(&[operation(4, n, line, member), Field::Message(100, vec![])]);
    let fields = [1, 3, 4, 6, 100, 1000, 1300];
    let kinds = fields.into_iter().flat_map(|field| {
        let [number, double, _, group, word] = odd(field);
        let all = [double, group, word];
        match field {
            1 => all.to_vec(),
            _ => [&all[..], &[number]].concat(),
        }
    });
    let each = kinds.enumerate();
    each.map(|(n, odd)| [odd, put(90_000 + n as u64)].concat().into())
        .collect()
}

/// What a union, a message or a range has twice.
fn twice() -> Vec<Bytes> {
    let put = |key: &str, value: &str| {
        let part = |at, content: &str| (!content.is_empty()).then(|| text(at, content));
        let parts = [part(1, key), part(2, value)];
        Field::Message(2, parts.into_iter().flatten().collect())
    };
    let txn = |operation: Vec<Field>| entries::logged(5, 6, plain(&[Field::Message(2, operation)]));
    let inner = |field| Field::Message(4, vec![Field::Message(2, vec![field])]);
    let compare = |parts: &[Field]| {
        let then = Field::Message(2, vec![put("compared", "yes")]);
        let other = Field::Message(3, vec![put("compared", "no")]);
        entries::logged(
            5,
            6,
            plain(&[Field::Message(1, parts.to_vec()), then, other]),
        )
    };
    let delete = |parts: &[Field]| entries::logged(5, 5, plain(parts));
    vec![
        txn(vec![put("twice-a", ""), put("", "twice-b")]),
        txn(vec![
            put("twice-c", "1"),
            Field::Message(1, vec![text(1, "x")]),
            put("", "2"),
        ]),
        txn(vec![inner(put("twice-d", "1")), inner(put("twice-e", "1"))]),
        txn(vec![put("twice-f", "1"), inner(put("twice-g", "1"))]),
        compare(&[text(3, "twice-f"), Field::Number(4, 1), Field::Number(4, 9)]),
        compare(&[text(3, "twice-f"), Field::Number(2, 3), text(7, "1")]),
        delete(&[text(1, "twice-d"), text(2, "")]),
    ]
}

#[test]
fn fields_in_another_encoding_are_passed_over_from_3_7_on() {
    peers::run(300, async {
        by_line::compare(Line::V3_7, |member| {
            let odd = with_odd_fields(Line::V3_7, member);
            let parts = [
                bed(odd.len() as u64),
                odd,
                around(Line::V3_7, member),
                twice(),
            ];
            let entries = parts.concat().into_iter().map(normal).collect();
            let name = "fields in another encoding";
            vec![Log { name, entries }]
        })
        .await?;
        for line in [Line::V3_5, Line::V3_6] {
            let log = |_| {
                let entries = twice().into_iter().map(normal).collect();
                let name = "fields that come twice";
                vec![Log { name, entries }]
            };
            by_line::compare(line, log)
                .await
                .with_context(|| format!("line {line}"))?;
        }
        Ok(())
    });
}

/// Calls that a port of 3.7 takes, and reads as the log.
fn calls() -> Vec<Call> {
    let key = |key: &str| plain(&[text(1, key)]);
    let call = |path, message: Vec<u8>| Call {
        path,
        message: message.into(),
    };
    let value = [key("port"), plain(&[text(2, "v")])].concat();
    let range = "/etcdserverpb.KV/Range";
    vec![
        call("/etcdserverpb.KV/Put", value),
        call(
            "/etcdserverpb.KV/Put",
            [key("port-a"), odd(2)[0].clone()].concat(),
        ),
        call(
            "/etcdserverpb.KV/Put",
            [key("port-b"), odd(3)[2].clone()].concat(),
        ),
        call(
            "/etcdserverpb.KV/Put",
            [odd(5)[3].clone(), key("port-c")].concat(),
        ),
        call(range, [key("port"), plain(&[text(2, "")])].concat()),
        call(range, [key("port"), odd(3)[4].clone()].concat()),
        call(
            "/etcdserverpb.KV/DeleteRange",
            [key("port-c"), odd(3)[2].clone()].concat(),
        ),
        call(
            "/etcdserverpb.Lease/LeaseGrant",
            [
                plain(&[Field::Number(1, 600), Field::Number(2, 7)]),
                odd(2)[2].clone(),
            ]
            .concat(),
        ),
    ]
}

#[test]
fn the_port_of_3_7_reads_as_its_log() {
    let Some((subject, reference)) = by_line::bed_of(Line::V3_7) else {
        return;
    };
    peers::run(120, async {
        let dir = tempfile::tempdir()?;
        let programs = [&subject, &reference];
        let pair = Pair::start(programs, dir.path(), &[]).await?;
        for call in calls() {
            pair.equal("", &call).await?;
        }
        pair.stop().await
    });
}
