//! What a report is about: when, by what, which cluster, and what its members are.

use serde::Serialize;

use crate::{facts::Facts, output};

/// The surroundings of a report.
#[derive(Debug, Serialize)]
pub struct Context {
    /// When it was made, RFC 3339.
    pub time: String,
    /// What made it.
    pub tool: &'static str,
    /// The id of the cluster, where a source says it.
    pub cluster: Option<String>,
    /// Which members were asked.
    pub endpoints: Vec<String>,
    /// Members that are Pintle, and not etcd, by name.
    pub pintles: Vec<String>,
}

impl Context {
    /// As these members say.
    pub fn of(members: &[Facts]) -> Context {
        let live = || {
            members
                .iter()
                .filter_map(|facts| Some((facts, facts.live.as_ref()?)))
        };
        Context {
            time: output::time(),
            tool: concat!("pintle upgrade ", env!("CARGO_PKG_VERSION")),
            cluster: members
                .iter()
                .find_map(|facts| facts.cluster)
                .map(|id| id.to_string()),
            endpoints: live().map(|(_, live)| live.endpoint.clone()).collect(),
            pintles: live()
                .filter(|(_, live)| live.is_pintle == Some(true))
                .map(|(facts, _)| facts.label.clone())
                .collect(),
        }
    }

    /// In one sentence.
    pub fn sentence(&self) -> String {
        let cluster = match &self.cluster {
            Some(id) => format!("cluster {id}"),
            None => "files without a cluster id".to_owned(),
        };
        let asked = match self.endpoints.is_empty() {
            true => String::new(),
            false => format!(" at {}", self.endpoints.join(", ")),
        };
        let pintles = match self.pintles.is_empty() {
            true => String::new(),
            false => format!("; Pintle: {}", self.pintles.join(", ")),
        };
        format!("{cluster}{asked}; {}, {}{pintles}", self.time, self.tool)
    }
}
