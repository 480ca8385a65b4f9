//! The one binary. A subcommand, or the name it was called by, picks the program.

#![forbid(unsafe_code)]

use std::{ffi::OsString, path::Path};

mod manual;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "\
Pintle: an etcd, and a tool that predicts, rehearses, runs and takes back upgrades.

Usage: pintle <PROGRAM> [ARGUMENTS]

Programs:
  server   a member: serves etcd's API from etcd's files    (also: called as etcd)
           or a proxy in front of members: server gateway, server grpc-proxy
  ctl      the command line client                          (also: called as etcdctl)
  utl      offline tools for data directories and snapshots (also: called as etcdutl)
  upgrade  finds what would strand an upgrade; plans, rehearses and runs it, rolls it back; backs
           up, repairs
  bench    a load generator for any etcd

  pintle <PROGRAM> --help shows its commands and flags.
";

const PROGRAMS: [&str; 5] = ["server", "ctl", "utl", "upgrade", "bench"];

fn main() {
    // Keys and values on the command line may be any bytes.
    let mut args: Vec<OsString> = std::env::args_os().collect();
    let called = if args.is_empty() {
        OsString::new()
    } else {
        args.remove(0)
    };
    let name = Path::new(&called)
        .file_name()
        .and_then(|n| n.to_str())
        .unwrap_or_default();
    let code = match name {
        "etcd" => serve(args),
        "etcdctl" => ctl::main_os(ctl::Called::Etcdctl, args, offline),
        "etcdutl" => utl::main(named("etcdutl", args)),
        _ => by_subcommand(args),
    };
    std::process::exit(code);
}

/// The server. Its heaps are small and many: with transparent huge pages each
/// would hold megabytes that nothing is in, several times what the data needs.
fn serve(args: Vec<OsString>) -> i32 {
    let args = text(args);
    if proxy::is_proxy(&args) {
        return proxy::main(&args);
    }
    // A kernel without them has nothing to disable.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    server::main(&args)
}

fn text(args: Vec<OsString>) -> Vec<String> {
    args.into_iter()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect()
}

fn named(program: &str, args: Vec<OsString>) -> Vec<String> {
    std::iter::once(program.to_owned())
        .chain(text(args))
        .collect()
}

/// What etcdctl hands over to etcdutl.
fn offline(words: Vec<String>) -> i32 {
    utl::main(std::iter::once("etcdutl".to_owned()).chain(words).collect())
}

/// What `pintle ctl` hands over to `pintle utl`.
fn offline_here(words: Vec<String>) -> i32 {
    utl::main(
        std::iter::once("pintle utl".to_owned())
            .chain(words)
            .collect(),
    )
}

/// Writes manual pages and completions, for packages.
fn manual(args: &[OsString]) -> i32 {
    let [dir] = args else {
        eprintln!("Error: pintle manual takes the folder that pages and completions go to");
        return 1;
    };
    match manual::write(Path::new(dir)) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("Error: write to {}: {error}", Path::new(dir).display());
            1
        }
    }
}

fn by_subcommand(mut args: Vec<OsString>) -> i32 {
    let program = if args.is_empty() {
        None
    } else {
        Some(args.remove(0))
    };
    match program.as_ref().map(|p| p.to_string_lossy()).as_deref() {
        Some("server") => serve(args),
        Some("ctl") => ctl::main_os(ctl::Called::PintleCtl, args, offline_here),
        Some("utl") => utl::main(named("pintle utl", args)),
        Some("upgrade") => upgrade::main(&text(args)),
        Some("bench") => bench::main(named("pintle bench", args)),
        Some("manual") => manual(&args),
        Some("-V" | "--version" | "version") => {
            println!(
                "pintle {} (etcd {})",
                server::version::PINTLE,
                line::Line::DEFAULT.release()
            );
            0
        }
        None | Some("-h" | "--help" | "help") => {
            print!("{USAGE}");
            0
        }
        Some(other) => {
            let near = cli::near::suggestion(other, "", PROGRAMS.into_iter());
            eprintln!("Error: unknown command {other:?} for \"pintle\"{near}");
            eprintln!("Run 'pintle --help' for usage.");
            1
        }
    }
}
