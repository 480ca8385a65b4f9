//! `compaction`, `defrag`.

use cli::{flags::Parsed, text::parse_int};
use proto::etcdserverpb as api;

use crate::{
    endpoint::targets,
    failure::{EXIT_ERROR, Failure, Outcome, cause},
    global::Global,
    terminal::print_all,
};

/// `etcdctl compaction`.
pub(crate) async fn compaction(parsed: &mut Parsed) -> Outcome {
    let [revision] = parsed.args.as_slice() else {
        return Err(Failure::bad_args("compaction command needs 1 argument"));
    };
    let revision = parse_int(&String::from_utf8_lossy(revision), 10)
        .map_err(|error| Failure::new(EXIT_ERROR, error.to_string()))?;
    let request = api::CompactionRequest {
        revision,
        physical: parsed.bool("physical"),
    };
    let global = Global::resolve(parsed)?;
    global.client().await?.compact(request).await?;
    print_all(format!("compacted revision {revision}\n").as_bytes())
}

/// `etcdctl defrag`.
pub(crate) async fn defrag(parsed: &mut Parsed) -> Outcome {
    let cluster = parsed.bool("cluster");
    let global = Global::resolve(parsed)?;
    let endpoints = targets(&global, cluster).await?;
    defragment(&global, endpoints).await
}

/// Defragments these members, one after the other; continues after a failure.
pub(crate) async fn defragment(global: &Global, endpoints: Vec<String>) -> Outcome {
    let mut failed = false;
    for endpoint in endpoints {
        let result = async {
            let client = global.connect([endpoint.as_str()].into_iter()).await?;
            client.defragment(api::DefragmentRequest {}).await
        }
        .await;
        match result {
            Ok(_) => {
                let line = format!("Finished defragmenting etcd member[{endpoint}]\n");
                print_all(line.as_bytes())?;
            }
            Err(error) => {
                eprintln!("Failed to defragment etcd member[{endpoint}] ({error})");
                if let Some(cause) = cause(&error) {
                    eprintln!("Warning: {cause}");
                }
                failed = true;
            }
        }
    }
    if failed {
        return Err(Failure::silent(EXIT_ERROR));
    }
    Ok(())
}
