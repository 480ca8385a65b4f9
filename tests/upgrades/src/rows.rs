//! The table. Ids are those of the project's upgrade page (U1 and so on), with
//! a word behind a stroke for a variant. What a row ends in was seen on real
//! releases; where that is not what the page expects, `note` says so.

mod mended;
mod pintle;

use crate::{
    reality::{
        Ends::{self, *},
        OK, healed, learners, zombies,
    },
    script::{
        Op::{self, *},
        PINTLE, SNAP,
        Who::*,
    },
};

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its id.
    pub id: &'static str,
    /// Part of the quick run.
    pub quick: bool,
    /// What the page expects of its end.
    pub page: &'static str,
    /// The history, with what each recorded step ends in.
    pub script: &'static [Op],
    /// Where the page and the releases part, or what else was learnt.
    pub note: &'static str,
}

const fn row(
    id: &'static str,
    quick: bool,
    page: &'static str,
    script: &'static [Op],
    note: &'static str,
) -> Row {
    Row {
        id,
        quick,
        page,
        script,
        note,
    }
}

const TOO_MANY: Ends = Refuses("too many learner members in cluster");
const V2_CONTENT: Ends = Refuses("detected disallowed custom content in v2store");
const V2_WAL: Ends = Panics("detected disallowed v2 WAL");
const RAW_V2: Ends = Panics("unmarshal should never fail");
const KUBEADM: &[&str] = &[
    "--experimental-initial-corrupt-check=true",
    "--experimental-watch-progress-notify-interval=5s",
];

/// A newcomer gets the database of the leader and not its log.
const SHORT_LOG: &[&str] = &[
    "--snapshot-count=10",
    "--experimental-snapshot-catchup-entries=5",
];

