//! The table. Ids are those of the project's upgrade page (U1 and so on), with
//! a word behind a stroke for a variant. What a row ends in was seen on real
//! releases; where that is not what the page expects, `note` says so.

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
        true,
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
            Upgrade("3.5.30", All, &[], OK),
            Upgrade("3.6.14", All, &[], OK),
        ],
        "",
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
        "",
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
            Upgrade("3.5.30", All, &[], OK),
            Upgrade("3.6.14", All, &[], OK),
        ],
        "",
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
        "",
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
        "",
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
            Upgrade("3.6.14", First, &[], TOO_MANY),
        ],
        "",
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
        "U10",
        true,
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
        true,
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
        "",
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
        ],
        "",
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
        "",
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
        "",
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
        "",
    ),
    row(
        "U20b/pintle",
        false,
        "(ours) what Pintle leaves",
        &[Start(1, PINTLE), Keys(100), Upgrade("3.7.1", All, &[], OK)],
        "",
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
        "",
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
        "OK once the zombie is removed on 3.6",
        &[
            Start(3, "3.6.14"),
            PlantZombies(1),
            RemoveZombies,
            Upgrade("3.7.1", All, &[], OK),
            LoseOne(OK),
        ],
        "",
    ),
    row(
        "U22/repaired-on-3.7",
        false,
        "(nobody said)",
        &[
            Start(3, "3.6.14"),
            PlantZombies(1),
            Upgrade("3.7.1", All, &[], zombies(1)),
            RemoveZombies,
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
        "",
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
            Upgrade("3.6.14", First, &[], OK),
        ],
        "",
    ),
    row(
        "U30",
        false,
        "3.5.16: member add refused with one down",
        &[
            Start(3, "3.5.16"),
            Keys(5),
            AddWhileOneIsDown(Refuses("unhealthy cluster")),
        ],
        "",
    ),
    row(
        "U30/3.5.30",
        false,
        "accepted",
        &[Start(3, "3.5.30"), Keys(5), AddWhileOneIsDown(OK)],
        "",
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
        true,
        "voters shown as learners by 3.5.0",
        &[
            Start(1, "3.5.16"),
            Learners(3, "3.5.16"),
            Upgrade("3.5.0", First, &[], OK),
        ],
        "",
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
        "the corner needs a kill between two commits, hit by chance; the same state is made by hand in U22",
    ),
    (
        "U28",
        "load and kills during hops are tested by tests/peers (cluster_roll, cluster_faults)",
    ),
    (
        "U32",
        "needs a file system that drops an unsynced directory entry",
    ),
];

/// The row of this id.
pub fn find(id: &str) -> Option<&'static Row> {
    ROWS.iter().find(|r| r.id == id)
}
