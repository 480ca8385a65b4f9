//! `txn`: comparisons and requests read from stdin, line by line, and sent as
//! one transaction. Everything is read and understood before anything is sent.

use std::io::{BufRead, Stdin};

use cli::{
    flags::{self, HELP},
    text::{literal_end, parse_int, unquote, words},
};
use proto::etcdserverpb::{
    self as api, Compare,
    compare::{CompareResult, CompareTarget, TargetUnion},
    request_op::Request,
    response_op::Response,
};

use crate::{
    failure::{EXIT_INVALID_INPUT, EXIT_IO, Failure, Outcome},
    global::Global,
    kv,
    output::{Object, Page, Show, wire},
    spec::{DEL, GET, PUT},
    terminal::print_all,
};

const COMPARISON_FORM: &str =
    "a comparison reads <target>(\"<key>\") <op> \"<value>\", as in mod(\"k\") > \"0\"";

/// `etcdctl txn`.
pub(crate) async fn run(parsed: &mut flags::Parsed) -> Outcome {
    if !parsed.args.is_empty() {
        return Err(Failure::bad_args("txn command does not accept argument"));
    }
    let interactive = parsed.bool("interactive");
    let global = Global::resolve(parsed)?;
    global.output.refuse_table()?;
    let mut input = std::io::stdin().lock();
    let prompt = |text: &str| {
        if interactive {
            print_all(text.as_bytes())
        } else {
            Ok(())
        }
    };
    prompt("compares:\n")?;
    let compare = block(&mut input)?
        .iter()
        .map(|line| comparison(line))
        .collect::<Outcome<_>>()?;
    prompt("success requests (get, put, del):\n")?;
    let success = requests(&mut input)?;
    prompt("failure requests (get, put, del):\n")?;
    let failure = requests(&mut input)?;
    let request = api::TxnRequest {
        compare,
        success,
        failure,
    };
    global
        .output
        .show(&global.client().await?.txn(request).await?)
}

/// The lines up to the next empty one. A block that ends with the input is
/// not complete: half a transaction must not run.
fn block(input: &mut impl BufRead) -> Outcome<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        input
            .read_until(b'\n', &mut line)
            .map_err(|error| Failure::new(EXIT_IO, format!("reading stdin: {error}")))?;
        if line.pop() != Some(b'\n') {
            return Err(Failure::new(EXIT_INVALID_INPUT, "EOF").with_hint(
                "each of the three blocks (comparisons, success, failure) ends with an empty line",
            ));
        }
        let line = String::from_utf8_lossy(&line).trim().to_owned();
        if line.is_empty() {
            return Ok(lines);
        }
        lines.push(line);
    }
}

fn requests(input: &mut impl BufRead) -> Outcome<Vec<api::RequestOp>> {
    block(input)?
        .iter()
        .map(|line| {
            Ok(api::RequestOp {
                request: Some(request(line)?),
            })
        })
        .collect()
}

/// A `get`, `put` or `del` line.
fn request(line: &str) -> Outcome<Request> {
    let words = words(line)
        .ok_or_else(|| Failure::new(EXIT_INVALID_INPUT, "invalid syntax").with_hint(line))?;
    let [name, args @ ..] = words.as_slice() else {
        return Err(Failure::new(EXIT_INVALID_INPUT, "invalid syntax"));
    };
    if args.is_empty() {
        let message = format!("invalid txn compare request: {line}");
        return Err(Failure::new(EXIT_INVALID_INPUT, message));
    }
    let invalid = || {
        let message = format!("invalid txn request: {line}");
        Failure::new(EXIT_INVALID_INPUT, message)
    };
    let command = match name.as_slice() {
        b"get" => &GET,
        b"put" => &PUT,
        b"del" => &DEL,
        _ => return Err(invalid().with_hint("a request is a get, put or del line")),
    };
    let parsed =
        flags::parse(args, command.flags.iter()).map_err(|why| invalid().with_hint(why))?;
    if parsed.given(HELP) {
        return Err(invalid());
    }
    Ok(match command.name {
        "get" => Request::RequestRange(kv::range_request(&parsed)?),
        "put" => Request::RequestPut(kv::put_request::<Stdin>(&parsed, None)?),
        _ => Request::RequestDeleteRange(kv::delete_request(&parsed)?),
    })
}

