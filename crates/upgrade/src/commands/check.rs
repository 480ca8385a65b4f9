//! `check`: what blocks an upgrade.

use std::{
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use cli::{flags::Parsed, private::Part};

use super::next::after_check;
use crate::{
    backup,
    checks::{self, ApiServer, Given, Unverified},
    facts::Certificate,
    failure::{Failure, Outcome},
    manifest::Manifest,
    output::{as_json, json_line, print, width},
    report,
    sources::{self, sources},
    target::Target,
};

pub(super) fn check(parsed: &Parsed) -> Outcome<i32> {
    let target = Target::parse(parsed.text("target")).map_err(Failure::new)?;
    let json = as_json(parsed)?;
    let manifest = match parsed.text("manifest") {
        "" => None,
        path => Some(Manifest::read(Path::new(path))?),
    };
    let mut api_servers = Vec::new();
    for path in parsed.list("kube-manifest") {
        api_servers.push(api_server(Path::new(path))?);
    }
    let image = match (parsed.text("image"), parsed.text("digest")) {
        ("", "") => None,
        (path, digest) if !path.is_empty() && !digest.is_empty() => {
            Some((path.to_owned(), verified(path, digest)))
        }
        _ => return Err(Failure::new("--image and --digest go together")),
    };
    // A page that cannot be written is better known before the work.
    let page = match parsed.text("html") {
        "" => None,
        path => Some(Page::begin(Path::new(path))?),
    };
    let snapshots = parsed.list("snapshot");
    let sources = sources(
        parsed,
        &snapshots,
        !parsed.bool("no-pages"),
        !parsed.bool("no-databases"),
    )?;
    let backup = match parsed.text("backup") {
        "" => None,
        path => Some((path.to_owned(), verified_backup(path))),
    };
    let pintles = sources::pintles(parsed, &sources.members)?;
    let all_pintle = !pintles.is_empty() && pintles.len() == sources.members.len();
    let target = match all_pintle {
        true => target.of_pintles(),
        false => target,
    };
    // They stay up where they change their line.
    let no_restarts = all_pintle && target.is_pintle;
    let given = Given {
        no_restarts,
        silent: sources.silent,
        flags: manifest.as_ref().map(Manifest::settings),
        restore_is_planned: parsed.text("backup").ends_with(".db")
            && std::fs::read_to_string(Path::new(parsed.text("backup")).with_extension("json"))
                .is_ok_and(|text| text.contains("--bump-revision")),
        backup,
        hashes: sources.hashes,
        learners_max: 1,
        certificates: certificate_files(parsed.text("cert"), manifest.as_ref()),
        now: checks::now(),
        api_servers,
        image,
    };
    let report = checks::run(target, sources.members, &given);
    if let Some(page) = page {
        page.complete(&report::html(&report))?;
    }
    let next = after_check(parsed, &report);
    let text = match json {
        true => {
            let mut value = report::json(&report);
            value["next"] = next.line().into();
            json_line(value)
        }
        false => {
            let terminal = std::io::stdout().is_terminal();
            let colour = terminal && std::env::var_os("NO_COLOR").is_none();
            report::text(&report, colour, width()) + "\n" + &next.text()
        }
    };
    print(&text)?;
    Ok(report.exit_code())
}

/// Certificates in files that can be read here: the client's own, and those that
/// the manifest of a member names.
fn certificate_files(own: &str, manifest: Option<&Manifest>) -> Vec<Certificate> {
    let flags = [
        "cert-file",
        "peer-cert-file",
        "trusted-ca-file",
        "peer-trusted-ca-file",
    ];
    let named = flags.iter().filter_map(|flag| manifest?.value(flag));
    let mut paths: Vec<String> = Some(own.to_owned())
        .filter(|p| !p.is_empty())
        .into_iter()
        .collect();
    paths.extend(named);
    paths.sort();
    paths.dedup();
    let mut found = Vec::new();
    for path in paths {
        // What cannot be read here is seen on the connection.
        for leaf in tls::leaves(Path::new(&path)).unwrap_or_default() {
            found.push(Certificate {
                of_client: path == own,
                ..Certificate::of(path.clone(), &leaf, None)
            });
        }
    }
    found
}

/// What the manifest of an API server says of etcd.
fn api_server(path: &Path) -> Outcome<ApiServer> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::io("read", path, &e))?;
    let words = || {
        text.lines().map(|line| {
            line.trim()
                .trim_start_matches("- ")
                .trim_matches(['"', '\''])
        })
    };
    let servers = words().find_map(|word| word.strip_prefix("--etcd-servers="));
    let servers = servers.ok_or_else(|| {
        Failure::new(format!(
            "{} is not the manifest of an API server: no --etcd-servers in it",
            path.display()
        ))
    })?;
    let image = words().find_map(|word| word.strip_prefix("image:"));
    let tag = image.and_then(|image| image.split('@').next()?.rsplit_once(":v1."));
    Ok(ApiServer {
        path: path.display().to_string(),
        minor: tag.and_then(|(_, rest)| rest.split('.').next()?.parse().ok()),
        etcd_servers: servers
            .split(',')
            .map(|url| url.trim().to_owned())
            .collect(),
    })
}

/// What a backup is, if it can be restored.
fn verified_backup(path: &str) -> Result<String, Unverified> {
    backup::verify(Path::new(path)).map_err(|e| Unverified(e.to_string()))
}

/// What an image is, if it is the one of the digest.
fn verified(path: &str, digest: &str) -> Result<String, Unverified> {
    let found = image::verify(Path::new(path), digest).map_err(|e| Unverified(e.to_string()))?;
    Ok(format!("{} for {}", found.digest, found.platform))
}

/// The report as a page, which gets its name when it is complete.
struct Page {
    path: PathBuf,
    part: Part,
}

impl Page {
    fn begin(path: &Path) -> Outcome<Page> {
        let part = Part::of(path).map_err(|e| Failure::io("write", path, &e))?;
        Ok(Page {
            path: path.to_owned(),
            part,
        })
    }

    fn complete(self, text: &str) -> Outcome<()> {
        let write = || {
            self.part.file().write_all(text.as_bytes())?;
            self.part.complete()
        };
        write().map_err(|e| Failure::io("write", &self.path, &e))
    }
}
