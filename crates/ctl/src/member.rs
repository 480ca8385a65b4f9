//! `member list`, `add`, `remove`, `update`, `promote`. Nothing is sent in a
//! format that could not show the answer: a change of membership that looks
//! like a failure would be made twice.

use cli::{flags::Parsed, table::Table, text::parse_uint};
use prost::Message;
use proto::etcdserverpb as api;

use crate::{
    failure::{EXIT_ERROR, Failure, Outcome},
    global::Global,
    kv,
    output::{Format, Object, Output, Page, Show, wire},
    terminal::print_all,
};

/// `etcdctl member add`.
pub(crate) async fn add(parsed: &mut Parsed) -> Outcome {
    let words = parsed.words();
    let [name] = words.as_slice() else {
        return Err(Failure::bad_args(match words.as_slice() {
            [] => "member name not provided".to_owned(),
            words => too_many(words),
        }));
    };
    let peer_urls = peer_urls(parsed)?;
    let is_learner = parsed.bool("learner");
    let global = change(parsed)?;
    for url in peer_urls.split(',') {
        let checked = membership::urls::parse(url);
        checked.map_err(|error| Failure::new(EXIT_ERROR, error.to_string()))?;
    }
    let request = api::MemberAddRequest {
        peer_ur_ls: peer_urls.split(',').map(str::to_owned).collect(),
        is_learner,
    };
    let response = global.client().await?.member_add(request).await?;
    global.output.show(&Added {
        name,
        peer_urls: &peer_urls,
        response: &response,
    })
}

fn too_many(words: &[String]) -> String {
    let urls = words
        .iter()
        .filter(|word| word.to_lowercase().starts_with("http"))
        .map(|word| format!(", did you mean --peer-urls={word}"));
    ["too many arguments".to_owned()]
        .into_iter()
        .chain(urls)
        .collect()
}

/// `etcdctl member remove`.
pub(crate) async fn remove(parsed: &mut Parsed) -> Outcome {
    let id = member_id(parsed)?;
    let global = change(parsed)?;
    let request = api::MemberRemoveRequest { id };
    let response = global.client().await?.member_remove(request).await?;
    global.output.show(&Changed {
        id,
        what: "removed from",
        header: response.header.as_ref(),
        members: &response.members,
        response: &response,
    })
}

/// `etcdctl member update`.
pub(crate) async fn update(parsed: &mut Parsed) -> Outcome {
    let id = member_id(parsed)?;
    let peer_urls = peer_urls(parsed)?;
    let global = change(parsed)?;
    let request = api::MemberUpdateRequest {
        id,
        peer_ur_ls: peer_urls.split(',').map(str::to_owned).collect(),
    };
    let response = global.client().await?.member_update(request).await?;
    global.output.show(&Changed {
        id,
        what: "updated in",
        header: response.header.as_ref(),
        members: &response.members,
        response: &response,
    })
}

/// `etcdctl member promote`.
pub(crate) async fn promote(parsed: &mut Parsed) -> Outcome {
    let id = member_id(parsed)?;
    let global = change(parsed)?;
    let request = api::MemberPromoteRequest { id };
    let response = global.client().await?.member_promote(request).await?;
    global.output.show(&Changed {
        id,
        what: "promoted in",
        header: response.header.as_ref(),
        members: &response.members,
        response: &response,
    })
}

/// The settings of a command that changes membership.
fn change(parsed: &mut Parsed) -> Outcome<Global> {
    let global = Global::resolve(parsed)?;
    global.output.refuse_table_and_fields()?;
    Ok(global)
}

fn member_id(parsed: &Parsed) -> Outcome<u64> {
    let words = parsed.words();
    let [id] = words.as_slice() else {
        return Err(Failure::bad_args("member ID is not provided"));
    };
    parse_uint(id, 16).map_err(|error| {
        Failure::bad_args(format!("bad member ID arg ({error}), expecting ID in Hex"))
    })
}

fn peer_urls(parsed: &Parsed) -> Outcome<String> {
    match parsed.text("peer-urls") {
        "" => Err(Failure::bad_args("member peer urls not provided")),
        urls => Ok(urls.to_owned()),
    }
}

/// A member that was added, and how it must be started.
struct Added<'a> {
    name: &'a str,
    peer_urls: &'a str,
    response: &'a api::MemberAddResponse,
}

impl Added<'_> {
    fn id(&self) -> u64 {
        self.response.member.as_ref().map_or(0, |member| member.id)
    }
}

