//! Reads `cases.txt`; its head describes the grammar.

/// Cases that share a server.
pub(crate) struct Group {
    pub(crate) name: String,
    /// Extra flags of the server.
    pub(crate) flags: Vec<String>,
    pub(crate) cases: Vec<Case>,
}

/// One command line.
#[derive(Default)]
pub(crate) struct Case {
    /// As written, for messages.
    pub(crate) line: String,
    pub(crate) words: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) stdin: Option<Vec<u8>>,
    /// End it after so many lines of stdout.
    pub(crate) lines: Option<usize>,
    pub(crate) bare: bool,
    pub(crate) setup: bool,
    pub(crate) captures_lease: bool,
    /// Run by all, compared with this kind of etcdctl alone.
    pub(crate) only: Option<Age>,
}

/// Whether an etcdctl is of the server's version or an older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    New,
    Old,
}

pub(crate) fn read(text: &str) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for line in text.lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(head) = line.strip_prefix("== ") {
            let mut words = head.split(' ').map(str::to_owned);
            groups.push(Group {
                name: words.next().expect("a group has a name"),
                flags: words.collect(),
                cases: Vec::new(),
            });
        } else {
            let group = groups.last_mut().expect("a case stands in a group");
            group.cases.push(case(line));
        }
    }
    groups
}

pub(crate) fn case(line: &str) -> Case {
    let mut case = Case {
        line: line.to_owned(),
        ..Case::default()
    };
    let (command, stdin) = match line.split_once("<<<") {
        Some((command, stdin)) => {
            let text = stdin.strip_prefix(' ').unwrap_or(stdin);
            (command, Some(unescape(text)))
        }
        None => (line, None),
    };
    case.stdin = stdin;
    let mut words = split(command).into_iter().peekable();
    while let Some(word) = words.peek() {
        if let Some(lines) = word.strip_prefix('@') {
            case.lines = Some(lines.parse().expect("@ and a number of lines"));
        } else if word == "!" {
            case.bare = true;
        } else if word == "new:" {
            case.only = Some(Age::New);
        } else if word == "old:" {
            case.only = Some(Age::Old);
        } else if word == "setup:" {
            case.setup = true;
        } else if word == "L:" {
            case.captures_lease = true;
        } else if let Some((name, value)) = word
            .split_once('=')
            .filter(|_| word.starts_with("ETCDCTL_"))
        {
            case.environment.push((name.into(), value.into()));
        } else {
            break;
        }
        words.next();
    }
    case.words = words.collect();
    case
}

/// Words separated by spaces, with single and double quotes taken literally.
fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => out.push(match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some(other) => other,
                None => '\\',
            }),
            (_, false) => out.push(c),
        }
    }
    out.into_bytes()
}
