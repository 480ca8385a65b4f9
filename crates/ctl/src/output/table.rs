//! The table format: a box of ASCII lines, headings centred in capitals, cells
//! to the right, as etcdctl up to 3.5 draws it.

use super::Page;

/// A cell wider than this is broken at its spaces.
const CELL_WIDTH_MAX: usize = 30;

/// Rows under headings.
pub(crate) struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &[&str]) -> Self {
        Self {
            columns: columns.iter().map(|name| name.to_uppercase()).collect(),
            rows: Vec::new(),
        }
    }

    /// A row; it has as many cells as there are columns.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    pub(crate) fn print(&self, page: &mut Page) {
        let rows: Vec<Vec<Vec<String>>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(|cell| wrap(cell)).collect())
            .collect();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|at| {
                let cells = rows.iter().flat_map(|row| &row[at]).map(|line| width(line));
                cells.chain([width(&self.columns[at])]).max().unwrap_or(0)
            })
            .collect();
        let rule: String = widths
            .iter()
            .map(|width| format!("+{}", "-".repeat(width + 2)))
            .chain(["+".to_owned()])
            .collect();
        page.line(&rule);
        let heading: String = self
            .columns
            .iter()
            .zip(&widths)
            .map(|(name, width)| format!("| {name:^width$} "))
            .collect();
        page.line(heading + "|");
        page.line(&rule);
        for row in &rows {
            let height = row.iter().map(Vec::len).max().unwrap_or(0);
            for at in 0..height {
                let line: String = row
                    .iter()
                    .zip(&widths)
                    .map(|(cell, width)| {
                        let text = cell.get(at).map_or("", String::as_str);
                        format!("| {text:>width$} ")
                    })
                    .collect();
                page.line(line + "|");
            }
        }
        page.line(&rule);
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// Breaks a cell at its spaces into lines of at most [`CELL_WIDTH_MAX`], or of
/// its longest word if that is longer.
fn wrap(cell: &str) -> Vec<String> {
    let words: Vec<&str> = cell.split_whitespace().collect();
    let limit = words
        .iter()
        .map(|word| width(word))
        .chain([CELL_WIDTH_MAX])
        .max()
        .unwrap_or(CELL_WIDTH_MAX);
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if width(line) + 1 + width(word) <= limit => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    if lines.is_empty() {
        lines.push(String::new());
    }
    lines
}
