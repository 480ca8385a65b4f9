//! The etcd version this server stands for. Clients test it: Kubernetes turns
//! features on by the release it reads in `Status`, and members decide by it
//! who may join.

/// The etcd release whose behaviour is matched.
pub const SERVER: &str = "3.5.30";
/// The cluster version a cluster of such members decides on.
pub const CLUSTER: &str = "3.5.0";
/// The oldest cluster version this server takes part in.
pub const MIN_CLUSTER: &str = "3.0.0";
/// Pintle's own version.
pub const PINTLE: &str = env!("CARGO_PKG_VERSION");

/// [`SERVER`], parsed.
pub fn own() -> semver::Version {
    // A constant of this file, checked by the test below.
    semver::Version::parse(SERVER).unwrap_or(semver::Version::new(0, 0, 0))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_versions_parse_and_agree() {
        let own = super::own();
        assert_eq!(own.to_string(), super::SERVER);
        assert_eq!(format!("{}.{}.0", own.major, own.minor), super::CLUSTER);
    }
}
