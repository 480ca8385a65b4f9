//! The box of `--write-out=table`: headings centred in capitals, cells to the
//! right. It must never cut or break a cell: people copy from it.

use std::fmt::Write;

/// The lines a box is drawn with.
struct Strokes {
    /// Left end, crossing and right end of the rules above, between and below.
    rules: [[&'static str; 3]; 3],
    horizontal: &'static str,
    vertical: &'static str,
}

/// As the 3.5.30 tools in use here draw it.
const STROKES: Strokes = Strokes {
    rules: [["┌", "┬", "┐"], ["├", "┼", "┤"], ["└", "┴", "┘"]],
    horizontal: "─",
    vertical: "│",
};

/// Alignment of the last column; all others are aligned right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// At the left, for prose.
    Left,
    /// At the right, as all others.
    Right,
}

/// Rows under headings.
#[derive(Debug)]
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
    last: Side,
}

impl Table {
    /// A table without rows.
    #[must_use]
    pub fn new(columns: &[&str]) -> Self {
        Self {
            columns: columns.iter().map(|name| name.to_uppercase()).collect(),
            rows: Vec::new(),
            last: Side::Right,
        }
    }

    /// The same table with the cells of its last column at this side.
    #[must_use]
    pub fn last(mut self, side: Side) -> Self {
        self.last = side;
        self
    }

    /// A row; it has as many cells as there are columns. Blanks around the text
    /// of a cell are left out.
    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows
            .push(cells.iter().map(|cell| cell.trim().to_owned()).collect());
    }

    /// The drawn table; every line ends with a newline.
    #[must_use]
    pub fn draw(&self) -> String {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|at| {
                let cells = self.rows.iter().filter_map(|row| row.get(at));
                let cells = cells.chain(self.columns.get(at));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let rule = |[left, crossing, right]: [&str; 3]| {
            let lines: Vec<String> = widths
                .iter()
                .map(|width| STROKES.horizontal.repeat(width + 2))
                .collect();
            format!("{left}{}{right}\n", lines.join(crossing))
        };
        let bar = STROKES.vertical;
        let mut text = rule(STROKES.rules[0]);
        for (name, &width) in self.columns.iter().zip(&widths) {
            let _ = write!(text, "{bar} {name:^width$} ");
        }
        let _ = writeln!(text, "{bar}");
        text.push_str(&rule(STROKES.rules[1]));
        for row in &self.rows {
            for (at, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                let _ = if at + 1 == widths.len() && self.last == Side::Left {
                    write!(text, "{bar} {cell:width$} ")
                } else {
                    write!(text, "{bar} {cell:>width$} ")
                };
            }
            let _ = writeln!(text, "{bar}");
        }
        text.push_str(&rule(STROKES.rules[2]));
        text
    }
}
