//! Log entries: what etcd and other clients of its log can write, in every
//! spelling that its code reads, and a directory whose log they end. Made field by
//! field, not by an encoder, so that what no encoder writes is there too.

use std::path::Path;

use anyhow::Result;
use bytes::Bytes;
use prost::Message as _;
use proto::{
    etcdserverpb::Request,
    raftpb::{Entry, HardState},
    walpb,
};

use crate::workload::Dice;

/// A field of a message, to be spelled one way or another.
#[derive(Clone, Debug)]
pub enum Field {
    /// A number.
    Number(u32, u64),
    /// Bytes or text.
    Bytes(u32, Vec<u8>),
    /// A message.
    Message(u32, Vec<Field>),
}

use Field::{Message, Number};

fn bytes(number: u32, content: impl Into<Vec<u8>>) -> Field {
    Field::Bytes(number, content.into())
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Writes a message as an encoder would.
pub fn plain(fields: &[Field]) -> Vec<u8> {
    spelled(fields, &mut None)
}

/// Writes a message; with dice, in one of its odd spellings.
fn spelled(fields: &[Field], dice: &mut Option<&mut Dice>) -> Vec<u8> {
    let mut out = Vec::new();
    for field in fields {
        if let Some(dice) = dice.as_deref_mut()
            && dice.one_in(12)
        {
            stranger(dice, &mut out);
        }
        let (number, kind) = match field {
            Number(number, _) => (*number, 0),
            Field::Bytes(number, _) | Message(number, _) => (*number, 2),
        };
        spelled_varint(u64::from(number << 3 | kind), dice, &mut out);
        match field {
            Number(_, value) => spelled_varint(*value, dice, &mut out),
            Field::Bytes(_, content) => {
                spelled_varint(content.len() as u64, dice, &mut out);
                out.extend(content);
            }
            Message(_, fields) => {
                let content = spelled(fields, dice);
                spelled_varint(content.len() as u64, dice, &mut out);
                out.extend(content);
            }
        }
    }
    out
}

/// A number, now and then in more bytes than it takes.
fn spelled_varint(value: u64, dice: &mut Option<&mut Dice>, out: &mut Vec<u8>) {
    varint(value, out);
    if let (Some(dice), Some(last)) = (dice.as_deref_mut(), out.last_mut())
        && dice.one_in(40)
    {
        *last |= 0x80;
        let used = (64 - value.max(1).leading_zeros()).div_ceil(7) as u64;
        let more = dice.below(10 - used.min(9));
        out.extend((0..more.saturating_sub(1)).map(|_| 0x80));
        out.push(0);
    }
}

/// A field that no release knows.
fn stranger(dice: &mut Dice, out: &mut Vec<u8>) {
    let number = dice.pick(&[77u64, 500, 99_999, 536_870_911]);
    let tag = |kind: u64, out: &mut Vec<u8>| varint(number << 3 | kind, out);
    match dice.below(5) {
        0 => {
            tag(0, out);
            varint(dice.bits(), out);
        }
        1 => {
            tag(1, out);
            out.extend([7; 8]);
        }
        2 => {
            tag(2, out);
            let content = dice.bytes(40);
            varint(content.len() as u64, out);
            out.extend(content);
        }
        3 => {
            tag(5, out);
            out.extend([7; 4]);
        }
        _ => {
            let depth = dice.pick(&[1, 2, 150, 3000]);
            (0..depth).for_each(|_| tag(3, out));
            (0..depth).for_each(|_| tag(4, out));
        }
    }
}

/// Writes entries at random.
#[derive(Debug)]
pub struct Writer<'a> {
    dice: &'a mut Dice,
    member: u64,
    next_id: u64,
    /// There are entries about users, and users in other entries.
    has_users: bool,
}

const KEYS: [&[u8]; 8] = [b"", b"a", b"b", b"b/1", b"b/2", b"c", b"\0", b"\xff\xff"];
const ENDS: [&[u8]; 7] = [b"", b"\0", b"a", b"b0", b"c", b"zz", b"\xff"];
const USERS: [&[u8]; 7] = [b"root", b"root", b"u", b"v", b"w", b"\xff", b"\xfe"];
const ROLES: [&[u8]; 6] = [b"root", b"r", b"s", b"none", b"\xff", b"\xfe"];
/// In base64, as in the log; the last is not.
const HASHES: [&[u8]; 4] = [b"", b"aGFzaA==", b"aGFz\naA==", b"#"];
const LEASES: [u64; 5] = [0, 0, 1, 2, 77];

