//! `get`, `put` and `del`: from flags to requests, and how the responses look.
//! The requests are built apart from the sending, because `txn` reads the same
//! lines.

use std::io::{IsTerminal, Read};

use bytes::Bytes;
use cli::{
    flags::Parsed,
    text::{parse_int, quote},
};
use client::prefix_end;
use proto::etcdserverpb::{
    self as api,
    range_request::{SortOrder, SortTarget},
};

use crate::{
    failure::{EXIT_BAD_ARGS, EXIT_FEATURE, EXIT_IO, Failure, Outcome},
    global::Global,
    output::{Format, Object, Page, Show, wire},
};

const PREFIX_OR_FROM_KEY: &str =
    "`--prefix` and `--from-key` cannot be set at the same time, choose one";
const TOO_MANY: &str =
    "too many arguments, only accept one argument when `--prefix` or `--from-key` is set";

/// `etcdctl get`.
pub(crate) async fn get(parsed: &mut Parsed) -> Outcome {
    let request = range_request(parsed)?;
    let value_only = parsed.bool("print-value-only");
    let global = Global::resolve(parsed)?;
    let mut output = global.output;
    output.refuse_table()?;
    if request.count_only && output.format() != Format::Fields {
        return Err(Failure::bad_args(
            "--count-only is only for `--write-out=fields`",
        ));
    }
    if value_only {
        if output.format() != Format::Simple {
            return Err(Failure::bad_args(
                "print-value-only is only for `--write-out=simple`",
            ));
        }
        output = output.value_only();
    }
    output.show(&global.client().await?.range(request).await?)
}

/// `etcdctl put`.
pub(crate) async fn put(parsed: &mut Parsed) -> Outcome {
    let request = put_request(parsed, Some(&mut std::io::stdin()))?;
    let global = Global::resolve(parsed)?;
    global.output.refuse_table()?;
    global
        .output
        .show(&global.client().await?.put(request).await?)
}

/// `etcdctl del`.
pub(crate) async fn del(parsed: &mut Parsed) -> Outcome {
    let request = delete_request(parsed)?;
    let global = Global::resolve(parsed)?;
    global.output.refuse_table()?;
    global
        .output
        .show(&global.client().await?.delete_range(request).await?)
}

/// What `--consistency` asks for.
pub(crate) fn is_serializable(parsed: &Parsed) -> Outcome<bool> {
    match parsed.text("consistency") {
        "s" => Ok(true),
        "l" => Ok(false),
        other => {
            let other = quote(other.as_bytes());
            let message = format!("unknown consistency flag {other}");
            Err(Failure::new(EXIT_FEATURE, message))
        }
    }
}

/// The request of a `get` line.
pub(crate) fn range_request(parsed: &Parsed) -> Outcome<api::RangeRequest> {
    let Some(key) = parsed.args.first() else {
        return Err(Failure::bad_args(
            "get command needs one argument as key and an optional argument as range_end",
        ));
    };
    if parsed.bool("prefix") && parsed.bool("from-key") {
        return Err(Failure::bad_args(PREFIX_OR_FROM_KEY));
    }
    if parsed.bool("keys-only") && parsed.bool("count-only") {
        return Err(Failure::bad_args(
            "`--keys-only` and `--count-only` cannot be set at the same time, choose one",
        ));
    }
    let serializable = is_serializable(parsed)?;
    let (key, range_end) = range(parsed, key)?;
    let order = parsed.text("order").to_uppercase();
    let sort_order = match order.as_str() {
        "" => SortOrder::None,
        "ASCEND" => SortOrder::Ascend,
        "DESCEND" => SortOrder::Descend,
        _ => {
            return Err(Failure::new(
                EXIT_FEATURE,
                format!("bad sort order {}", parsed.text("order")),
            ));
        }
    };
    let target = parsed.text("sort-by").to_uppercase();
    let sort_target = match target.as_str() {
        "" | "KEY" => SortTarget::Key,
        "CREATE" => SortTarget::Create,
        "MODIFY" => SortTarget::Mod,
        "VALUE" => SortTarget::Value,
        "VERSION" => SortTarget::Version,
        _ => {
            return Err(Failure::new(
                EXIT_FEATURE,
                format!("bad sort target {}", parsed.text("sort-by")),
            ));
        }
    };
    // Keys come in ascending order without being sorted.
    let sort_order = match (sort_target, sort_order) {
        (SortTarget::Key, SortOrder::Ascend) => SortOrder::None,
        (SortTarget::Key, order) => order,
        (_, SortOrder::None) if !target.is_empty() => SortOrder::Ascend,
        (_, order) => order,
    };
    let created = revisions(parsed, "Create")?;
    let changed = revisions(parsed, "Mod")?;
    Ok(api::RangeRequest {
        key,
        range_end,
        limit: parsed.int("limit"),
        revision: parsed.int("rev"),
        sort_order: sort_order.into(),
        sort_target: sort_target.into(),
        serializable,
        keys_only: parsed.bool("keys-only"),
        count_only: parsed.bool("count-only"),
        min_create_revision: created.0,
        max_create_revision: created.1,
        min_mod_revision: changed.0,
        max_mod_revision: changed.1,
    })
}

/// The bounds of `--min-create-rev` and `--max-create-rev`, or of those for changes; 0 for none.
fn revisions(parsed: &Parsed, kind: &str) -> Outcome<(i64, i64)> {
    let bound = |end: &str| {
        let flag = format!("{end}-{}-rev", kind.to_lowercase());
        parsed.int(&flag).max(0)
    };
    let (min, max) = (bound("min"), bound("max"));
    if max > 0 && min > max {
        return Err(Failure::new(
            EXIT_FEATURE,
            format!("getMin{kind}Rev(={min}) > getMax{kind}Rev(={max})"),
        ));
    }
    Ok((min, max))
}

