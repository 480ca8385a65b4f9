//! `--feature-gates`: how etcd 3.6 and 3.7 name what 3.5 switches by experimental
//! flags of their own.

use cli::text::parse_bool;

use super::{
    error::ParseError,
    settings::Settings,
    table::{Id, flag},
};

/// How ripe etcd 3.6 and 3.7 hold a feature, which is also the group it is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Alpha,
    Beta,
}

/// What switching a gate does here.
#[derive(Clone, Copy)]
enum Effect {
    /// The same as this flag of etcd 3.5.
    Flag(Id),
    /// Nothing that a client or an operator could tell.
    None,
    /// On is refused: it is not built.
    NotBuilt,
}

struct Gate {
    name: &'static str,
    stage: Stage,
    effect: Effect,
}

const GATES: &[Gate] = &[
    Gate {
        name: "CompactHashCheck",
        stage: Stage::Alpha,
        effect: Effect::Flag(flag!("experimental-compact-hash-check-enabled")),
    },
    // A renewal never waits for more than its answer needs.
    Gate {
        name: "FastLeaseKeepAlive",
        stage: Stage::Beta,
        effect: Effect::None,
    },
    Gate {
        name: "InitialCorruptCheck",
        stage: Stage::Alpha,
        effect: Effect::Flag(flag!("experimental-initial-corrupt-check")),
    },
    Gate {
        name: "LeaseCheckpoint",
        stage: Stage::Alpha,
        effect: Effect::Flag(flag!("experimental-enable-lease-checkpoint")),
    },
    Gate {
        name: "LeaseCheckpointPersist",
        stage: Stage::Alpha,
        effect: Effect::Flag(flag!("experimental-enable-lease-checkpoint-persist")),
    },
    Gate {
        name: "PriorityRequest",
        stage: Stage::Alpha,
        effect: Effect::NotBuilt,
    },
    Gate {
        name: "SetMemberLocalAddr",
        stage: Stage::Alpha,
        effect: Effect::NotBuilt,
    },
    Gate {
        name: "StopGRPCServiceOnDefrag",
        stage: Stage::Alpha,
        effect: Effect::Flag(flag!("experimental-stop-grpc-service-on-defrag")),
    },
    Gate {
        name: "TxnModeWriteWithSharedBuffer",
        stage: Stage::Beta,
        effect: Effect::None,
    },
];

/// The gates that were set, by the flag of 3.5 that each stands for.
#[derive(Debug, Default)]
pub(super) struct Gates {
    flags: Vec<(Id, bool)>,
}

impl Gates {
    /// Reads the flag.
    pub(super) fn resolve(settings: &Settings) -> Result<Gates, ParseError> {
        let mut gates = Gates::default();
        for (name, on) in pairs(settings.text(flag!("feature-gates")))? {
            let group = match name {
                "AllAlpha" => Some(Stage::Alpha),
                "AllBeta" => Some(Stage::Beta),
                _ => None,
            };
            let chosen = |gate: &&Gate| match group {
                Some(stage) => gate.stage == stage,
                None => gate.name == name,
            };
            let mut known = group.is_some();
            for gate in GATES.iter().filter(chosen) {
                known = true;
                gates.switch(settings, gate, on, group.is_none())?;
            }
            if !known {
                return Err(ParseError::config(format!(
                    "unrecognized feature gate: {name}"
                )));
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
            Effect::None => {}
            Effect::NotBuilt if on => {
                return Err(ParseError::config(format!(
                    "--feature-gates={name}=true: etcd has this, but it is not built into this version of Pintle; \
                     start without it, or stay with etcd"
                )));
            }
            Effect::NotBuilt => {}
            Effect::Flag(id) if settings.is_set(id) => {
                let (flag, value) = (id.name(), settings.bool(id));
                let gate = format!("--feature-gates={name}={on}");
                if named {
                    return Err(ParseError::config(format!(
                        "cannot specify both flags: --{flag}={value} and {gate} at the same time, please just use {gate}"
                    )));
                }
            }
            Effect::Flag(id) if named => self.flags.insert(0, (id, on)),
            Effect::Flag(id) => self.flags.push((id, on)),
        }
        Ok(())
    }

    /// Whether the subject of a flag is switched on, by the flag or by its gate.
    pub(super) fn on(&self, settings: &Settings, id: Id) -> bool {
        let gate = self.flags.iter().find(|(gate, _)| *gate == id);
        gate.map_or_else(|| settings.bool(id), |(_, on)| *on)
    }
}

fn pairs(value: &str) -> Result<Vec<(&str, bool)>, ParseError> {
    let items = value.split(',').filter(|item| !item.is_empty());
    items
        .map(|item| {
            let Some((name, value)) = item.split_once('=') else {
                return Err(ParseError::config(format!("missing bool value for {}", item.trim())));
            };
            let (name, value) = (name.trim(), value.trim());
            match parse_bool(value) {
                Ok(on) => Ok((name, on)),
                Err(_) => Err(ParseError::config(format!(
                    "invalid value of {name}={value}, err: strconv.ParseBool: parsing {value:?}: invalid syntax"
                ))),
            }
        })
        .collect()
}
