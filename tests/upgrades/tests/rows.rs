//! Every row of the table on real releases. `PINTLE_UPGRADES=full` runs all of
//! them, `PINTLE_UPGRADES=U20` those whose id begins so; by default a quick
//! choice. `PINTLE_UPGRADES_TABLE=<file>` receives the table as Markdown.

use std::{env, fs, io::Write as _, time::Duration};

use peers::{peer, server};
use upgrades::{
    Row,
    report::{self, Ran},
    rows, workshop,
};

fn chosen(row: &Row, wanted: &str) -> bool {
    match wanted {
        "" => row.quick,
        "full" => true,
        _ => wanted
            .split(',')
            .any(|w| row.id == w || row.id.starts_with(&format!("{w}/"))),
    }
}

#[test]
fn every_row_ends_as_the_table_says() {
    let wanted = env::var("PINTLE_UPGRADES").unwrap_or_default();
    let table = env::var_os("PINTLE_UPGRADES_TABLE");
    let write = |text: &str| {
        if let Some(path) = &table
            && let Ok(mut file) = fs::OpenOptions::new().create(true).append(true).open(path)
        {
            let _ = file.write_all(text.as_bytes());
        }
    };
    write(report::HEAD);
    let mut wrong = Vec::new();
    let mut ran = 0;
    for row in rows::all().filter(|r| chosen(r, &wanted)) {
        let missing = workshop::missing(row);
        if !missing.is_empty() {
            peer::say(&format!("SKIP: {}: {}", row.id, missing.join("; ")));
            write(&report::line(row, &Ran::No(missing.join("; "))));
            continue;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a tokio runtime");
        server::forget_logs();
        let record = runtime
            .block_on(async {
                tokio::time::timeout(Duration::from_secs(240), workshop::run(row)).await
            })
            .unwrap_or_else(|_| Err(anyhow::anyhow!("not finished after 240 s")));
        match record {
            Ok(record) => {
                ran += 1;
                peer::say(&format!("RAN: {} ({} s)", row.id, record.seconds));
                write(&report::line(row, &Ran::Yes(&record)));
                wrong.extend(record.differences());
            }
            Err(error) => {
                let why = format!("{error:#}");
                peer::say(&format!("FAILED: {}: {why}", row.id));
                let first = why.lines().next().unwrap_or("").to_owned();
                write(&report::line(row, &Ran::No(first)));
                wrong.push(format!("{}: {why}", row.id));
            }
        }
    }
    peer::say(&format!("{ran} rows ran"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
