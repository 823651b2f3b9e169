//! Aligned columns.

/// Which side of its column a cell is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// Rows under a heading. Nothing is cut off, and no line ends with blanks.
pub(super) struct Table {
    sides: Vec<Side>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(columns: &[(&str, Side)]) -> Self {
        Self {
            sides: columns.iter().map(|(_, side)| *side).collect(),
            rows: vec![columns.iter().map(|(name, _)| (*name).to_owned()).collect()],
        }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(super) fn text(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.sides.len()).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, side), width) in row.iter().zip(&self.sides).zip(&widths) {
                let blanks = " ".repeat(width.saturating_sub(cell.chars().count()));
                let (before, behind) = match side {
                    Side::Left => ("", &*blanks),
                    Side::Right => (&*blanks, ""),
                };
                line.extend([before, cell, behind, "  "]);
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let mut table = Table::new(&[
            ("NAME", Side::Left),
            ("N", Side::Right),
            ("WHY", Side::Left),
        ]);
        table.row(["é".to_owned(), "1000".to_owned(), String::new()]);
        table.row(["longer".to_owned(), "7".to_owned(), "because".to_owned()]);
        let text = "NAME       N  WHY\n\
                    é       1000\n\
                    longer     7  because\n";
        assert_eq!(table.text(), text);
        assert_eq!(Table::new(&[("A", Side::Left)]).text(), "A\n");
    }
}
