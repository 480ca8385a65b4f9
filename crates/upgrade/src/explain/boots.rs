//! What a start of the target was predicted to do, explained; and what keeps a run from stopping a
//! member.

use super::entry::{Entry, STOP};
use crate::predict::{self, Outcome, Prediction};

/// The ids of what a prediction says, the end of the start first.
pub(crate) fn of_boot(what: &Prediction) -> Vec<&'static str> {
    let mut ids = Vec::new();
    if what.outcome != Outcome::Starts {
        ids.extend(BOOTS.iter().find(|e| is_about(e, &what.text)).map(|e| e.id));
    }
    let lists = [
        (&what.healed, "B10"),
        (&what.zombies, "B11"),
        (&what.learners, "B12"),
    ];
    ids.extend(
        lists
            .iter()
            .filter(|(l, _)| !l.is_empty())
            .map(|(_, id)| id),
    );
    for unsure in &what.unsure {
        ids.extend(BOOTS.iter().find(|e| is_about(e, unsure)).map(|e| e.id));
    }
    ids
}

/// Whether this is the entry of a predicted text.
fn is_about(entry: &Entry, predicted: &str) -> bool {
    entry.texts.iter().any(|text| predicted.contains(text))
}

/// Every prediction, and [`STOP`].
pub(crate) const BOOTS: &[Entry] = &[
    Entry {
        id: "B1",
        title: "refuses: more learners in the database than allowed",
        means: "The target takes voters for learners, finds too many of them, and ends before it serves. P4 and P8 say which.",
        etcd: "3.6 and 3.7 count the learners in the database at each start and compare with --max-learners (1). Nothing was written: the directory is as it was.",
        by_hand: "The last lines of the member's log. On a running cluster the same text, from `etcdctl member add --learner`, only means that a learner waits for its promotion already.",
        fix: "Put the old binary back, which starts. Bring every member to the newest 3.5, restart each once more, check again; or `pintle upgrade repair --data-dir DIR`. Do not raise --max-learners: voters would be listed as learners.",
        texts: &[predict::TOO_MANY_LEARNERS],
    },
    Entry {
        id: "B2",
        title: "refuses: keys of API version 2 in the snapshot",
        means: "The newest .snap has keys that users wrote by API version 2. P9 names them.",
        etcd: "3.6 ends before it serves, and so does Pintle at line 3.6. Nothing was written.",
        by_hand: "The last lines of the member's log; `etcdutl check v2store --data-dir DIR` of 3.5.18 or later.",
        fix: "Put the old binary back. `pintle upgrade repair --data-dir DIR --drop-v2` gives the keys up; or delete them by the v2 API of 3.5.",
        texts: &[predict::V2_CONTENT, "illegal v2store content"],
    },
    Entry {
        id: "B3",
        title: "panics: a v2 request in the log",
        means: "The log after the newest snapshot has a request of API version 2. P10 shows the first one.",
        etcd: "3.6 panics in the replay, at each start; Pintle at line 3.6 refuses before. The way back is open.",
        by_hand: "The stack trace in the member's log names the text below.",
        fix: "Put the old binary back, take a fresh snapshot (--snapshot-count=1 for one start), then try again; or `pintle upgrade repair --data-dir DIR`.",
        texts: &[predict::V2_LOG],
    },
    Entry {
        id: "B4",
        title: "panics: a raw v2 record in the log",
        means: "The log after the newest snapshot record has the publication of a 3.5, which 3.7 cannot decode. P11 shows the first one.",
        etcd: "3.7 panics in the replay, at each start, with no word of versions: `panic: unmarshal should never fail (proto: cannot parse invalid wire-format data)`.",
        by_hand: "The stack trace in the member's log names the text below.",
        fix: "Put 3.6 back: the directory is intact. A fresh snapshot on 3.6 (--snapshot-count=1 for one start), then 3.7; or `pintle upgrade repair --data-dir DIR`.",
        texts: &[predict::NOT_V3],
    },
    Entry {
        id: "B5",
        title: "does not serve: told that it was removed",
        means: "A living member is in the database's list of removed ones; members of 3.6 refuse its connections. P7 names it.",
        etcd: "The first 3.6 answers the others with 410 Gone, and they end. 3.5 does not read the list.",
        by_hand: "The text below in the log of the member that ends; `bbolt keys m.db members_removed`.",
        fix: "Put the old binaries back, and `pintle upgrade repair --data-dir DIR` on each stopped member.",
        texts: &[predict::REMOVED],
    },
    Entry {
        id: "B6",
        title: "does not serve: the others, of 3.4, panic",
        means: "3.6 in a cluster of 3.4 writes entries that 3.4 does not know.",
        etcd: "3.4 panics on the first such entry, and so the cluster loses its quorum. Nothing refuses before.",
        by_hand: "`etcdctl version` and `curl URL/version` of each member before any start.",
        fix: "Go to 3.5 first: `pintle upgrade plan` shows the path.",
        texts: &[predict::ENDS_3_4],
    },
    Entry {
        id: "B7",
        title: "refuses: the cluster is newer than the binary",
        means: "The cluster version, which is in the log and the database, is above this binary's minor version. The first step back is `downgrade enable`.",
        etcd: "Every release ends at such a start. 3.6 and 3.7 go down by one minor version after `etcdctl downgrade enable`; 3.5 goes down to no release but by a restore.",
        by_hand: "`curl URL/version` of a member that runs: `etcdcluster`.",
        fix: "Start the release that it ran before. To go back: `pintle upgrade rollback`, which takes the cluster version down first.",
        texts: &[predict::DOWNGRADE, predict::DOWNGRADE_OLD],
    },
    Entry {
        id: "B8",
        title: "refuses (Pintle): the database counts other voters than the log",
        means: "At 3.7 the voters are built from the database, and those of this directory are not the ones that the log was written by.",
        etcd: "etcd 3.7 starts, with the wrong quorum. Pintle at line 3.7 does not.",
        by_hand: "`bbolt keys m.db members` compared with `etcdctl member list` of a 3.6 or 3.5 on this directory.",
        fix: "Put back what ran before, and repair the membership: P4, P5, or `pintle upgrade repair --data-dir DIR`.",
        texts: &[predict::OTHER_VOTES],
    },
    Entry {
        id: "B9",
        title: "refuses (Pintle): a line that skips a minor version",
        means: "Pintle was asked for a line more than one minor version above the cluster's.",
        etcd: "etcd does not refuse this in every case, and 3.7 panics on a log of 3.5.",
        by_hand: "`curl URL/version`: `etcdcluster`.",
        fix: "Go to `pintle`, which takes the line of the cluster, then raise the line one by one.",
        texts: &[predict::SKIPS],
    },
    Entry {
        id: "B10",
        title: "starts, and corrects records",
        means: "The target writes these members' records anew at its start, and is right to.",
        etcd: "3.6 corrects promotions that the newest .snap or the replay shows. 3.5.26 and later take zombies out. Pintle corrects every copy up to line 3.5.",
        by_hand: "`Syncing member in v3store`, `Forcibly apply member promotion request` or `Removing zombie member from v3store` in the member's log.",
        fix: "Nothing. Check again after the start.",
        texts: &[],
    },
    Entry {
        id: "B11",
        title: "starts, and brings members back",
        means: "Members that were removed are in the database, and the target lists them again. P5 names them.",
        etcd: "3.5.0, 3.6 and 3.7 take them for members; in 3.7 they count for the quorum. Each is dialled for ever.",
        by_hand: "`etcdctl member list` after the start has more members than before; `prober detected unhealthy status` in the log.",
        fix: "Do not start the target: bring every member to 3.5.26 or later and restart each once, or `pintle upgrade repair --data-dir DIR`.",
        texts: &[],
    },
    Entry {
        id: "B12",
        title: "starts, and lists voters as learners",
        means: "A voter's record in the database says learner, one of them is allowed, and so the target starts and shows it wrongly. P4 names it.",
        etcd: "In 3.6 the list is wrong and the quorum right; in 3.7 the voter does not count for the quorum.",
        by_hand: "`etcdctl member list`: IS LEARNER is true for a member that no one added as a learner.",
        fix: "Before the start: P4. After it, on 3.6: `etcdctl member promote ID` on each such member, then check again.",
        texts: &[],
    },
    Entry {
        id: "B13",
        title: "may panic: the replay of a promotion before 3.6.4",
        means: "The log after the newest snapshot has the promotion of a member that the snapshot does not have.",
        etcd: "3.6.0 to 3.6.3 panic on it in some orders of entries (etcd#20340); 3.6.4 and later do not.",
        by_hand: "The stack trace in the member's log names the text below.",
        fix: "Take the newest 3.6 as the target. The directory is intact.",
        texts: &["failed to nodeToMember"],
    },
    Entry {
        id: "B14",
        title: "may expel living members, on what 3.4 left",
        means: "The database has members at an index at which the log does not have them yet: the target takes them for zombies.",
        etcd: "3.5.26 and later mark them as removed and serve on; the first 3.6 then tells them so, and they end.",
        by_hand: "`bbolt keys m.db members_removed` after the start.",
        fix: "Before the start: write one key to the cluster on its present release, and check again. After it: `pintle upgrade repair --data-dir DIR` on each stopped member.",
        texts: &[predict::EXPELS],
    },
    Entry {
        id: STOP,
        title: "no member can be stopped now",
        means: "`pintle upgrade run` would stop no member as the cluster is: the rest would be no quorum, or what replaces the member would not start.",
        etcd: "etcd does not look at this: a member stops when it is told to.",
        by_hand: "`etcdctl endpoint status --cluster -w table`, `etcdctl alarm list`, `etcdctl member list`.",
        fix: "What the finding names: bring the silent members back, disarm the alarm, end the downgrade; then plan again.",
        texts: &[],
    },
];