impl Show for Added<'_> {
    fn simple(&self, page: &mut Page) {
        let id = self.id();
        let cluster = self.response.header.unwrap_or_default().cluster_id;
        page.line(format!("Member {id:16x} added to cluster {cluster:16x}"));
        page.line("");
        let mut initial_cluster = Vec::new();
        for member in &self.response.members {
            let name = if member.id == id {
                self.name
            } else {
                &member.name
            };
            initial_cluster.extend(member.peer_ur_ls.iter().map(|url| format!("{name}={url}")));
        }
        let quote = |text: &str| cli::text::quote(text.as_bytes());
        page.line(format!("ETCD_NAME={}", quote(self.name)));
        page.line(format!(
            "ETCD_INITIAL_CLUSTER={}",
            quote(&initial_cluster.join(","))
        ));
        page.line(format!(
            "ETCD_INITIAL_ADVERTISE_PEER_URLS={}",
            quote(self.peer_urls)
        ));
        page.line("ETCD_INITIAL_CLUSTER_STATE=\"existing\"");
    }

    fn json(&self, page: &mut Page) {
        Object::write(&mut page.bytes, |object| {
            object.header(self.response.header.as_ref());
            if let Some(member) = &self.response.member {
                object.child("member", |object| object.member(member));
            }
            object.children("members", &self.response.members, |object, member| {
                object.member(member);
            });
        });
    }

    fn fields(&self, page: &mut Page) {
        page.header_fields(self.response.header.as_ref());
    }

    fn protobuf(&self) -> Vec<u8> {
        wire(self.response)
    }
}

/// A member that was changed otherwise.
struct Changed<'a, M> {
    id: u64,
    what: &'static str,
    header: Option<&'a api::ResponseHeader>,
    members: &'a [api::Member],
    response: &'a M,
}

impl<M: Message> Show for Changed<'_, M> {
    fn simple(&self, page: &mut Page) {
        let (id, what) = (self.id, self.what);
        let cluster = self.header.copied().unwrap_or_default().cluster_id;
        page.line(format!("Member {id:16x} {what} cluster {cluster:16x}"));
    }

    fn json(&self, page: &mut Page) {
        Object::write(&mut page.bytes, |object| {
            object.header(self.header);
            object.children("members", self.members, |object, member| {
                object.member(member);
            });
        });
    }

    fn fields(&self, page: &mut Page) {
        page.header_fields(self.header);
    }

    fn protobuf(&self) -> Vec<u8> {
        wire(self.response)
    }
}

/// `etcdctl member list`.
pub(crate) async fn list(parsed: &mut Parsed) -> Outcome {
    let global = Global::resolve(parsed)?;
    let hex = parsed.bool("hex");
    let linearizable = !kv::is_serializable(parsed)?;
    let request = api::MemberListRequest { linearizable };
    let response = global.client().await?.member_list(request).await?;
    show(&global.output, &response, hex)
}

fn show(output: &Output, response: &api::MemberListResponse, hex: bool) -> Outcome {
    let mut page = output.page();
    let header = response.header.as_ref();
    match output.format() {
        Format::Simple => {
            for member in &response.members {
                page.line(row(member).join(", "));
            }
        }
        Format::Table => {
            let mut table = Table::new(&[
                "ID",
                "Status",
                "Name",
                "Peer Addrs",
                "Client Addrs",
                "Is Learner",
            ]);
            for member in &response.members {
                table.row(row(member));
            }
            page.text(table.draw());
        }
        Format::Json => {
            Object::write(&mut page.bytes, |object| {
                if hex {
                    let header = header.copied().unwrap_or_default();
                    object.child("header", |object| {
                        object.text_always("cluster_id", &format!("{:x}", header.cluster_id));
                        object.text_always("member_id", &format!("{:x}", header.member_id));
                        object.uint("raft_term", header.raft_term);
                    });
                    object.children("members", &response.members, |object, member| {
                        object.member_hex(member);
                    });
                } else {
                    object.header(header);
                    object.children("members", &response.members, |object, member| {
                        object.member(member);
                    });
                }
            });
            page.line("");
        }
        Format::Fields => {
            page.header_fields(header);
            for member in &response.members {
                page.field("ID", member.id);
                page.quoted("Name", member.name.as_bytes());
                for url in &member.peer_ur_ls {
                    page.quoted("PeerURL", url.as_bytes());
                }
                for url in &member.client_ur_ls {
                    page.quoted("ClientURL", url.as_bytes());
                }
                page.field("IsLearner", member.is_learner);
                page.line("");
            }
        }
        Format::Protobuf => page.bytes = crate::output::wire(response),
    }
    print_all(&page.bytes)
}

/// A member without a name has been added but never started.
fn row(member: &api::Member) -> Vec<String> {
    let status = if member.name.is_empty() {
        "unstarted"
    } else {
        "started"
    };
    vec![
        format!("{:x}", member.id),
        status.to_owned(),
        member.name.clone(),
        member.peer_ur_ls.join(","),
        member.client_ur_ls.join(","),
        member.is_learner.to_string(),
    ]
}
