//! `--feature-gates`: how etcd 3.6 and 3.7 name what 3.5 switches by experimental
//! flags of their own.

use line::{Feature, Line};

use super::{
    error::ParseError,
    gate_names::pairs,
    settings::{Note, Settings},
    table::{Id, flag},
};

/// How ripe etcd holds a feature, which is also the group it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Off unless asked for.
    Alpha,
    /// On unless asked otherwise.
    Beta,
}

impl Stage {
    /// Whether a gate is on if nothing is asked for.
    fn is_on(self) -> bool {
        self == Stage::Beta
    }

    /// As the metric has it.
    pub fn label(self) -> &'static str {
        match self {
            Stage::Alpha => "ALPHA",
            Stage::Beta => "BETA",
        }
    }
}

/// What switching a gate does here.
#[derive(Clone, Copy)]
enum Effect {
    /// The same as this flag of etcd 3.5.
    Flag(Id),
    /// What the gate says, by its name in the configuration, or nothing that a client or an
    /// operator could tell.
    Own,
    /// On is refused: it is not built. As one of a group it is warned about, with what is so
    /// without it.
    NotBuilt(&'static str),
}

/// A gate, and where it came in if later than the others.
struct Gate {
    name: &'static str,
    stage: Stage,
    effect: Effect,
    feature: Option<Feature>,
}

const fn gate(name: &'static str, stage: Stage, effect: Effect) -> Gate {
    Gate {
        name,
        stage,
        effect,
        feature: None,
    }
}

const fn later(name: &'static str, stage: Stage, feature: Feature) -> Gate {
    Gate {
        name,
        stage,
        effect: Effect::Own,
        feature: Some(feature),
    }
}

/// The groups, and after them the gates by their names.
const GROUPS: [(&str, Stage); 2] = [("AllAlpha", Stage::Alpha), ("AllBeta", Stage::Beta)];

const GATES: &[Gate] = {
    use Effect::{Flag, NotBuilt, Own};
    use Stage::{Alpha, Beta};
    &[
        gate(
            "CompactHashCheck",
            Alpha,
            Flag(flag!("experimental-compact-hash-check-enabled")),
        ),
        // A renewal never waits for more than its answer needs.
        later("FastLeaseKeepAlive", Beta, Feature::FastLeaseKeepAlive),
        gate(
            "InitialCorruptCheck",
            Alpha,
            Flag(flag!("experimental-initial-corrupt-check")),
        ),
        gate(
            "LeaseCheckpoint",
            Alpha,
            Flag(flag!("experimental-enable-lease-checkpoint")),
        ),
        gate(
            "LeaseCheckpointPersist",
            Alpha,
            Flag(flag!("experimental-enable-lease-checkpoint-persist")),
        ),
        later(PRIORITY_REQUEST, Alpha, Feature::PriorityRequest),
        gate(
            "SetMemberLocalAddr",
            Alpha,
            NotBuilt("connections to other members come from the address that the system picks"),
        ),
        gate(
            "StopGRPCServiceOnDefrag",
            Alpha,
            Flag(flag!("experimental-stop-grpc-service-on-defrag")),
        ),
        gate("TxnModeWriteWithSharedBuffer", Beta, Own),
    ]
};

/// Revoking a lease has room of its own among the entries that wait to be applied.
const PRIORITY_REQUEST: &str = "PriorityRequest";

/// A gate as it is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateState {
    /// Its name, or a group's.
    pub name: &'static str,
    /// How ripe it is.
    pub stage: Stage,
    /// Whether it is on.
    pub on: bool,
    feature: Option<Feature>,
}

impl GateState {
    /// Whether it is as etcd has it if nothing is asked for.
    pub fn is_default(&self) -> bool {
        self.on == self.stage.is_on()
    }

    /// Whether members of a line have it.
    pub fn is_in(&self, line: Line) -> bool {
        self.feature.is_none_or(|feature| line.has(feature))
    }
}