impl<'a> Writer<'a> {
    /// For a log of this member.
    pub fn new(dice: &'a mut Dice, member: u64) -> Writer<'a> {
        Writer {
            dice,
            member,
            next_id: 1 << 40,
            has_users: false,
        }
    }

    /// The same with users and roles.
    #[must_use]
    pub fn with_users(self) -> Writer<'a> {
        Writer {
            has_users: true,
            ..self
        }
    }

    /// The data of an entry that every etcd of the line 3.5 can apply.
    pub fn entry(&mut self) -> Bytes {
        let fields = match self.dice.below(20) {
            0 => return self.v2(),
            _ => self.request(),
        };
        let mut dice = self.dice.clone();
        let odd = self.dice.one_in(2);
        self.dice.bits();
        spelled(&fields, &mut odd.then_some(&mut dice)).into()
    }

    /// An entry that was damaged, which may be readable all the same.
    pub fn damaged(&mut self) -> Bytes {
        let mut data = self.entry().to_vec();
        for _ in 0..self.dice.between(1, 3) {
            if data.is_empty() {
                break;
            }
            let at = self.dice.below(data.len() as u64) as usize;
            match self.dice.below(4) {
                0 => data[at] = self.dice.bits() as u8,
                1 => data[at] ^= 1 << self.dice.below(8),
                2 => drop(data.remove(at)),
                _ => data.insert(at, self.dice.bits() as u8),
            }
        }
        data.into()
    }

    fn request(&mut self) -> Vec<Field> {
        self.next_id += 1;
        let header = Message(100, self.header());
        let mut fields = vec![self.operation()];
        if self.dice.one_in(10) {
            fields.push(Number(1, self.next_id));
        }
        if self.dice.one_in(30) {
            // A second operation: one of them is performed.
            fields.push(self.operation());
        }
        let at = self.dice.below(fields.len() as u64 + 1) as usize;
        fields.insert(at, header);
        fields
    }

    fn header(&mut self) -> Vec<Field> {
        let mut header = vec![Number(1, self.next_id)];
        if !self.has_users {
            let user: &[u8] = self.dice.pick(&[&b""[..], b"root", b"\xff\xfe"]);
            header.push(bytes(2, user));
        } else if !self.dice.one_in(20) {
            header.push(bytes(2, self.user()));
            // Most are not old; what is old depends on how much was changed.
            let revision = self.dice.below(60);
            let revision = if self.dice.one_in(6) {
                revision
            } else {
                100_000
            };
            header.push(Number(3, revision));
        }
        header
    }

