//! The service of the cluster. Clients that ask for the members are to find proxies: the one they
//! ask, or all that are registered below `--resolver-prefix`.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use bytes::Bytes;
use prost::Message as _;
use proto::etcdserverpb::{Member, MemberListResponse};
use server::{
    rpc::Method,
    status::{Code, Status},
};

use super::upstream::{Asker, Upstream, without_code};

/// Proxies that are registered, by their key: name and address.
pub(super) type Registered = RefCell<BTreeMap<Bytes, Proxy>>;

/// One that is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proxy {
    /// Of its machine; `None` where what is registered cannot be read.
    pub(super) name: Option<String>,
    pub(super) address: String,
}

/// The service.
pub(super) struct Cluster {
    pub(super) upstream: Rc<Upstream>,
    /// `--advertise-client-url`
    pub(super) advertised: String,
    pub(super) registered: Rc<Registered>,
}

impl Cluster {
    /// A method of the service.
    pub(super) async fn call(
        &self,
        asker: &Asker,
        method: Method,
        message: Bytes,
    ) -> Result<Bytes, Status> {
        if method == Method::MemberList && !self.advertised.is_empty() {
            let list = MemberListResponse {
                header: None,
                members: self.members()?,
            };
            return Ok(list.encode_to_vec().into());
        }
        let answer = self.upstream.call(asker, method, message).await;
        answer.map_err(without_code)
    }

    fn members(&self) -> Result<Vec<Member>, Status> {
        let registered = self.registered.borrow();
        if registered.is_empty() {
            return Ok(vec![member(host_name(), self.advertised.clone())]);
        }
        let named = |proxy: &Proxy| {
            let name = proxy.name.clone();
            let name = name.ok_or(Status::fixed(Code::Unknown, "unexpected end of JSON input"))?;
            Ok(member(name, proxy.address.clone()))
        };
        registered.values().map(named).collect()
    }
}

fn member(name: String, address: String) -> Member {
    Member {
        name,
        client_ur_ls: vec![address],
        ..Member::default()
    }
}

/// Of this machine.
pub(super) fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}
