//! Pintle at the lines 3.6 and 3.7 in the histories of the page, as target and as source.

use super::row::{KUBEADM, Row, V2_CONTENT, row};
use crate::{
    reality::{
        Ends::{self, Refuses},
        OK, healed, zombies,
    },
    script::{
        Op::{
            Downgrade, Keys, Learner, Learners, LoseOne, PlantZombies, Refused, Replace, Restart,
            Restore, Start, UpdateLearner, Upgrade, V2Put,
        },
        PINTLE, PINTLE_3_6, PINTLE_3_7,
        Who::{All, First},
    },
};

const PAGE: &str = "(ours) boots, and so does what comes after it";
const REFUSED: &str = "(ours) refuses as etcd, and nothing touched";
const V2_WAL: Ends = Refuses("detected disallowed v2 WAL");
const OTHER_VOTES: Ends = Refuses("the members in the database are not those that the log counts");
const SKIPS: Ends = Refuses("is more than one minor version above the cluster");
const V2: &[&str] = &["--enable-v2=true", "--snapshot-count=10"];

/// Rows with Pintle at the later lines.
pub(super) const AT_LATER_LINES: &[Row] = &[
    row(
        "U1/pintle-3.6",
        false,
        PAGE,
        &[
            Start(1, "3.5.16"),
            Learners(3, "3.5.16"),
            Upgrade(PINTLE_3_6, All, &[], healed(2)),
            Upgrade("3.6.14", All, &[], OK),
            Keys(20),
            Upgrade(PINTLE_3_7, All, &[], OK),
            Upgrade("3.7.1", All, &[], OK),
        ],
        "It corrects what etcd 3.6 refuses, and needs no flush before 3.7.",
    ),
    row(
        "U5/pintle-3.6",
        false,
        PAGE,
        &[
            Start(3, "3.5.30"),
            Keys(20),
            Upgrade(PINTLE, All, &[], OK),
            Upgrade(PINTLE_3_6, All, &[], OK),
            Keys(20),
            Upgrade("3.6.14", All, &[], OK),
        ],
        "One swap of programs, and a line up.",
    ),
    row(
        "U15/pintle-3.6",
        false,
        REFUSED,
        &[
            Start(1, "3.5.16"),
            Restart(V2),
            V2Put,
            Keys(50),
            Refused(PINTLE_3_6, V2_CONTENT),
        ],
        "",
    ),
    row(
        "U16/pintle-3.6",
        false,
        REFUSED,
        &[
            Start(1, "3.5.16"),
            Restart(&["--enable-v2=true"]),
            V2Put,
            Refused(PINTLE_3_6, V2_WAL),
        ],
        "",
    ),
    row(
        "U20/pintle-3.7",
        false,
        PAGE,
        &[
            Start(1, "3.5.30"),
            Keys(100),
            Upgrade("3.6.14", All, &[], OK),
            Keys(100),
            Upgrade(PINTLE_3_7, All, &[], OK),
            Keys(20),
            Upgrade("3.7.1", All, &[], OK),
        ],
        "It reads the raw records on which etcd 3.7 panics, and leaves none.",
    ),
    row(
        "U21/pintle-3.6",
        false,
        PAGE,
        &[
            Start(1, "3.6.0"),
            Keys(5),
            Restore("3.6.0"),
            Learners(3, "3.6.0"),
            Replace("3.6.0"),
            Upgrade(PINTLE_3_6, All, &[], OK),
            Upgrade("3.6.14", All, &[], OK),
        ],
        "",
    ),
    row(
        "U22/pintle-3.6",
        false,
        "(ours) as by 3.6: the database is the truth there",
        &[
            Start(3, "3.6.14"),
            PlantZombies(1),
            Upgrade(PINTLE_3_6, All, &[], zombies(1)),
            Upgrade("3.6.14", All, &[], zombies(1)),
        ],
        "Its .snap has the zombie too then: only raft's configuration shows it.",
    ),
    row(
        "U22/pintle-3.7",
        false,
        "(ours) refused: a zombie would get a vote",
        &[
            Start(3, "3.6.14"),
            PlantZombies(1),
            Refused(PINTLE_3_7, OTHER_VOTES),
        ],
        "Where etcd 3.7 starts, and counts the zombie.",
    ),
    row(
        "U23/pintle-3.6",
        false,
        PAGE,
        &[
            Start(1, "3.5.30"),
            Restart(KUBEADM),
            Upgrade(PINTLE_3_6, All, KUBEADM, OK),
            Upgrade("3.6.14", All, KUBEADM, OK),
        ],
        "",
    ),
    row(
        "U27/pintle-3.7",
        false,
        PAGE,
        &[
            Start(3, PINTLE_3_7),
            Keys(20),
            Downgrade("3.6"),
            Upgrade(PINTLE_3_6, All, &[], OK),
            Upgrade("3.6.14", All, &[], OK),
            Downgrade("3.5"),
            Upgrade(PINTLE, All, &[], OK),
            LoseOne(OK),
        ],
        "Down both lines.",
    ),
    row(
        "U27/pintle-skip",
        true,
        REFUSED,
        &[
            Start(1, "3.5.30"),
            Keys(5),
            Refused(PINTLE_3_7, SKIPS),
            Upgrade("3.6.14", All, &[], OK),
        ],
        "",
    ),
    row(
        "U31/pintle-3.6",
        true,
        PAGE,
        &[
            Start(1, PINTLE_3_6),
            Learner(PINTLE_3_6),
            UpdateLearner,
            Upgrade("3.6.14", First, &[], OK),
        ],
        "",
    ),
];
