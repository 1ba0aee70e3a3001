//! Columns like those of kubectl, for lines that are printed one after the other. Pure.

/// The space between two columns.
const GAP: usize = 3;

/// The widths of the columns. They only grow, so that later lines are aligned with earlier ones where possible.
#[derive(Debug, Default)]
pub(super) struct Columns(Vec<usize>);

impl Columns {
    /// Formats lines in these columns.
    pub(super) fn format(&mut self, lines: &[Vec<String>]) -> String {
        for line in lines {
            self.0.resize(self.0.len().max(line.len()), 0);
            for (width, cell) in self.0.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        lines.iter().map(|line| self.line(line)).collect()
    }

    fn line(&self, cells: &[String]) -> String {
        let pad = |(cell, width): (&String, &usize)| format!("{cell:<width$}", width = width + GAP);
        let line: String = cells.iter().zip(&self.0).map(pad).collect();
        format!("{}\n", line.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn lines_are_aligned_and_later_ones_with_them() {
        let mut columns = Columns::default();
        let first = columns.format(&[cells(&["NAME", "PHASE"]), cells(&["codex-issue-1", "Ready"])]);
        assert_eq!(first, "NAME            PHASE\ncodex-issue-1   Ready\n");
        assert_eq!(columns.format(&[cells(&["a", "Pending"])]), "a               Pending\n");
        assert_eq!(columns.format(&[cells(&["a", ""])]), "a\n");
    }
}