/// The request of a `put` line. The value may come from `stdin`, if there is
/// one to read.
pub(crate) fn put_request<R: Read + IsTerminal>(
    parsed: &Parsed,
    stdin: Option<&mut R>,
) -> Outcome<api::PutRequest> {
    let usage =
        || Failure::bad_args("put command needs 1 argument and input from stdin or 2 arguments");
    let Some(key) = parsed.args.first() else {
        return Err(usage());
    };
    let ignore_value = parsed.bool("ignore-value");
    if ignore_value && parsed.args.len() > 1 {
        return Err(Failure::bad_args(
            "put command needs only 1 argument when 'ignore-value' is set",
        ));
    }
    let value = match (parsed.args.get(1), stdin) {
        _ if ignore_value => Bytes::new(),
        (Some(value), _) => value.clone().into(),
        (None, Some(stdin)) if !stdin.is_terminal() => {
            let mut value = Vec::new();
            stdin
                .read_to_end(&mut value)
                .map_err(|error| Failure::new(EXIT_IO, format!("reading stdin: {error}")))?;
            if value.is_empty() {
                return Err(usage());
            }
            value.into()
        }
        (None, _) => return Err(usage()),
    };
    let lease = parse_int(parsed.text("lease"), 16).map_err(|error| {
        Failure::new(
            EXIT_BAD_ARGS,
            format!("bad lease ID ({error}), expecting ID in Hex"),
        )
    })?;
    Ok(api::PutRequest {
        key: key.clone().into(),
        value,
        lease,
        prev_kv: parsed.bool("prev-kv"),
        ignore_value,
        ignore_lease: parsed.bool("ignore-lease"),
    })
}

/// The request of a `del` line.
pub(crate) fn delete_request(parsed: &Parsed) -> Outcome<api::DeleteRangeRequest> {
    let (1..=2, Some(key)) = (parsed.args.len(), parsed.args.first()) else {
        return Err(Failure::bad_args(
            "del command needs one argument as key and an optional argument as range_end",
        ));
    };
    if parsed.bool("prefix") && parsed.bool("from-key") {
        return Err(Failure::bad_args(PREFIX_OR_FROM_KEY));
    }
    let (key, range_end) = range(parsed, key)?;
    if parsed.args.len() == 2 && !parsed.bool("range") {
        eprintln!(
            "Warning: two arguments delete a range, from the first key up to the second; \
             confirm with --range (etcd 3.6 waits before it does this)"
        );
    }
    Ok(api::DeleteRangeRequest {
        key,
        range_end,
        prev_kv: parsed.bool("prev-kv"),
    })
}

/// Key and range end of `get` and `del`. An empty key means the first one
/// when a range follows from it.
fn range(parsed: &Parsed, key: &[u8]) -> Outcome<(Bytes, Bytes)> {
    let (prefix, from_key) = (parsed.bool("prefix"), parsed.bool("from-key"));
    let key = Bytes::copy_from_slice(key);
    if prefix || from_key {
        if parsed.args.len() > 1 {
            return Err(Failure::bad_args(TOO_MANY));
        }
        let all = Bytes::from_static(b"\0");
        return Ok(match (key.is_empty(), prefix) {
            (true, _) => (all.clone(), all),
            (false, true) => {
                let end = prefix_end(&key);
                (key, end)
            }
            (false, false) => (key, all),
        });
    }
    let end = parsed.args.get(1).cloned().unwrap_or_default();
    Ok((key, end.into()))
}

impl Show for api::RangeResponse {
    fn simple(&self, page: &mut Page) {
        for kv in &self.kvs {
            page.key_value(kv);
        }
    }

    fn json(&self, page: &mut Page) {
        Object::write(&mut page.bytes, |object| object.range(self));
    }

    fn fields(&self, page: &mut Page) {
        page.header_fields(self.header.as_ref());
        for kv in &self.kvs {
            page.key_value_fields("", kv);
        }
        page.field("More", self.more);
        page.field("Count", self.count);
    }

    fn protobuf(&self) -> Vec<u8> {
        wire(self)
    }
}

impl Show for api::PutResponse {
    fn simple(&self, page: &mut Page) {
        page.line("OK");
        if let Some(kv) = &self.prev_kv {
            page.key_value(kv);
        }
    }

    fn json(&self, page: &mut Page) {
        Object::write(&mut page.bytes, |object| object.put(self));
    }

    fn fields(&self, page: &mut Page) {
        page.header_fields(self.header.as_ref());
        if let Some(kv) = &self.prev_kv {
            page.key_value_fields("Prev", kv);
        }
    }

    fn protobuf(&self) -> Vec<u8> {
        wire(self)
    }
}

impl Show for api::DeleteRangeResponse {
    fn simple(&self, page: &mut Page) {
        page.line(self.deleted.to_string());
        for kv in &self.prev_kvs {
            page.key_value(kv);
        }
    }

    fn json(&self, page: &mut Page) {
        Object::write(&mut page.bytes, |object| object.delete(self));
    }

    fn fields(&self, page: &mut Page) {
        page.header_fields(self.header.as_ref());
        page.field("Deleted", self.deleted);
        for kv in &self.prev_kvs {
            page.key_value_fields("Prev", kv);
        }
    }

    fn protobuf(&self) -> Vec<u8> {
        wire(self)
    }
}
