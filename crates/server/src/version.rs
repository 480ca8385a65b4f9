//! Pintle's own version, and what another member's `/version` page says.

/// Pintle's own version. What it stands for is its line's.
pub const PINTLE: &str = env!("CARGO_PKG_VERSION");

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