    fn user(&mut self) -> &'static [u8] {
        self.dice.pick(&USERS)
    }

    fn role(&mut self) -> &'static [u8] {
        self.dice.pick(&ROLES)
    }

    /// A change of users and roles, or a look at them.
    fn change_of_users(&mut self) -> Field {
        let (user, role) = (self.user(), self.role());
        match self.dice.below(40) {
            0..5 => {
                let mut fields = vec![bytes(1, user)];
                match self.dice.below(3) {
                    0 => fields.push(Message(3, vec![Number(1, 1)])),
                    1 => fields.push(bytes(4, self.dice.pick(&HASHES))),
                    _ => fields.push(Message(3, Vec::new())),
                }
                Message(1100, fields)
            }
            5 => Message(1101, vec![bytes(1, user)]),
            6..8 => Message(
                1103,
                vec![bytes(1, user), bytes(3, self.dice.pick(&HASHES))],
            ),
            8..15 => Message(1104, vec![bytes(1, user), bytes(2, role)]),
            15..17 => Message(1105, vec![bytes(1, user), bytes(2, role)]),
            17..21 => Message(1200, vec![bytes(1, role)]),
            21 => Message(1201, vec![bytes(1, role)]),
            22..32 => {
                let mut permission = vec![Number(1, self.dice.below(4)), bytes(2, self.key())];
                if self.dice.one_in(2) {
                    permission.push(bytes(3, self.dice.pick(&ENDS)));
                }
                Message(1203, vec![bytes(1, role), Message(2, permission)])
            }
            32..35 => {
                let end = self.dice.pick(&ENDS);
                Message(
                    1204,
                    vec![bytes(1, role), bytes(2, self.key()), bytes(3, end)],
                )
            }
            35..37 => Message(1000, Vec::new()),
            37 if self.dice.one_in(6) => Message(1011, Vec::new()),
            38 => Message(1012, vec![bytes(1, user), bytes(3, *b"abcdefghijklmnop")]),
            _ => Message(
                self.dice.pick(&[1013, 1102, 1106, 1107, 1202]),
                vec![bytes(1, user)],
            ),
        }
    }

    fn operation(&mut self) -> Field {
        if self.has_users && self.dice.one_in(3) {
            return self.change_of_users();
        }
        match self.dice.below(40) {
            0..12 => Message(4, self.put(true)),
            12..16 => Message(5, self.delete()),
            16..26 => {
                let (deep, ignores) = (self.dice.below(4) as u32, self.dice.one_in(2));
                Message(6, self.txn(deep, ignores))
            }
            26 => Message(6, self.chain()),
            27 => Message(7, vec![Number(1, self.dice.between(-3, 40) as u64)]),
            28..31 => {
                let ttl = self
                    .dice
                    .pick(&[100_000u64, 9_000_000_000, 9_000_000_001, 1 << 63]);
                let ttl = if ttl == 1 << 63 { i64::MAX as u64 } else { ttl };
                Message(8, vec![Number(1, ttl), Number(2, self.dice.pick(&LEASES))])
            }
            31 => Message(9, vec![Number(1, self.dice.pick(&LEASES))]),
            32 => {
                let one = vec![Number(1, self.dice.pick(&LEASES)), Number(2, 50_000)];
                Message(11, vec![Message(1, one.clone()), Message(1, one)])
            }
            33 => Message(3, self.range()),
            34 => Message(
                1301,
                vec![
                    Number(1, self.member),
                    Message(2, vec![bytes(1, *b"m"), bytes(2, *b"http://127.0.0.1:3")]),
                ],
            ),
            35 => Message(1300, vec![bytes(1, *b"3.5.0")]),
            37 if self.dice.one_in(2) => Message(
                10,
                vec![
                    Number(1, self.dice.below(4)),
                    Number(2, self.member),
                    Number(3, self.dice.below(3)),
                ],
            ),
            36 => Message(1302, vec![bytes(2, *b"3.4.0")]),
            // Reads, and what is refused as long as authentication is off.
            _ => Message(
                self.dice.pick(&[1011, 1012, 1013, 1102, 1106, 1107, 1202]),
                vec![bytes(1, *b"root")],
            ),
        }
    }

    fn key(&mut self) -> Vec<u8> {
        self.dice.pick(&KEYS).to_vec()
    }

    fn put(&mut self, ignores: bool) -> Vec<Field> {
        let mut fields = vec![bytes(1, self.key())];
        if self.dice.one_in(20) {
            fields.push(bytes(1, self.key()));
        }
        let value = self.dice.bytes(20).to_vec();
        fields.push(bytes(2, value));
        fields.push(Number(3, self.dice.pick(&LEASES)));
        for flag in 4..=if ignores { 6 } else { 4 } {
            if self.dice.one_in(6) {
                fields.push(Number(flag, self.dice.pick(&[1, 2, u64::MAX])));
            }
        }
        fields
    }

    fn delete(&mut self) -> Vec<Field> {
        let end = self.dice.pick(&ENDS).to_vec();
        let prev = u64::from(self.dice.one_in(2));
        vec![bytes(1, self.key()), bytes(2, end), Number(3, prev)]
    }

    fn range(&mut self) -> Vec<Field> {
        let end = self.dice.pick(&ENDS).to_vec();
        vec![
            bytes(1, self.key()),
            bytes(2, end),
            Number(4, self.dice.between(-2, 60) as u64),
            Number(5, self.dice.below(4)),
        ]
    }

    fn compare(&mut self) -> Vec<Field> {
        let mut fields = vec![
            Number(1, self.dice.below(5)),
            Number(2, self.dice.below(6)),
            bytes(3, self.key()),
        ];
        for _ in 0..self.dice.below(3) {
            fields.push(match self.dice.below(5) {
                0 => bytes(7, self.dice.bytes(3).to_vec()),
                n => Number(3 + n as u32 + u32::from(n == 4), self.dice.below(20)),
            });
        }
        if self.dice.one_in(3) {
            fields.push(bytes(64, self.dice.pick(&ENDS)));
        }
        fields
    }

    /// A put that ignores what a delete of the same transaction took ends etcd, so
    /// there is either of the two.
    fn txn(&mut self, deep: u32, ignores: bool) -> Vec<Field> {
        let mut fields = Vec::new();
        for _ in 0..self.dice.below(3) {
            fields.push(Message(1, self.compare()));
        }
        for branch in [2, 3] {
            for _ in 0..self.dice.below(4) {
                let mut op = vec![self.op(deep, ignores)];
                if self.dice.one_in(15) {
                    // Of a union, the last counts.
                    op.push(self.op(0, ignores));
                }
                if self.dice.one_in(25) {
                    op.clear();
                }
                fields.push(Message(branch, op));
            }
        }
        fields
    }

    fn op(&mut self, deep: u32, ignores: bool) -> Field {
        match self.dice.below(if deep > 0 { 8 } else { 6 }) {
            0 => Message(1, self.range()),
            1 if !ignores => Message(3, self.delete()),
            1..6 => Message(2, self.put(ignores)),
            _ => Message(4, self.txn(deep - 1, ignores)),
        }
    }

    /// A transaction whose only operation is a transaction, and so on.
    fn chain(&mut self) -> Vec<Field> {
        let depth = self.dice.pick(&[48, 49, 99, 127, 500, 2000]);
        let mut txn = vec![Message(2, vec![Message(2, self.put(false))])];
        for _ in 0..depth {
            txn = vec![Message(2, vec![Message(4, txn)])];
        }
        txn
    }

    fn v2(&mut self) -> Bytes {
        self.next_id += 1;
        let method = self
            .dice
            .pick(&["PUT", "POST", "DELETE", "QGET", "SYNC", "GET", ""]);
        let attributes = format!("/0/members/{:x}/attributes", self.member);
        let path = self
            .dice
            .pick(&[&attributes[..], "/0/version", "/1/a", "/1/a/b", "/1", "/"]);
        let val = match path {
            "/0/version" => "3.5.0",
            path if path == attributes => r#"{"name":"m","clientURLs":["http://127.0.0.1:3"]}"#,
            _ => "v",
        };
        let exists = self.dice.pick(&[None, None, Some(true), Some(false)]);
        let request = Request {
            id: self.next_id,
            method: method.into(),
            path: path.into(),
            val: val.into(),
            prev_exist: exists,
            prev_index: self.dice.pick(&[0, 0, 0, 3]),
            dir: self.dice.one_in(6),
            recursive: self.dice.one_in(3),
            time: 1_700_000_000_000_000_000,
            ..Request::default()
        };
        let bare = request.encode_to_vec();
        match self.dice.below(2) {
            0 => bare.into(),
            _ => plain(&[bytes(2, bare)]).into(),
        }
    }
}