/// Every row, in the order of the page.
pub const ROWS: &[Row] = &[
    row(
        "U1",
        true,
        "FAIL too many learner members",
        &[
            Start(1, "3.5.16"),
            Learners(3, "3.5.16"),
            Upgrade("3.6.14", First, &[], TOO_MANY),
        ],
        "",
    ),
    row(
        "U1/3.6.4",
        false,
        "FAIL too many learner members",
        &[
            Start(1, "3.5.16"),
            Learners(3, "3.5.16"),
            Upgrade("3.6.4", First, &[], TOO_MANY),
        ],
        "",
    ),
    row(
        "U1/3.6.0",
        false,
        "FAIL too many learner members",
        &[
            Start(1, "3.5.16"),
            Learners(3, "3.5.16"),
            Upgrade("3.6.0", First, &[], TOO_MANY),
        ],
        "",
    ),
    row(
        "U1/pintle",
        true,
        "(ours) boots, all voters",
        &[
            Start(1, "3.5.16"),
            Learners(3, "3.5.16"),
            Upgrade(PINTLE, All, &[], OK),
            Upgrade("3.6.14", All, &[], OK),
        ],
        "",
    ),
    row(
        "U1/planted",
        false,
        "FAIL too many learner members",
        &[
            Start(3, "3.5.16"),
            PlantLearners,
            Upgrade("3.6.14", First, &[], TOO_MANY),
        ],
        "",
    ),
    row(
        "U1/3.7.1",
        false,
        "(nobody said)",
        &[
            Start(1, "3.5.16"),
            Learners(3, "3.5.16"),
            SNAP,
            Keys(50),
            Upgrade("3.7.1", First, &[], TOO_MANY),
        ],
        "",
    ),
    row(
        "U2",
        false,
        "HEALED x2",
        &[
            Start(1, "3.5.16"),
            Learners(3, "3.5.16"),
            SNAP,
            Keys(50),
            Upgrade("3.6.14", All, &[], healed(2)),
        ],
        "",
    ),
    row(
        "U3",
        false,
        "boots, one stale learner healed",
        &[
            Start(1, "3.5.16"),
            Learners(2, "3.5.16"),
            Voters(3, "3.5.16"),
            Upgrade("3.6.14", All, &[], healed(1)),
        ],
        "",
    ),
    row(
        "U4",
        false,
        "FAIL too many learner members",
        &[
            Start(1, "3.5.1"),
            Learners(3, "3.5.1"),
            Upgrade("3.6.14", First, &[], TOO_MANY),
        ],
        "",
    ),
    row(
        "U5",
        false,
        "OK",
        &[
            Start(1, "3.5.0"),
            Learners(3, "3.5.0"),
            Upgrade("3.6.14", All, &[], OK),
        ],
        "",
    ),
    row(
        "U6",
        false,
        "OK",
        &[
            Start(1, "3.4.23"),
            Learners(3, "3.4.23"),
            Upgrade("3.5.30", All, &[], healed(2)),
            Upgrade("3.6.14", All, &[], Down),
        ],
        "The 3.4 database of a cluster that never wrote a key has consistent index 0. 3.5.30 replays its log from the start into the buckets, and at the first member's entry takes the others for zombies: they stay in members_removed. 3.5 does not read that; the first 3.6 member tells the others that they are removed, and they end.",
    ),
    row(
        "U6/written",
        false,
        "OK",
        &[
            Start(1, "3.4.23"),
            Learners(3, "3.4.23"),
            Keys(5),
            Upgrade("3.5.30", All, &[], OK),
            Upgrade("3.6.14", All, &[], OK),
        ],
        "One write after the last change of members is enough.",
    ),
    row(
        "U6/late",
        false,
        "OK",
        &[
            Start(1, "3.4.23"),
            Keys(20),
            Voters(3, "3.4.23"),
            Upgrade("3.5.30", All, &[], healed(1)),
            Upgrade("3.6.14", All, &[], Down),
        ],
        "Keys before, none after the last two changes of members: the later one's member is expelled.",
    ),
    row(
        "U6/3.5.16",
        false,
        "OK",
        &[
            Start(1, "3.4.23"),
            Learners(3, "3.4.23"),
            Upgrade("3.5.16", All, &[], OK),
            Upgrade("3.6.14", All, &[], OK),
        ],
        "",
    ),
    row(
        "U6/plain",
        false,
        "OK",
        &[
            Start(3, "3.4.23"),
            Upgrade("3.5.30", All, &[], healed(2)),
            Upgrade("3.6.14", All, &[], Down),
        ],
        "As U6, without any learner.",
    ),
    row(
        "U6/pintle",
        false,
        "(ours) OK",
        &[
            Start(1, "3.4.23"),
            Learners(3, "3.4.23"),
            Upgrade(PINTLE, All, &[], OK),
            Upgrade("3.6.14", All, &[], OK),
        ],
        "",
    ),
    row(
        "U6/3.5.30-pintle",
        false,
        "(ours) heals it",
        &[
            Start(1, "3.4.23"),
            Learners(3, "3.4.23"),
            Upgrade("3.5.30", All, &[], healed(2)),
            Upgrade(PINTLE, All, &[], OK),
            Upgrade("3.6.14", All, &[], OK),
        ],
        "It takes the living out of members_removed, which no etcd does.",
    ),
    row(
        "U7",
        false,
        "OK",
        &[
            Start(1, "3.5.16"),
            Learners(3, "3.5.16"),
            Upgrade("3.5.30", All, &[], OK),
            Upgrade("3.6.14", All, &[], OK),
        ],
        "",
    ),
    row(
        "U8",
        false,
        "OK with one stale left, FAIL with two",
        &[
            Start(1, "3.5.16"),
            Learners(3, "3.5.16"),
            Roll(2, "3.5.30"),
            Upgrade("3.6.14", First, &[], healed(1)),
        ],
        "One stale record is left in the databases of the two on 3.5.30, and the replay heals it. The third, still on 3.5.16, keeps both in its own.",
    ),
    row(
        "U8/one",
        false,
        "FAIL with two stale left",
        &[
            Start(1, "3.5.16"),
            Learners(3, "3.5.16"),
            Roll(1, "3.5.30"),
            Upgrade("3.6.14", First, &[], TOO_MANY),
        ],
        "",
    ),
    row(
        "U9",
        false,
        "FAIL as etcd#20793",
        &[
            Start(1, "3.5.16"),
            Learners(3, "3.5.16"),
            Replace("3.5.21"),
            Upgrade("3.6.14", First, &[], OK),
        ],
        "The newcomers got the log and applied the promotions themselves.",
    ),
    row(
        "U9/3.5.30",
        false,
        "OK",
        &[
            Start(1, "3.5.16"),
            Learners(3, "3.5.16"),
            Replace("3.5.30"),
            Upgrade("3.6.14", All, &[], OK),
        ],
        "",
    ),
    row(
        "U9/by-snapshot",
        false,
        "FAIL as etcd#20793",
        &[
            Start(1, "3.5.16"),
            Learners(3, "3.5.16"),
            Restart(SHORT_LOG),
            Keys(50),
            Replace("3.5.21"),
            Upgrade("3.6.14", All, &[], OK),
        ],
        "Newcomers get databases with stale records, and the restarts of the first two heal them before the turn of the third.",
    ),
    row(
        "U9/by-snapshot-at-once",
        false,
        "FAIL as etcd#20793",
        &[
            Start(1, "3.5.16"),
            Learners(3, "3.5.16"),
            Restart(SHORT_LOG),
            Keys(50),
            Replace("3.5.21"),
            Upgrade("3.6.14", Together, &[], healed(2)),
        ],
        "",
    ),
    row(
        "U9/by-snapshot-3.5.30",
        false,
        "OK",
        &[
            Start(1, "3.5.16"),
            Learners(3, "3.5.16"),
            Restart(SHORT_LOG),
            Keys(50),
            Replace("3.5.30"),
            Upgrade("3.6.14", All, &[], OK),
        ],
        "",
    ),
    row(
        "U9/replaced-twice",
        false,
        "FAIL as etcd#20793",
        &[
            Start(1, "3.5.16"),
            Learners(3, "3.5.16"),
            Restart(SHORT_LOG),
            Keys(50),
            Replace("3.5.21"),
            Keys(20),
            Replaced("3.6.14", SomeLearners),
        ],
        "The database that the first newcomer of 3.6 is sent has voters as nameless learners. Nothing fails while it runs: its list is wrong.",
    ),
    row(
        "U9/replaced-twice-3.6.4",
        false,
        "FAIL as etcd#20793",
        &[
            Start(1, "3.5.16"),
            Learners(3, "3.5.16"),
            Restart(SHORT_LOG),
            Keys(50),
            Replace("3.5.21"),
            Keys(20),
            Replaced("3.6.4", SomeLearners),
        ],
        "The database that the first newcomer of 3.6 is sent has voters as nameless learners. Nothing fails while it runs: its list is wrong.",
    ),
    row(
        "U10",
        false,
        "OK",
        &[
            Start(1, "3.5.30"),
            Learners(3, "3.5.30"),
            Upgrade("3.6.14", All, &[], OK),
        ],
        "",
    ),
    row(
        "U11",
        false,
        "ZOMBIE",
        &[
            Start(3, "3.4.23"),
            Keys(20),
            Restore("3.4.23"),
            Voters(3, "3.4.23"),
            Upgrade("3.5.16", All, &[], OK),
            Upgrade("3.6.14", All, &[], zombies(3)),
        ],
        "",
    ),
    row(
        "U11/repaired",
        false,
        "`member remove` works on 3.6",
        &[
            Start(3, "3.4.23"),
            Keys(20),
            Restore("3.4.23"),
            Upgrade("3.5.16", All, &[], OK),
            Upgrade("3.6.14", All, &[], zombies(3)),
            RemoveZombies(Panics("failed to delete member from store")),
        ],
        "Zombies of a real restore, one member.",
    ),
    row(
        "U12",
        false,
        "OK, zombies removed by 3.5.30",
        &[
            Start(3, "3.4.23"),
            Keys(20),
            Restore("3.4.23"),
            Voters(3, "3.4.23"),
            Upgrade("3.5.30", All, &[], healed(3)),
            Upgrade("3.6.14", All, &[], OK),
        ],
        "",
    ),
    row(
        "U13",
        false,
        "ZOMBIE visible on 3.5.0",
        &[
            Start(3, "3.4.23"),
            Keys(20),
            Restore("3.4.23"),
            Upgrade("3.5.16", All, &[], OK),
            Upgrade("3.5.0", First, &[], zombies(3)),
        ],
        "",
    ),
    row(
        "U11/pintle",
        false,
        "(ours) boots without zombies, leaves none",
        &[
            Start(3, "3.4.23"),
            Keys(20),
            Restore("3.4.23"),
            Voters(3, "3.4.23"),
            Upgrade("3.5.16", All, &[], OK),
            Upgrade(PINTLE, All, &[], OK),
            Upgrade("3.6.14", All, &[], OK),
            Keys(20),
            Upgrade("3.7.1", All, &[], OK),
        ],
        "",
    ),
    row(
        "U15",
        true,
        "FAIL illegal v2store content",
        &[
            Start(1, "3.5.16"),
            Restart(&["--enable-v2=true", "--snapshot-count=10"]),
            V2Put,
            Keys(50),
            Upgrade("3.6.14", All, &[], V2_CONTENT),
        ],
        "The line before it says `illegal v2store content`.",
    ),
    row(
        "U15/pintle",
        false,
        "(ours) says what is in the way",
        &[
            Start(1, "3.5.16"),
            Restart(&["--enable-v2=true", "--snapshot-count=10"]),
            V2Put,
            Keys(50),
            Upgrade(PINTLE, All, &[], OK),
            Upgrade("3.6.14", All, &[], V2_CONTENT),
        ],
        "",
    ),
    row(
        "U16",
        true,
        "FAIL panic disallowed v2 WAL",
        &[
            Start(1, "3.5.16"),
            Restart(&["--enable-v2=true"]),
            V2Put,
            V2Delete,
            Upgrade("3.6.14", All, &[], V2_WAL),
        ],
        "",
    ),
    row(
        "U16/pintle",
        false,
        "(ours) boots",
        &[
            Start(1, "3.5.16"),
            Restart(&["--enable-v2=true"]),
            V2Put,
            V2Delete,
            Upgrade(PINTLE, All, &[], OK),
            Upgrade("3.6.14", All, &[], OK),
        ],
        "It takes a snapshot behind the v2 requests.",
    ),
    row(
        "U15/pintle-drop",
        false,
        "(ours) gives them up when told to",
        &[
            Start(1, "3.5.16"),
            Restart(&["--enable-v2=true", "--snapshot-count=10"]),
            V2Put,
            Keys(50),
            Upgrade(PINTLE, All, &["--v2-deprecation=write-only-drop-data"], OK),
            Upgrade("3.6.14", All, &[], OK),
            Keys(20),
            Upgrade("3.7.1", All, &[], OK),
        ],
        "A copy of the keys stays beside the snapshot.",
    ),
    row(
        "U17",
        false,
        "OK",
        &[
            Start(1, "3.5.16"),
            Restart(&["--enable-v2=true"]),
            V2Put,
            V2Delete,
            Restart(&["--snapshot-count=1"]),
            Keys(5),
            Restart(&[]),
            Upgrade("3.6.14", All, &[], OK),
        ],
        "",
    ),
    row(
        "U18",
        false,
        "OK with a warning",
        &[
            Start(1, "3.5.16"),
            Restart(&["--enable-v2=true", "--snapshot-count=10"]),
            V2Put,
            Keys(50),
            Upgrade(
                "3.6.14",
                All,
                &["--v2-deprecation=write-only-skip-check"],
                OK,
            ),
        ],
        "",
    ),
    row(
        "U19",
        false,
        "3.6.14 OK",
        &[
            Start(1, "3.5.30"),
            Restart(&["--enable-v2=true", "--snapshot-count=10"]),
            V2User,
            Keys(50),
            Upgrade("3.6.14", All, &[], OK),
        ],
        "",
    ),
    row(
        "U19/3.6.0",
        false,
        "3.6.2 and older FAIL",
        &[
            Start(1, "3.5.30"),
            Restart(&["--enable-v2=true", "--snapshot-count=10"]),
            V2User,
            Keys(50),
            Upgrade("3.6.0", All, &[], V2_CONTENT),
        ],
        "",
    ),
    row(
        "U20",
        true,
        "[infer] panic unmarshal should never fail",
        &[
            Start(1, "3.5.30"),
            Keys(100),
            Upgrade("3.6.14", All, &[], OK),
            Keys(100),
            Upgrade("3.7.1", All, &[], RAW_V2),
        ],
        "The legal path 3.5 -> 3.6 -> 3.7 with fewer than 10,000 entries on 3.6 ends in this panic. 3.6.14 goes on with the same directory.",
    ),
    row(
        "U20/three",
        false,
        "[infer] panic unmarshal should never fail",
        &[
            Start(3, "3.5.30"),
            Keys(100),
            Upgrade("3.6.14", All, &[], OK),
            Keys(100),
            Upgrade("3.7.1", First, &[], RAW_V2),
        ],
        "",
    ),
    row(
        "U20/snapshot",
        true,
        "OK",
        &[
            Start(1, "3.5.30"),
            Keys(100),
            Upgrade("3.6.14", All, &[], OK),
            SNAP,
            Keys(50),
            Upgrade("3.7.1", All, &[], OK),
        ],
        "",
    ),
    row(
        "U20/three-snapshot",
        false,
        "OK",
        &[
            Start(3, "3.5.30"),
            Keys(100),
            Upgrade("3.6.14", All, &[], OK),
            SNAP,
            Keys(50),
            Upgrade("3.7.1", All, &[], OK),
        ],
        "",
    ),
    row(
        "U20/snapshot-on-3.5",
        false,
        "OK, for 3.6 writes no raw v2 records",
        &[
            Start(3, "3.5.30"),
            SNAP,
            Keys(50),
            Upgrade("3.6.14", All, &[], OK),
            Keys(20),
            Upgrade("3.7.1", All, &[], OK),
        ],
        "",
    ),
    row(
        "U20/born-on-3.6",
        false,
        "OK",
        &[Start(3, "3.6.14"), Keys(20), Upgrade("3.7.1", All, &[], OK)],
        "",
    ),
    row(
        "U20/pintle",
        false,
        "(ours) what Pintle leaves",
        &[
            Start(1, PINTLE),
            Keys(100),
            Upgrade("3.6.14", All, &[], OK),
            Keys(100),
            Upgrade("3.7.1", All, &[], OK),
        ],
        "It takes a snapshot behind every raw v2 record.",
    ),
    row(
        "U20b",
        false,
        "panic unmarshal should never fail",
        &[
            Start(1, "3.5.30"),
            Keys(100),
            Upgrade("3.7.1", All, &[], RAW_V2),
        ],
        "",
    ),
    row(
        "U20b/snapshot",
        false,
        "refuse cleanly",
        &[
            Start(1, "3.5.30"),
            SNAP,
            Keys(50),
            Upgrade("3.7.1", All, &[], OK),
        ],
        "3.7.1 has no guard: it takes a 3.5 directory whose newest snapshot is behind the last raw v2 record.",
    ),
    row(
        "U20b/pintle",
        false,
        "(ours) what Pintle leaves",
        &[Start(1, PINTLE), Keys(100), Upgrade("3.7.1", All, &[], OK)],
        "As U20b/snapshot: 3.7.1 has no guard.",
    ),
    row(
        "U21",
        false,
        "intermittent panic failed to nodeToMember",
        &[
            Start(1, "3.6.0"),
            Keys(5),
            Restore("3.6.0"),
            Learners(3, "3.6.0"),
            Replace("3.6.0"),
            Upgrade("3.6.0", Together, &[], OK),
        ],
        "",
    ),
    row(
        "U22",
        true,
        "[infer] zombie votes: one lost of 3+1 still writes",
        &[
            Start(3, "3.6.14"),
            PlantZombies(1),
            Upgrade("3.7.1", All, &[], zombies(1)),
            LoseOne(Stuck),
        ],
        "Proved: the zombie votes. Three real members and one zombie need three.",
    ),
    row(
        "U22/two",
        false,
        "[infer] two zombies: quorum lost when one real is down",
        &[
            Start(3, "3.6.14"),
            PlantZombies(2),
            Upgrade("3.7.1", Together, &[], zombies(2)),
            LoseOne(Stuck),
        ],
        "",
    ),
    row(
        "U22/repaired",
        false,
        "`member remove` works on 3.6",
        &[
            Start(3, "3.6.14"),
            PlantZombies(1),
            RemoveZombies(Panics("failed to delete member from store")),
        ],
        "The repair that everybody recommends panics every member of 3.6: the v2 store does not have the zombie.",
    ),
    row(
        "U22/repaired-behind-a-snapshot",
        false,
        "`member remove` works on 3.6",
        &[
            Start(3, "3.6.14"),
            PlantZombies(1),
            SNAP,
            Keys(50),
            Restart(&[]),
            RemoveZombies(OK),
            Upgrade("3.7.1", All, &[], OK),
            LoseOne(OK),
        ],
        "3.6 writes `.snap` from the buckets: after a snapshot and a restart its v2 store has the zombie, and it can be removed.",
    ),
    row(
        "U22/repaired-on-3.7",
        false,
        "(nobody said)",
        &[
            Start(3, "3.6.14"),
            PlantZombies(1),
            Upgrade("3.7.1", All, &[], zombies(1)),
            RemoveZombies(OK),
            LoseOne(OK),
        ],
        "",
    ),
    row(
        "U23",
        true,
        "3.6 OK, 3.7 unknown flag",
        &[
            Start(1, "3.5.30"),
            Restart(KUBEADM),
            Upgrade("3.6.14", All, KUBEADM, OK),
            Upgrade("3.7.1", All, KUBEADM, Refuses("not defined")),
        ],
        "",
    ),
    row(
        "U24",
        false,
        "OK",
        &[
            Start(3, "3.5.30"),
            Keys(20),
            Upgrade("3.6.14", First, &[], OK),
            Keys(20),
            Upgrade("3.5.30", First, &[], OK),
        ],
        "",
    ),
    row(
        "U24/pintle",
        false,
        "(ours) OK",
        &[
            Start(3, PINTLE),
            Keys(20),
            Upgrade("3.6.14", First, &[], OK),
            Keys(20),
            Upgrade(PINTLE, First, &[], OK),
        ],
        "",
    ),
    row(
        "U25",
        true,
        "FAIL invalid downgrade",
        &[
            Start(3, "3.6.14"),
            Keys(20),
            Upgrade("3.5.30", First, &[], Refuses("invalid downgrade")),
        ],
        "A fatal line, not a panic.",
    ),
    row(
        "U25/pintle",
        false,
        "(ours) FAIL invalid downgrade",
        &[
            Start(3, "3.6.14"),
            Keys(20),
            Upgrade(PINTLE, First, &[], Refuses("invalid downgrade")),
        ],
        "",
    ),
    row(
        "U26",
        false,
        "OK, re-upgrade OK",
        &[
            Start(3, "3.6.14"),
            Keys(20),
            Downgrade("3.5"),
            Upgrade("3.5.30", All, &[], OK),
            Upgrade("3.6.14", All, &[], OK),
        ],
        "",
    ),
    row(
        "U26/cancelled",
        false,
        "OK",
        &[
            Start(3, "3.6.14"),
            Keys(20),
            Downgrade("3.5"),
            CancelDowngrade,
            SNAP,
            Keys(50),
            Upgrade("3.7.1", All, &[], OK),
        ],
        "",
    ),
    row(
        "U26/cancelled-after-one",
        false,
        "OK",
        &[
            Start(3, "3.6.14"),
            Keys(20),
            Downgrade("3.5"),
            Upgrade("3.5.30", First, &[], OK),
            CancelDowngrade,
            Keys(20),
            Upgrade("3.6.14", First, &[], OK),
        ],
        "",
    ),
    row(
        "U26/cancelled-after-pintle",
        false,
        "(ours) OK",
        &[
            Start(3, "3.6.14"),
            Keys(20),
            Downgrade("3.5"),
            Upgrade(PINTLE, First, &[], OK),
            CancelDowngrade,
            Keys(20),
            Upgrade("3.6.14", First, &[], OK),
        ],
        "",
    ),
    row(
        "U26/pintle",
        false,
        "(ours) OK, re-upgrade OK",
        &[
            Start(3, "3.6.14"),
            Keys(20),
            Downgrade("3.5"),
            Upgrade(PINTLE, All, &[], OK),
            Upgrade("3.6.14", All, &[], OK),
        ],
        "",
    ),
    row(
        "U27",
        false,
        "OK",
        &[
            Start(3, "3.7.1"),
            Keys(20),
            Downgrade("3.6"),
            Upgrade("3.6.14", All, &[], OK),
        ],
        "",
    ),
    row(
        "U29",
        false,
        "OK hop by hop (from 3.4.23 here)",
        &[
            Start(3, "3.4.23"),
            Keys(20),
            Upgrade("3.5.30", All, &[], OK),
            Upgrade("3.6.14", All, &[], OK),
            SNAP,
            Keys(50),
            Upgrade("3.7.1", All, &[], OK),
        ],
        "",
    ),
    row(
        "U29/skip",
        false,
        "FAIL",
        &[
            Start(3, "3.4.23"),
            Keys(20),
            Upgrade("3.6.14", First, &[], Stuck),
        ],
        "3.6.14 starts; what it publishes panics the running 3.4 members (`not implemented`), which panic again at every start.",
    ),
    row(
        "U30",
        false,
        "3.5.16: member add refused with one down",
        &[
            Start(5, "3.5.16"),
            Keys(5),
            AddWhileOneIsDown(Refuses("unhealthy cluster")),
        ],
        "",
    ),
    row(
        "U30/3.5.30",
        false,
        "accepted",
        &[Start(5, "3.5.30"), Keys(5), AddWhileOneIsDown(OK)],
        "",
    ),
    row(
        "U30/three",
        false,
        "accepted",
        &[
            Start(3, "3.5.30"),
            Keys(5),
            AddWhileOneIsDown(Refuses("unhealthy cluster")),
        ],
        "The newcomer counts as down: two of four are no quorum. With three members and one down the fix changes nothing.",
    ),
    row(
        "U31",
        false,
        "the learner is listed as a voter",
        &[
            Start(1, "3.5.30"),
            Learner("3.5.30"),
            UpdateLearner,
            Upgrade("3.6.14", First, &[], OK),
        ],
        "",
    ),
    row(
        "U33",
        false,
        "voters shown as learners by 3.5.0",
        &[
            Start(1, "3.5.16"),
            Learners(3, "3.5.16"),
            Upgrade("3.5.0", First, &[], OK),
        ],
        "3.5.0 replays the promotions from the log. Its list is wrong only behind a snapshot.",
    ),
    row(
        "U33/snapshot",
        true,
        "voters shown as learners by 3.5.0",
        &[
            Start(1, "3.5.16"),
            Learners(3, "3.5.16"),
            SNAP,
            Keys(50),
            Upgrade("3.5.0", First, &[], learners(2)),
        ],
        "",
    ),
];

