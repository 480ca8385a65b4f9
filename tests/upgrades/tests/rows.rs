//! Every row of the table on real releases. `PINTLE_UPGRADES=full` runs all of
//! them, `PINTLE_UPGRADES=U20` those whose id begins so; by default a quick
//! choice. `PINTLE_UPGRADES_TABLE=<file>` receives the table as Markdown.

use std::{env, fs, io::Write as _};

use peers::peer;
use upgrades::{
    report::{self, Ran},
    rows, workshop,
};

#[test]
fn every_row_ends_as_the_table_says() {
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
    for row in rows::chosen() {
        let missing = workshop::missing(row);
        if !missing.is_empty() {
            peer::say(&format!("SKIP: {}: {}", row.id, missing.join("; ")));
            write(&report::line(row, &Ran::No(missing.join("; "))));
            continue;
        }
        match workshop::run_alone(row) {
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
