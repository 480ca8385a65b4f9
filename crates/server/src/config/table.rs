//! The table of settings, and the ways into it: by a name in the source, by a name that an operator
//! typed, by a variable. The rows are in [`definitions`](super::definitions).

use cli::flags;

use super::{definitions::GROUPS, setting::Setting};

/// A setting by its place in the table. [`flag!`](super::flag) makes one when the program is
/// compiled, so that none can name what the table does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    group: usize,
    setting: usize,
}

impl Id {
    /// The setting.
    pub(super) fn setting(self) -> &'static Setting {
        &GROUPS[self.group].settings[self.setting]
    }

    /// Its name in the table.
    pub(super) fn name(self) -> &'static str {
        self.setting().flag.name
    }

    /// The id of a name that the source spells out.
    pub(super) const fn of(name: &str) -> Id {
        let mut group = 0;
        while group < GROUPS.len() {
            let settings = GROUPS[group].settings;
            let mut setting = 0;
            while setting < settings.len() {
                if same(settings[setting].flag.name, name) {
                    return Id { group, setting };
                }
                setting += 1;
            }
            group += 1;
        }
        panic!("the table has no such setting")
    }
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// A setting of the table by its name; a name that the table does not have does not compile.
macro_rules! flag {
    ($name:literal) => {
        const { $crate::config::table::Id::of($name) }
    };
}
pub(super) use flag;

/// A setting, and the name under which it was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) id: Id,
    pub(super) name: &'static str,
}

/// Every setting.
pub(super) fn ids() -> impl Iterator<Item = Id> {
    GROUPS
        .iter()
        .enumerate()
        .flat_map(|(group, of)| (0..of.settings.len()).map(move |setting| Id { group, setting }))
}

/// Finds a flag by any of its names.
pub(super) fn lookup(wanted: &str) -> Option<Found> {
    found(|_, name| name == wanted)
}

/// Finds the flag of an environment variable.
pub(super) fn of_variable(key: &str) -> Option<Found> {
    found(|setting, name| setting.variable_of(name) == key)
}

fn found(wanted: impl Fn(&Setting, &str) -> bool) -> Option<Found> {
    ids().filter(|id| !id.setting().file_only).find_map(|id| {
        let mut names = id.setting().names().map(|(name, _)| name);
        let name = names.find(|name| wanted(id.setting(), name))?;
        Some(Found { id, name })
    })
}

/// The environment variable of a flag.
pub(super) fn env_name(flag: &str) -> String {
    match lookup(flag) {
        Some(found) => found.id.setting().variable_of(flag),
        None => flags::variable("ETCD", flag),
    }
}