/// The gates that were set.
#[derive(Debug, Default)]
pub(super) struct Gates {
    /// Groups among them. What is named itself stands before what its group sets.
    set: Vec<(&'static str, bool)>,
}

impl Gates {
    /// Reads the flag.
    pub(super) fn resolve(settings: &Settings) -> Result<Gates, ParseError> {
        let mut gates = Gates::default();
        let text = settings.text(flag!("feature-gates"));
        for (name, on) in pairs(text).map_err(|why| ParseError::config(why.to_string()))? {
            if let Some((group, stage)) = GROUPS.iter().find(|(group, _)| *group == name) {
                gates.set.push((group, on));
                for gate in GATES.iter().filter(|gate| gate.stage == *stage) {
                    gates.switch(settings, gate, on, false)?;
                }
            } else if let Some(gate) = GATES.iter().find(|gate| gate.name == name) {
                gates.switch(settings, gate, on, true)?;
            }
        }
        Ok(gates)
    }

    /// A gate that was named itself goes before its group.
    fn switch(
        &mut self,
        settings: &Settings,
        gate: &Gate,
        on: bool,
        named: bool,
    ) -> Result<(), ParseError> {
        let name = gate.name;
        match gate.effect {
            Effect::NotBuilt(effect) if on && !named => {
                let value = format!("{name}={on}");
                let name = "feature-gates";
                Note::Unbuilt {
                    name,
                    value,
                    effect,
                }
                .log();
            }
            Effect::NotBuilt(_) if on => {
                return Err(ParseError::config(format!(
                    "--feature-gates={name}=true: etcd has this, but it is not built into this version of Pintle; \
                     start without it, or stay with etcd"
                )));
            }
            Effect::Flag(id) if settings.is_set(id) => {
                let (flag, value) = (id.name(), settings.bool(id));
                let gate = format!("--feature-gates={name}={on}");
                if named {
                    return Err(ParseError::config(format!(
                        "cannot specify both flags: --{flag}={value} and {gate} at the same time, please just use {gate}"
                    )));
                }
            }
            _ if named => self.set.insert(0, (name, on)),
            _ => self.set.push((name, on)),
        }
        Ok(())
    }

    fn of(&self, name: &str) -> Option<bool> {
        let mut set = self.set.iter();
        set.find(|(gate, _)| *gate == name).map(|(_, on)| *on)
    }

    /// Whether the subject of a flag is switched on, by the flag or by its gate.
    pub(super) fn on(&self, settings: &Settings, id: Id) -> bool {
        let gate = |gate: &&Gate| matches!(gate.effect, Effect::Flag(flag) if flag == id);
        let set = GATES.iter().find(gate).and_then(|gate| self.of(gate.name));
        set.unwrap_or_else(|| settings.bool(id))
    }

    /// Whether revoking a lease has room of its own.
    pub(super) fn priority_request(&self) -> bool {
        self.of(PRIORITY_REQUEST).unwrap_or(false)
    }

    /// All of them.
    pub(super) fn states(&self, settings: &Settings) -> Vec<GateState> {
        let groups = GROUPS.iter().map(|(name, stage)| GateState {
            name,
            stage: *stage,
            on: self.of(name).unwrap_or(false),
            feature: None,
        });
        let gates = GATES.iter().map(|gate| GateState {
            name: gate.name,
            stage: gate.stage,
            on: match gate.effect {
                Effect::Flag(id) => self.on(settings, id),
                _ => self.of(gate.name).unwrap_or(gate.stage.is_on()),
            },
            feature: gate.feature,
        });
        groups.chain(gates).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{GATES, GROUPS};
    use crate::config::gate_names::NAMES;

    #[test]
    fn every_name_that_is_read_is_a_gate() {
        let groups = GROUPS.iter().map(|(name, _)| *name);
        let names: Vec<_> = groups.chain(GATES.iter().map(|gate| gate.name)).collect();
        assert_eq!(names, NAMES);
    }
}