/// Rows of the page that have no script, and why.
pub const ABSENT: &[(&str, &str)] = &[
    (
        "U14",
        "the corner needs a kill between two commits, hit by chance; the same state is made by hand in U22 and, before 3.6, in U14/pintle",
    ),
    (
        "U28",
        "load and kills during hops are tested by tests/peers (cluster_roll, cluster_faults) and by tests/run.rs here, Pintle as target and as source among them",
    ),
    (
        "U32",
        "needs a file system that drops an unsynced directory entry, with Pintle too",
    ),
];

/// All rows; behind those of the page, more with Pintle, and those that are mended first.
pub fn all() -> impl Iterator<Item = &'static Row> {
    ROWS.iter().chain(pintle::WITH_PINTLE).chain(mended::MENDED)
}

/// The rows that `PINTLE_UPGRADES` chooses: the quick ones where it is not set, all of
/// them for `full`, else those whose id is in its list or begins so, up to a stroke.
pub fn chosen() -> impl Iterator<Item = &'static Row> {
    let wanted = std::env::var("PINTLE_UPGRADES").unwrap_or_default();
    all().filter(move |row| match wanted.as_str() {
        "" => row.quick,
        "full" => true,
        ids => ids
            .split(',')
            .any(|w| row.id == w || row.id.starts_with(&format!("{w}/"))),
    })
}

/// The row of this id.
pub fn find(id: &str) -> Option<&'static Row> {
    all().find(|r| r.id == id)
}
