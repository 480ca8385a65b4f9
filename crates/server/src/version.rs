//! The versions that members tell each other: this one's, and what another member's `/version`
//! page says.

pub use member::version::*;

/// What another member's `/version` says.
pub struct Versions {
    /// Of the program that runs there.
    pub server: semver::Version,
    /// Of its cluster, once decided.
    pub cluster: Option<semver::Version>,
}

impl Versions {
    /// Reads the page; `None` if it is not one.
    pub fn parse(page: &[u8]) -> Option<Versions> {
        let page: serde_json::Value = serde_json::from_slice(page).ok()?;
        let version = |name: &str| semver::Version::parse(page.get(name)?.as_str()?).ok();
        Some(Versions {
            server: version("etcdserver")?,
            cluster: version("etcdcluster"),
        })
    }
}
