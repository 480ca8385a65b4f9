//! Who founds the cluster, given records or registrations.

use dns::Srv;

use super::{
    founders::{Registration, Standing, cluster, size, standing},
    registry::Keys,
    srv,
};
use crate::config::{Config, Parsed, parse, resolve};

fn config(name: &str, advertised: &str) -> Config {
    let args = [
        format!("--name={name}"),
        format!("--initial-advertise-peer-urls={advertised}"),
        "--discovery-srv=example.com".to_owned(),
    ];
    match parse(&args, &[]) {
        Ok(Parsed::Serve(settings)) => resolve(&settings).expect("valid"),
        other => panic!("{other:?}"),
    }
}

fn record(target: &str, port: u16) -> Srv {
    Srv {
        priority: 0,
        weight: 0,
        port,
        target: target.to_owned(),
    }
}

/// Hosts of one table: `here` and `127.0.0.1` are one place.
fn place(authority: &str) -> Result<(u8, String), String> {
    let (host, port) = authority.rsplit_once(':').expect("host:port");
    let host = match host {
        "127.0.0.1" | "here" => 1,
        "there" => 2,
        _ => return Err(format!("lookup {host}: no such host")),
    };
    Ok((host, port.to_owned()))
}

#[test]
fn this_member_is_known_by_its_address_and_the_others_by_numbers() {
    let config = config("m", "http://127.0.0.1:2380");
    let records = [
        record("there.", 2380),
        record("here.", 2380),
        record("unknown.", 1),
        record("here.", 9),
    ];
    let found = srv::members(&records, "http", "etcd-server", &config, &place);
    assert_eq!(
        found.expect("three are known"),
        [
            "0=http://there:2380",
            "m=http://here:2380",
            "1=http://here:9"
        ]
    );
}

#[test]
fn a_record_of_the_wrong_scheme_is_not_this_member() {
    let config = config("m", "http://127.0.0.1:2380");
    let alone = [record("here.", 2380)];
    let error = srv::members(&alone, "https", "etcd-server-ssl", &config, &place);
    assert_eq!(
        error.expect_err("mismatch"),
        "bootstrap at https://here:2380 from DNS for etcd-server-ssl has scheme mismatch with expected peer http://127.0.0.1:2380"
    );
    let unknown = [record("unknown.", 1)];
    let error = srv::members(&unknown, "http", "etcd-server", &config, &place);
    assert_eq!(error.expect_err("nobody"), "lookup unknown: no such host");
}

fn registered(id: &str, created: u64) -> Registration {
    Registration {
        id: id.to_owned(),
        contents: format!("{id}=http://{id}:1"),
        created,
    }
}

#[test]
fn the_first_so_many_found_the_cluster_in_the_order_of_their_registration() {
    let all = vec![registered("c", 7), registered("a", 9), registered("b", 3)];
    assert_eq!(standing(all.clone(), 4, "a"), Standing::Waiting(3));
    assert_eq!(standing(all.clone(), 2, "a"), Standing::Full, "came last");
    let Standing::Complete(founders) = standing(all, 2, "c") else {
        panic!("c is in time");
    };
    assert_eq!(
        cluster(&founders).expect("readable"),
        "b=http://b:1,c=http://c:1"
    );
    assert_eq!(standing(Vec::new(), 1, "a"), Standing::Waiting(0));
}

#[test]
fn founders_that_could_not_start_are_refused() {
    let mut twin = registered("b", 2);
    twin.contents = "a=http://b:1".to_owned();
    let error = cluster(&[registered("a", 1), twin.clone()]).expect_err("two of one name");
    assert_eq!(error.to_string(), "discovery: found duplicate name");
    twin.contents = "b=nonsense".to_owned();
    let error = cluster(&[twin]).expect_err("no URL");
    assert_eq!(error.to_string(), "discovery: invalid peer URL");
}

#[test]
fn a_size_is_a_number_from_one() {
    assert_eq!(size("3").expect("a number"), 3);
    for bad in ["", "0", "-1", "three", "3.0"] {
        assert_eq!(
            size(bad).expect_err(bad).to_string(),
            "discovery: size key is bad"
        );
    }
}

#[test]
fn a_token_is_a_path_below_the_registry() {
    assert_eq!(Keys::new("t").size, "/_etcd/registry/t/_config/size");
    assert_eq!(
        Keys::new("a//b/./c/").members,
        "/_etcd/registry/a/b/c/members"
    );
    assert_eq!(Keys::new("a/../b").members, "/_etcd/registry/b/members");
}
