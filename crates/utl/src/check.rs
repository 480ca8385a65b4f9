//! `check db`: reads every page of a database or snapshot file and names what
//! contradicts the format. Ours; etcd has it only inside `snapshot status`.
//! Must never change the file.

use std::fs;

use bolt::check::{Report, check_file};
use cli::{
    table::{Side, Table},
    text::size,
};
use serde_json::json;

use crate::{
    command::{Line, one_argument},
    failure::{Failure, Outcome},
    output::Format,
};

pub(crate) fn db(line: &Line) -> Outcome<String> {
    let path = one_argument(line, "check db")?;
    let format = Format::of(line)?;
    fs::metadata(path).map_err(|e| Failure::io("stat", path, &e))?;
    let report = check_file(path)?;
    let answer = show(&report, format);
    if report.problems.is_empty() {
        return Ok(answer);
    }
    let count = report.problems.len();
    let s = if count == 1 { "" } else { "s" };
    let message = format!(
        "{} has {count} problem{s}; do not start a member from it. Restore the member from a \
         snapshot that is sound, or remove it from the cluster and add it again",
        path.display()
    );
    Err(Failure {
        answer,
        ..Failure::error(message)
    })
}

fn show(report: &Report, format: Format) -> String {
    match format {
        Format::Json => {
            let problems: Vec<_> = report
                .problems
                .iter()
                .map(|p| {
                    let kind = format!("{:?}", p.kind);
                    json!({"page": p.page.get(), "offset": p.offset, "kind": kind, "detail": p.detail})
                })
                .collect();
            let text = json!({
                "path": report.path.display().to_string(),
                "size": report.file_len,
                "pageSize": report.page_size,
                "txid": report.txid,
                "pages": report.high_water_mark,
                "usedPages": report.used_pages,
                "problems": problems,
            });
            format!("{text}\n")
        }
        Format::Fields => {
            let mut text = format!(
                "\"Path\" : {:?}\n\"Size\" : {}\n\"PageSize\" : {}\n\"Txid\" : {}\n\
                 \"Pages\" : {}\n\"UsedPages\" : {}\n\"Problems\" : {}\n",
                report.path.display().to_string(),
                report.file_len,
                report.page_size,
                report.txid,
                report.high_water_mark,
                report.used_pages,
                report.problems.len()
            );
            for p in &report.problems {
                text += &format!(
                    "\n\"Page\" : {}\n\"Offset\" : {}\n\"Kind\" : \"{:?}\"\n\"Detail\" : {:?}\n",
                    p.page, p.offset, p.kind, p.detail
                );
            }
            text
        }
        Format::Simple | Format::Table if report.problems.is_empty() => format!(
            "{} is sound: {}, {} pages of {} bytes, {} in use\n",
            report.path.display(),
            size(report.file_len),
            report.high_water_mark,
            report.page_size,
            report.used_pages
        ),
        Format::Simple | Format::Table => {
            let mut table = Table::new(&["page", "offset", "problem"]).last(Side::Left);
            for p in &report.problems {
                table.row(vec![
                    p.page.to_string(),
                    format!("{:#x}", p.offset),
                    p.detail.clone(),
                ]);
            }
            table.draw()
        }
    }
}
