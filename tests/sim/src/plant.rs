//! Bugs to be found: a rule of the product that is broken on purpose, where the product keeps it,
//! or one that the driver keeps for the parts of the server that are not simulated.

use member::plant::Plant as Rule;

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plant {
    /// One of the product's own.
    Rule(Rule),
    /// A received database is not synced; the peer transport keeps this rule.
    ReceivedDbNotSynced,
    /// A lease is renewed by whoever believes to lead; the API keeps this rule.
    RenewUnchecked,
}

impl Plant {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Plant> {
        let rules = Rule::ALL.into_iter().map(Plant::Rule);
        rules.chain([Plant::ReceivedDbNotSynced, Plant::RenewUnchecked])
    }

    /// The name, as it is written above or in the product.
    pub fn name(self) -> String {
        match self {
            Plant::Rule(rule) => format!("{rule:?}"),
            own => format!("{own:?}"),
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Plant> {
        Plant::all().find(|plant| plant.name() == name)
    }

    /// The rule of the product that this breaks.
    pub(crate) fn rule(self) -> Option<Rule> {
        match self {
            Plant::Rule(rule) => Some(rule),
            Plant::ReceivedDbNotSynced | Plant::RenewUnchecked => None,
        }
    }
}
