//! What a member in a change of the line does next. It decides for itself, from what it sees:
//! whoever began the change may be gone.

use line::{Change, Kept, Line, change::leads_to};
use proto::pintlepb::MemberLine;
use semver::Version;

use super::survey::{change_of, release_of};

/// How far another member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// It is in the same change, and has been since it started or was told.
    InChange,
    /// It speaks the line.
    Ready,
    /// It has found the change in its file, and looks whether others are in it.
    Resumed,
    /// It is not, and says so.
    Lacking,
    /// It does not answer.
    Silent,
}

impl Other {
    /// How far it is in a change.
    pub fn of(member: &MemberLine, change: Change) -> Other {
        if !member.answers {
            return Other::Silent;
        }
        let speaks = release_of(member).is_some_and(|release| {
            line::minor(&release) >= line::minor(&change.to.cluster_version())
        });
        let follows = change_of(member).is_some_and(|theirs| theirs.to == change.to);
        match (follows, member.is_resumed) {
            (true, false) => Other::InChange,
            _ if speaks => Other::Ready,
            (true, true) => Other::Resumed,
            (false, _) => Other::Lacking,
        }
    }
}

/// What this member sees.
#[derive(Debug)]
pub struct View<'a> {
    /// The line that it speaks.
    pub line: Line,
    /// The cluster version.
    pub version: Option<&'a Version>,
    /// The target of the downgrade under way.
    pub downgrade: Option<&'a str>,
    /// The change is known from the file alone.
    pub is_resumed: bool,
    /// The other members.
    pub others: &'a [Other],
}

/// What it does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing is under way any more.
    Forget,
    /// It speaks this line, if the machine finds that it fits.
    Speak(Line),
    /// Others are in the change that the file says: it continues, if it still can.
    Resume,
    /// All others answer, and none is in it: it is left over.
    GiveUp,
    /// It waits.
    Wait,
    /// It waits for what may never come, and gives the change up after a while.
    Stuck,
}

impl View<'_> {
    /// The next step of a member that keeps this.
    pub fn next(&self, kept: Kept) -> Next {
        match kept {
            Kept::Nothing => Next::Forget,
            Kept::Founded(_) if self.version.is_none() => Next::Wait,
            Kept::Founded(_) => Next::Forget,
            Kept::Change(change) if change.is_up() => self.next_up(change),
            Kept::Change(change) => self.next_down(change),
        }
    }

    /// All members must be ready before the first of them speaks: what they apply may differ by
    /// line, and the cluster version follows the lowest.
    fn next_up(&self, change: Change) -> Next {
        if self.has_version(|version| version >= change.to.cluster_version()) {
            return Next::Forget;
        }
        let is_moved = self.version.and_then(Line::of) != Some(change.from);
        if is_moved || self.downgrade.is_some() {
            // The cluster goes another way. Who has spoken already keeps it from there.
            return Next::Stuck;
        }
        let is_any = |other| self.others.contains(&other);
        if self.is_resumed && is_any(Other::InChange) {
            return Next::Resume;
        }
        if is_any(Other::Silent) {
            return Next::Wait;
        }
        if self.is_resumed {
            // The file may be left over from long ago.
            return Next::GiveUp;
        }
        if is_any(Other::Lacking) {
            return Next::Stuck;
        }
        match self.line == change.to || is_any(Other::Resumed) {
            true => Next::Wait,
            false => Next::Speak(change.to),
        }
    }

    /// The cluster version goes first, by the downgrade, and the lines follow, in any order.
    fn next_down(&self, change: Change) -> Next {
        let is_under_way = leads_to(self.downgrade, change.to);
        if self.has_version(|version| version > change.to.cluster_version()) {
            return match is_under_way {
                // The version is not lowered before all members announce it.
                true if self.line > change.from => Next::Speak(change.from),
                true => Next::Wait,
                false => Next::Stuck,
            };
        }
        match self.line == change.to {
            // The leader watches the versions of the members closely for as long.
            true if is_under_way => Next::Wait,
            true => Next::Forget,
            false => Next::Speak(change.to),
        }
    }

    fn has_version(&self, is: impl Fn(Version) -> bool) -> bool {
        self.version.cloned().is_some_and(is)
    }
}