/// Reads `<target>("<key>") <op> "<value>"`.
fn comparison(line: &str) -> Outcome<Compare> {
    let fail =
        |message: String| Failure::new(EXIT_INVALID_INPUT, message).with_hint(COMPARISON_FORM);
    let parts =
        split_comparison(line).ok_or_else(|| fail(format!("malformed comparison: {line}")))?;
    let (target, key, operator, value) = parts;
    let number = |base| {
        std::str::from_utf8(&value)
            .ok()
            .and_then(|text| parse_int(text, base).ok())
            .ok_or_else(|| fail(format!("invalid txn compare request: {line}")))
    };
    let (target, union) = match target {
        "ver" | "version" => (CompareTarget::Version, TargetUnion::Version(number(10)?)),
        "c" | "create" => (
            CompareTarget::Create,
            TargetUnion::CreateRevision(number(10)?),
        ),
        "m" | "mod" => (CompareTarget::Mod, TargetUnion::ModRevision(number(10)?)),
        "val" | "value" => (
            CompareTarget::Value,
            TargetUnion::Value(value.clone().into()),
        ),
        // Lease ids are hexadecimal on every command line.
        "lease" => (CompareTarget::Lease, TargetUnion::Lease(number(16)?)),
        other => {
            return Err(fail(format!(
                "malformed comparison: {line} (unknown target {other})"
            )));
        }
    };
    let result = match operator {
        "=" => CompareResult::Equal,
        "!=" => CompareResult::NotEqual,
        ">" => CompareResult::Greater,
        "<" => CompareResult::Less,
        other => {
            return Err(fail(format!(
                "malformed comparison: {line} (unknown operator {other})"
            )));
        }
    };
    Ok(Compare {
        result: result.into(),
        target: target.into(),
        key: key.into(),
        target_union: Some(union),
        ..Default::default()
    })
}

/// Target, key, operator and value. What follows the value is ignored.
fn split_comparison(line: &str) -> Option<(&str, Vec<u8>, &str, Vec<u8>)> {
    let (target, rest) = line.split_once('(')?;
    let key_end = literal_end(rest).filter(|_| rest.starts_with('"'))?;
    let key = unquote(&rest[..key_end])?;
    let rest = rest[key_end..].strip_prefix(')')?;
    let (operator, rest) = rest.strip_prefix(' ')?.trim_start().split_once(' ')?;
    let rest = rest.trim_start();
    let value_end = literal_end(rest).filter(|_| rest.starts_with('"'))?;
    Some((target, key, operator, unquote(&rest[..value_end])?))
}

impl Show for api::TxnResponse {
    fn simple(&self, page: &mut Page) {
        page.line(if self.succeeded { "SUCCESS" } else { "FAILURE" });
        for operation in &self.responses {
            page.line("");
            match &operation.response {
                Some(Response::ResponseRange(response)) => response.simple(page),
                Some(Response::ResponsePut(response)) => response.simple(page),
                Some(Response::ResponseDeleteRange(response)) => response.simple(page),
                Some(Response::ResponseTxn(response)) => response.simple(page),
                None => {}
            }
        }
    }

    fn json(&self, page: &mut Page) {
        Object::write(&mut page.bytes, |object| object.txn(self));
    }

    fn fields(&self, page: &mut Page) {
        page.header_fields(self.header.as_ref());
        page.field("Succeeded", self.succeeded);
        for operation in &self.responses {
            match &operation.response {
                Some(Response::ResponseRange(response)) => response.fields(page),
                Some(Response::ResponsePut(response)) => response.fields(page),
                Some(Response::ResponseDeleteRange(response)) => response.fields(page),
                Some(Response::ResponseTxn(response)) => response.fields(page),
                None => {}
            }
        }
    }

    fn protobuf(&self) -> Vec<u8> {
        wire(self)
    }
}
