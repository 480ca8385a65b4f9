//! raft-rs writes to a slog logger; its lines go on to `tracing`, as etcd's
//! raft words them: the member first, in hexadecimal. What etcd tells at info
//! (elections) is info here, what raft-rs tells beyond that is debug.

use slog::{Drain, KV, Key, Level, Logger, Never, OwnedKVList, Record, Serializer};

struct ToTracing;

/// The pairs of a line, each as text; the member id is taken out of them.
#[derive(Default)]
struct Pairs {
    member: u64,
    rest: Vec<(String, String)>,
}

impl Serializer for Pairs {
    fn emit_arguments(&mut self, key: Key, value: &std::fmt::Arguments<'_>) -> slog::Result {
        self.rest.push((key.to_string(), value.to_string()));
        Ok(())
    }

    fn emit_u64(&mut self, key: Key, value: u64) -> slog::Result {
        if key == "raft_id" {
            self.member = value;
            return Ok(());
        }
        self.emit_arguments(key, &format_args!("{value}"))
    }
}

impl Pairs {
    fn get(&self, key: &str) -> &str {
        let found = self.rest.iter().find(|(name, _)| name == key);
        found.map_or("", |(_, value)| value)
    }

    /// A line in etcd's words; several where etcd writes several.
    fn lines(&self, message: &str) -> Vec<String> {
        let (me, term) = (self.member, self.get("term"));
        match message {
            "newRaft" => vec![self.started()],
            "starting a new election" => {
                vec![format!("{me:x} is starting a new election at term {term}")]
            }
            "received votes response" => {
                let kind = format!("{}Resp", etcd_name(self.get("type")));
                let from = in_hex(self.get("from"));
                let (votes, rejections) = (self.get("approvals"), self.get("rejections"));
                vec![
                    format!("{me:x} received {kind} from {from} at term {term}"),
                    format!(
                        "{me:x} has received {votes} {kind} votes and {rejections} vote rejections"
                    ),
                ]
            }
            "broadcasting vote request" => {
                let (last_term, last) = (self.get("log_term"), self.get("log_index"));
                let kind = etcd_name(self.get("type"));
                numbers(self.get("to"))
                    .map(|to| {
                        format!(
                            "{me:x} [logterm: {last_term}, index: {last}] sent {kind} request to {} at term {term}",
                            in_hex(to)
                        )
                    })
                    .collect()
            }
            _ => vec![self.as_it_is(message)],
        }
    }

    fn started(&self) -> String {
        // What it knows of the members is there as Rust shows it.
        let voters = self.get("peers").split("voters: {").nth(1).unwrap_or("");
        let voters = voters.split('}').next().unwrap_or("");
        let peers: Vec<String> = numbers(voters).map(in_hex).collect();
        format!(
            "newRaft {:x} [peers: [{}], term: {}, commit: {}, applied: {}, lastindex: {}, lastterm: {}]",
            self.member,
            peers.join(","),
            self.get("term"),
            self.get("commit"),
            self.get("applied"),
            self.get("last index"),
            self.get("last term"),
        )
    }

    /// raft-rs's own words, with members in hexadecimal and without the pairs that the message
    /// has already.
    fn as_it_is(&self, message: &str) -> String {
        let has = |value: &str| {
            message
                .split(|letter: char| !letter.is_alphanumeric())
                .any(|word| word == value)
        };
        let more: String = self
            .rest
            .iter()
            .filter(|(_, value)| !has(value))
            .map(|(key, value)| format!(" {key}={value}"))
            .collect();
        let mut text = message.to_owned();
        for (_, value) in self
            .rest
            .iter()
            .filter(|(key, _)| MEMBERS.contains(&&**key))
        {
            text = text.replace(value, &in_hex(value));
        }
        format!("{:x} {text}{more}", self.member)
    }
}

/// The pairs that are ids of members.
const MEMBERS: [&str; 5] = [
    "from",
    "to",
    "vote",
    "lead_transferee",
    "last_lead_transferee",
];

/// An id as etcd writes it. Small numbers are no ids: they might be others.
fn in_hex(id: &str) -> String {
    match id.parse::<u64>() {
        Ok(id) if id > u64::from(u32::MAX) => format!("{id:x}"),
        _ => id.to_owned(),
    }
}

fn numbers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_ascii_digit())
        .filter(|number| !number.is_empty())
}

