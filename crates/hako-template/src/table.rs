//! Columns: rows whose cells end in tabs are aligned as Go's text/tabwriter
//! does it, so that tables look as those of docker.

use std::fmt;

/// How wide columns are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Narrowest column in characters, blanks included.
    pub min_width: usize,
    /// Blanks between columns, at least.
    pub padding: usize,
}

impl Default for Table {
    /// Docker's: 10 and 3.
    fn default() -> Self {
        Table {
            min_width: 10,
            padding: 3,
        }
    }
}

impl Table {
    /// Aligns lines of cells. A cell ends with a tab; what follows the last
    /// tab of a line belongs to no column. A column is as wide as its widest
    /// cell in lines without a gap.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn align(&self, text: &str, out: &mut dyn fmt::Write) -> fmt::Result {
        let lines: Vec<Vec<&str>> = text
            .split('\n')
            .map(|line| line.split('\t').collect())
            .collect();
        let widths = self.widths(&lines);
        for (place, (cells, widths)) in lines.iter().zip(&widths).enumerate() {
            if place > 0 {
                out.write_char('\n')?;
            }
            for (column, cell) in cells.iter().enumerate() {
                out.write_str(cell)?;
                let width = widths.get(column).copied().unwrap_or(0);
                for _ in cell.chars().count()..width {
                    out.write_char(' ')?;
                }
            }
        }
        Ok(())
    }

    /// The width of each cell that a tab ends, by line.
    fn widths(&self, lines: &[Vec<&str>]) -> Vec<Vec<usize>> {
        let mut widths: Vec<Vec<usize>> = lines
            .iter()
            .map(|cells| {
                let ended = cells.split_last().map_or(&[][..], |(_, ended)| ended);
                let width = |cell: &&str| (cell.chars().count() + self.padding).max(self.min_width);
                ended.iter().map(width).collect()
            })
            .collect();
        let columns = widths.iter().map(Vec::len).max().unwrap_or(0);
        for column in 0..columns {
            // Lines that have the column, one after another, share its width.
            for block in widths.split_mut(|cells| cells.len() <= column) {
                let widest = block
                    .iter()
                    .filter_map(|cells| cells.get(column))
                    .max()
                    .copied();
                for cell in block.iter_mut().filter_map(|cells| cells.get_mut(column)) {
                    *cell = widest.unwrap_or(0);
                }
            }
        }
        widths
    }
}

/// The column name of a field: its words in capitals, `CreatedAt` to `CREATED AT`.
#[must_use]
pub fn header_name(field: &str) -> String {
    let mut name = String::with_capacity(field.len() + 4);
    let chars: Vec<char> = field.chars().collect();
    for (place, c) in chars.iter().enumerate() {
        let before = place.checked_sub(1).and_then(|place| chars.get(place));
        let after = chars.get(place + 1);
        let word_starts = c.is_uppercase()
            && before.is_some_and(|before| {
                before.is_lowercase()
                    || before.is_ascii_digit()
                    || (before.is_uppercase() && after.is_some_and(|after| after.is_lowercase()))
            });
        if word_starts {
            name.push(' ');
        }
        name.extend(c.to_uppercase());
    }
    name
}

/// The column name of a label: its last part, `com.example.my-key` to `MY KEY`.
pub(crate) fn header_of_key(key: &str) -> String {
    let last = key.rsplit('.').next().unwrap_or(key);
    last.replace(['-', '_'], " ").to_uppercase()
}
