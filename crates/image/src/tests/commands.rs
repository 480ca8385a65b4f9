//! `pintle upgrade image verify`: what it answers and with which exit code.

use super::{Making, Placed};
use crate::{Digest, program::answer};

fn run(words: &[&str]) -> (String, String, i32) {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let (out, problem, code) = answer(&words);
    (out, problem.unwrap_or_default(), code)
}

fn verify(placed: &Placed, digest: Digest, more: &[&str]) -> (String, String, i32) {
    let digest = digest.to_string();
    let path = placed.path.to_str().unwrap();
    let mut words = vec![
        "verify",
        "--image",
        path,
        "--digest",
        &digest,
        "--platform",
        "linux/amd64",
    ];
    words.extend(more);
    run(&words)
}

#[test]
fn the_exit_code_is_the_verdict() {
    let made = Making::sound().make();
    let placed = made.archive();
    let (out, problem, code) = verify(&placed, made.index, &[]);
    assert_eq!((problem.as_str(), code), ("", 0));
    assert!(
        out.starts_with(&format!("VERIFIED {} (index)\n", made.index)),
        "{out}"
    );
    assert!(
        out.contains("etcdctl: /usr/local/bin/etcdctl, 32 bytes, holds version 3.5.30"),
        "{out}"
    );

    let (out, problem, code) = verify(&placed, Digest::of(b"other"), &[]);
    assert_eq!((out.as_str(), code), ("", 3));
    assert!(problem.contains("is not in this image"), "{problem}");

    let (out, _, code) = verify(&placed, made.index, &["-wjson"]);
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, 0);
    assert_eq!(told["verified"], true);
    assert_eq!(told["digest"], made.index.to_string());
    assert_eq!(told["names"], "index");
    assert_eq!(told["programs"][0]["path"], "/usr/local/bin/etcd");

    let (out, _, code) = verify(&placed, Digest::of(b"other"), &["-w", "json"]);
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &told["verified"], &told["judged"]),
        (3, &false.into(), &true.into())
    );
}

#[test]
fn an_image_beside_the_pinned_one_is_a_warning() {
    let made = Making::sound().make();
    let mut other = Making::sound();
    other.labels = serde_json::json!({"other": "yes"});
    let other = other.make();
    let mut both = made.docker(&[super::sound_layer()], true);
    let config = format!("blobs/sha256/{}", other.config.digits());
    both.parts
        .insert(config.clone(), other.parts[&config].clone());
    let list =
        serde_json::json!([{"Config": config, "RepoTags": ["a:b"], "Layers": ["0/layer.tar"]}]);
    both.parts
        .insert("manifest.json".into(), serde_json::to_vec(&list).unwrap());
    let (out, _, code) = verify(&both.archive(), made.index, &[]);
    assert_eq!(code, 4);
    assert!(out.contains("not vouched for"), "{out}");
}

#[test]
fn what_cannot_be_judged_is_an_error() {
    let placed = Making::sound().make().archive();
    let path = placed.path.to_str().unwrap();
    for words in [
        &["verify"][..],
        &["verify", "--image", path],
        &["verify", "--image", path, "--digest", "sha256:1"],
        &[
            "verify",
            "--image",
            "/none",
            "--digest",
            &Digest::of(b"").to_string(),
        ],
        &[
            "verify",
            "--image",
            path,
            "--digest",
            &Digest::of(b"").to_string(),
            "more",
        ],
        &[
            "verify",
            "--image",
            path,
            "--digest",
            &Digest::of(b"").to_string(),
            "-w",
            "xml",
        ],
        &[
            "verify",
            "--image",
            path,
            "--digest",
            &Digest::of(b"").to_string(),
            "--platform",
            "amd64",
        ],
        &["other"],
        &["verify", "--nothing"],
    ] {
        let (out, problem, code) = run(words);
        assert_eq!(code, 1, "{words:?}: {out}{problem}");
        assert!(!problem.is_empty());
    }
    for words in [
        &[][..],
        &["help"],
        &["verify", "--help"],
        &["help", "verify"],
    ] {
        let (out, _, code) = run(words);
        assert_eq!(code, 0);
        assert!(out.contains("Usage: pintle upgrade image"), "{out}");
    }
}