/// Transactions within each other, as deep as said, around one put.
pub fn nested(depth: usize) -> Vec<u8> {
    // From the inside out, with room before it: linear in the depth.
    let mut content = plain(&[bytes(1, *b"deep"), bytes(2, *b"v")]);
    content.reverse();
    let head = |number: u32, content: &mut Vec<u8>| {
        let mut head = Vec::new();
        varint(u64::from(number << 3 | 2), &mut head);
        varint(content.len() as u64, &mut head);
        content.extend(head.iter().rev());
    };
    head(2, &mut content);
    head(2, &mut content);
    for _ in 0..depth {
        head(4, &mut content);
        head(2, &mut content);
    }
    content.reverse();
    content
}

/// The request in the log that has this operation.
pub fn logged(id: u64, operation: u32, content: impl Into<Vec<u8>>) -> Bytes {
    plain(&[bytes(operation, content), Message(100, vec![Number(1, id)])]).into()
}

/// The same by a user whose revision is never old.
pub fn logged_as(
    user: impl AsRef<[u8]>,
    id: u64,
    operation: u32,
    content: impl Into<Vec<u8>>,
) -> Bytes {
    let header = vec![
        Number(1, id),
        bytes(2, user.as_ref()),
        Number(3, u64::from(u32::MAX)),
    ];
    plain(&[bytes(operation, content), Message(100, header)]).into()
}

/// Adds entries, each with its type, to the log of a directory that no one has open, all of them
/// committed.
pub fn append(data_dir: &Path, entries: &[(i32, Bytes)]) -> Result<()> {
    let options = wal::Options {
        background: false,
        segment_bytes: 1 << 20,
        ..wal::Options::default()
    };
    let dir = data_dir.join("member/wal");
    let at = wal::valid_snapshots(&dir)?
        .last()
        .cloned()
        .unwrap_or_default();
    let mut opened = wal::Wal::open(&dir, walpb::Snapshot { ..at }, options)?;
    let last = opened
        .entries
        .last()
        .map_or(opened.state.commit, |e| e.index);
    let term = opened.state.term;
    let made: Vec<Entry> = entries
        .iter()
        .zip(last + 1..)
        .map(|((kind, data), index)| Entry {
            r#type: *kind,
            term,
            index,
            data: Some(data.clone()),
        })
        .collect();
    let state = HardState {
        commit: last + made.len() as u64,
        ..opened.state
    };
    opened.wal.append(&made, Some(&state))?;
    opened.wal.sync()?;
    opened.wal.close()?;
    Ok(())
}
