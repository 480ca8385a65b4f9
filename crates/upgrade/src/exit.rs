//! The exit codes, the same for every command. One table feeds the help, and the
//! page `docs/operate/upgrade.md` has it too.

/// Nothing stands against it, or it is done, or there was nothing to do.
pub(crate) const OK: i32 = 0;
/// An error: nothing was judged.
pub(crate) const ERROR: i32 = 1;
/// Blocked, or stopped before something worse.
pub(crate) const STOPPED: i32 = 3;
/// With a reservation: warnings, or another node is next.
pub(crate) const RESERVED: i32 = 4;
/// What decides was not looked at.
pub(crate) const INCOMPLETE: i32 = 5;
/// Damage was found, and nothing was changed.
pub(crate) const UNCHANGED: i32 = 6;
/// A signal ended it at a point where nothing is half done, or said what is.
pub(crate) const INTERRUPTED: i32 = 7;

/// Code, and what it means.
pub(crate) const TABLE: [(i32, &str); 7] = [
    (OK, "safe (check), done (all others), or nothing to do"),
    (ERROR, "an error: nothing was judged"),
    (
        STOPPED,
        "blocked (check, plan), stopped by a deviation (run, rollback, rehearse), or refused now (--dry-run)",
    ),
    (
        RESERVED,
        "warnings only (check), another node is next (run)",
    ),
    (
        INCOMPLETE,
        "a check that decides was not made (check, plan)",
    ),
    (
        UNCHANGED,
        "damage was found and nothing was changed (repair without --yes)",
    ),
    (
        INTERRUPTED,
        "ended by a signal; it says what is done and what is not",
    ),
];

/// The table as the help shows it.
pub(crate) fn page() -> String {
    let lines = TABLE.map(|(code, meaning)| format!("  {code}  {meaning}\n"));
    format!(
        "Exit codes, the same for every command:\n{}",
        lines.concat()
    )
}