/// etcd's name of a vote, asked or answered.
fn etcd_name(kind: &str) -> &'static str {
    match kind.contains("PreVote") {
        true => "MsgPreVote",
        false => "MsgVote",
    }
}

/// Beginnings of the lines that tell of an election.
const ELECTIONS: [&str; 7] = [
    "became ",
    "broadcasting vote request",
    "newRaft",
    "starting a new election",
    "received votes response",
    "stepped down to follower",
    "[logterm: ",
];

impl Drain for ToTracing {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        let level = record.level();
        let quiet = matches!(level, Level::Debug | Level::Trace);
        if quiet && !tracing::enabled!(tracing::Level::DEBUG) {
            return Ok(());
        }
        let message = record.msg().to_string();
        let mut pairs = Pairs::default();
        // The serializer above never fails.
        let _ = record.kv().serialize(record, &mut pairs);
        let _ = values.serialize(record, &mut pairs);
        let election = ELECTIONS.iter().any(|begin| message.starts_with(begin));
        for line in pairs.lines(&message) {
            match level {
                Level::Critical | Level::Error => tracing::error!("{line}"),
                Level::Warning => tracing::warn!("{line}"),
                Level::Info if election => tracing::info!("{line}"),
                _ => tracing::debug!("{line}"),
            }
        }
        Ok(())
    }
}

/// The logger every node is made with.
pub(crate) fn logger() -> Logger {
    Logger::root(ToTracing, slog::o!())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(rest: &[(&str, &str)]) -> Pairs {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Pairs {
            member: 0xa56e_0702_f5ed_d9db,
            rest: rest.iter().map(own).collect(),
        }
    }

    /// The expected lines are etcd 3.5.30's.
    #[test]
    fn lines_of_elections_are_etcds() {
        let votes = [
            ("vote", "true"),
            ("from", "5495323134916075222"),
            ("rejections", "0"),
            ("approvals", "2"),
            ("type", "MsgRequestPreVoteResponse"),
            ("term", "3"),
        ];
        assert_eq!(
            pairs(&votes).lines("received votes response"),
            [
                "a56e0702f5edd9db received MsgPreVoteResp from 4c434f4696a89ed6 at term 3",
                "a56e0702f5edd9db has received 2 MsgPreVoteResp votes and 0 vote rejections",
            ]
        );
        let asked = [
            ("type", "MsgRequestVote"),
            ("term", "3"),
            ("log_term", "2"),
            ("log_index", "8"),
            ("to", "[5495323134916075222, 9744054552928891480]"),
        ];
        assert_eq!(
            pairs(&asked).lines("broadcasting vote request"),
            [
                "a56e0702f5edd9db [logterm: 2, index: 8] sent MsgVote request to 4c434f4696a89ed6 at term 3",
                "a56e0702f5edd9db [logterm: 2, index: 8] sent MsgVote request to 8739d5fd5b5ab258 at term 3",
            ]
        );
        assert_eq!(
            pairs(&[("term", "3")]).lines("starting a new election"),
            ["a56e0702f5edd9db is starting a new election at term 3"]
        );
        assert_eq!(
            pairs(&[("term", "1")]).lines("became follower at term 1"),
            ["a56e0702f5edd9db became follower at term 1"]
        );
        let started = [
            ("term", "0"),
            ("commit", "0"),
            ("applied", "0"),
            ("last index", "0"),
            ("last term", "0"),
            (
                "peers",
                "Configuration { incoming: Configuration { voters: {5495323134916075222} }, outgoing: Configuration { voters: {} } }",
            ),
        ];
        assert_eq!(
            pairs(&started).lines("newRaft"),
            [
                "newRaft a56e0702f5edd9db [peers: [4c434f4696a89ed6], term: 0, commit: 0, applied: 0, lastindex: 0, lastterm: 0]"
            ]
        );
    }

    #[test]
    fn other_lines_say_nothing_twice_and_name_members_in_hexadecimal() {
        let cast = [
            ("from", "5495323134916075222"),
            ("term", "3"),
            ("msg type", "MsgRequestVote"),
        ];
        assert_eq!(
            pairs(&cast).lines("[logterm: 2] cast vote for 5495323134916075222 at term 3"),
            [
                "a56e0702f5edd9db [logterm: 2] cast vote for 4c434f4696a89ed6 at term 3 msg type=MsgRequestVote"
            ]
        );
    }
}
