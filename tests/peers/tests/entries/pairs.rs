//! Entries that name two operations, which no member writes: the lines differ in which of the two
//! they perform. All pairs are in one log, so that each line needs two starts.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use line::Line;
use peers::{
    api,
    entries::{self, Field, plain},
    server::Launch,
};
use proto::{etcdserverpb::StatusRequest, raftpb::Entry};

use super::{
    Bed,
    by_line::{self, Log, alarm, normal, text},
    v2,
};

/// Those without effect first. What shows as the greatest of its kind alone comes last.
const OPERATIONS: [u32; 31] = [
    3, 1102, 1202, 1013, 1000, 1011, 1012, 11, 1106, 1107, 1300, 1302, 2, 1301, 4, 5, 6, 8, 9, 10,
    1100, 1101, 1103, 1104, 1105, 1200, 1201, 1203, 1204, 7, 9900,
];

/// What a pair can take away must be there before.
const SPARE_LEASES: u64 = 5_000;

/// One operation, which can be told from the same one of another pair.
pub(super) fn operation(number: u32, n: u64, line: Line, member: u64) -> Field {
    let name = |prefix: &str| format!("{prefix}-{n}");
    let permission = Field::Message(2, vec![Field::Number(1, 2), text(2, name("p"))]);
    let put = vec![text(1, name("k")), text(2, "v")];
    let fields = match number {
        2 => {
            let path = format!("/0/members/{member:x}/attributes");
            let value = format!(r#"{{"name":"v2-{n}"}}"#);
            return text(2, v2("PUT", &path, &value).to_vec());
        }
        4 => put,
        5 => vec![text(1, name("spare"))],
        6 => vec![Field::Message(2, vec![Field::Message(2, put)])],
        7 => vec![Field::Number(1, n + 2)],
        8 => vec![Field::Number(1, 100_000), Field::Number(2, 1 + n)],
        9 => vec![Field::Number(1, SPARE_LEASES + n)],
        // A kind that forbids nothing, where members of the line keep it.
        10 if line > Line::V3_5 => {
            let fields = [(1, 1), (2, n), (3, 10)];
            fields.map(|(at, value)| Field::Number(at, value)).to_vec()
        }
        10 => vec![],
        1100 => vec![
            text(1, name("new")),
            Field::Message(3, vec![Field::Number(1, 1)]),
        ],
        1101 | 1103 => vec![text(1, name("user"))],
        1104 => vec![text(1, "kept"), text(2, name("role"))],
        1105 => vec![text(1, "kept"), text(2, name("role"))],
        1200 => vec![text(1, name("new"))],
        1201 => vec![text(1, name("role"))],
        1203 => vec![text(1, "kept"), permission],
        1204 => vec![text(1, "kept"), text(2, name("p"))],
        1300 | 9900 => vec![text(1, format!("{line}.0"))],
        1301 => {
            let attributes = vec![text(1, name("m"))];
            vec![Field::Number(1, member), Field::Message(2, attributes)]
        }
        _ => vec![],
    };
    Field::Message(number, fields)
}

/// Each line has its own place for one of these, or for the pair. With `PINTLE_PAIRS=1` all count.
const SHORT: [u32; 4] = [2, 1100, 1300, 9900];

/// All pairs, asked for by `user`; `from` is what the first of them is called.
fn pairs(line: Line, member: u64, user: &str, from: u64) -> Vec<Bytes> {
    let pairs = OPERATIONS.iter().enumerate().flat_map(|(at, second)| {
        let before = OPERATIONS[..at].iter();
        before.map(|first| [*first, *second])
    });
    let is_full = peers::env_number("PINTLE_PAIRS").is_some();
    let pairs = pairs.filter(|pair| is_full || pair.iter().any(|one| SHORT.contains(one)));
    let entry = |(n, pair): (u64, [u32; 2])| {
        let operations = pair.map(|number| operation(number, n, line, member));
        let [first, second] = operations;
        // Which comes first does not matter.
        let fields = match n % 2 {
            0 => [first, second, header(user)],
            _ => [header(user), second, first],
        };
        plain(&fields).into()
    };
    (from..).zip(pairs).map(entry).collect()
}

/// Of a user whose revision is never old.
fn header(user: &str) -> Field {
    let revision = Field::Number(3, u64::from(u32::MAX));
    Field::Message(100, vec![Field::Number(1, 5), text(2, user), revision])
}

/// What the pairs take away, and who asks for it.
pub(super) fn bed(pairs: u64) -> Vec<Bytes> {
    let kept = [
        entries::logged(5, 1100, super::no_password("kept")),
        entries::logged(5, 1200, plain(&[text(1, "kept")])),
    ];
    let each = (0..pairs).flat_map(|n| {
        let lease = [
            Field::Number(1, 100_000),
            Field::Number(2, SPARE_LEASES + n),
        ];
        let put = [text(1, format!("spare-{n}")), text(2, "v")];
        [
            entries::logged(5, 4, plain(&put)),
            entries::logged(5, 8, plain(&lease)),
            entries::logged(5, 1100, super::no_password(format!("user-{n}"))),
            entries::logged(5, 1200, plain(&[text(1, format!("role-{n}"))])),
        ]
    });
    kept.into_iter().chain(each).collect()
}

/// First no one is checked, then a user who is not root asks.
fn log(line: Line, member: u64) -> Log {
    let by_anyone = pairs(line, member, "", 0);
    let by_user = pairs(line, member, "kept", by_anyone.len() as u64);
    let count = (by_anyone.len() + by_user.len()) as u64;
    let cleared = (0..count).map(|n| alarm(2, n, 10));
    let off = entries::logged_as("root", 5, 1011, Vec::new());
    let end = cleared.chain([off]).collect();
    let parts = [
        bed(count),
        by_anyone,
        super::authentication(),
        by_user,
        end,
        unread(line),
    ];
    Log {
        name: "pairs of operations",
        entries: parts.concat().into_iter().map(normal).collect(),
    }
}

/// What a line that knows no v2 API does not look at either.
fn unread(line: Line) -> Vec<Bytes> {
    let broken = [text(2, "?"), operation(4, 77_777, line, 0), header("")];
    match line {
        Line::V3_5 | Line::V3_6 => Vec::new(),
        Line::V3_7 => vec![plain(&broken).into()],
    }
}

#[test]
fn of_two_operations_each_line_performs_its_own() {
    peers::run(300, async {
        for line in Line::ALL {
            by_line::compare(line, |member| vec![log(line, member)])
                .await
                .with_context(|| format!("line {line}"))?;
        }
        Ok(())
    });
}

/// A leading Pintle lets none of these in, whatever its line makes of them.
#[test]
fn a_forwarded_request_of_two_operations_or_of_no_text_is_refused() {
    const NO_TEXT: [u8; 2] = [0xff, 0xfe];
    peers::run(300, async {
        for line in Line::ALL {
            let Some((subject, reference)) = by_line::bed_of(line) else {
                return Ok(());
            };
            if !subject.is_pintle {
                continue;
            }
            let bed = Bed::new(reference, subject).await?;
            let mut junk = vec![
                plain(&[
                    operation(4, 0, line, 0),
                    operation(9900, 0, line, 0),
                    header(""),
                ]),
                plain(&[
                    operation(4, 0, line, 0),
                    operation(5, 0, line, 0),
                    header(""),
                ]),
            ];
            if line == Line::V3_7 {
                let user = vec![Field::Number(1, 5), text(2, NO_TEXT)];
                let attributes = |field| {
                    let fields = [Field::Number(1, bed.member), Field::Message(2, vec![field])];
                    entries::logged(5, 1301, plain(&fields)).to_vec()
                };
                let one = |operation, field| {
                    let fields = [Field::Number(1, 1), text(field, NO_TEXT)];
                    entries::logged(5, operation, plain(&fields[usize::from(field == 1)..]))
                        .to_vec()
                };
                junk.extend([
                    plain(&[operation(4, 0, line, 0), Field::Message(100, user)]),
                    attributes(text(1, NO_TEXT)),
                    attributes(text(2, NO_TEXT)),
                    one(1302, 2),
                    one(1200, 1),
                    one(1100, 1),
                ]);
            }
            refuses(&bed, junk)
                .await
                .with_context(|| format!("line {line}"))?;
        }
        Ok(())
    });
}

async fn refuses(bed: &Bed, junk: Vec<Vec<u8>>) -> Result<()> {
    let mut server = Launch::new(&bed.subject, &bed.dir("pintle", &[])?)
        .start()
        .await?;
    let before = server.api().status(StatusRequest {}).await?.raft_index;
    for (n, data) in junk.into_iter().enumerate() {
        let entry = Entry {
            data: Some(data.into()),
            ..Entry::default()
        };
        let status = super::forge(&server, vec![entry]).await?;
        ensure!(status == http::StatusCode::NO_CONTENT, "junk {n}: {status}");
        ensure!(server.poll_exit()?.is_none(), "junk {n} stopped it");
    }
    server.api().put(api::put("a", "1")).await?;
    let after = server.api().status(StatusRequest {}).await?.raft_index;
    ensure!(after == before + 1, "the log went from {before} to {after}");
    server.terminate().await
}
