//! Columns as in all of Docker's tables: at least ten wide, three spaces apart, the last one ragged.

/// Narrowest column, spaces included.
const COLUMN_MIN_CHARS: usize = 10;
/// Spaces after the widest cell of a column.
const PADDING_CHARS: usize = 3;

/// Aligns lines whose cells are separated by tabs.
///
/// A column reaches over neighbouring lines that have it; the last cell of a line belongs to none.
#[must_use]
pub fn align(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|cells| vec![0; cells.len() - 1]).collect();
    let columns = widths.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..columns {
        let mut start = 0;
        while start < lines.len() {
            let block = widths[start..].iter().take_while(|line| line.len() > column).count();
            let widest = lines[start..start + block]
                .iter()
                .map(|cells| cells[column].chars().count())
                .max()
                .unwrap_or(0);
            for line in &mut widths[start..start + block] {
                line[column] = (widest + PADDING_CHARS).max(COLUMN_MIN_CHARS);
            }
            start += block.max(1);
        }
    }
    let mut out = String::with_capacity(text.len() * 2);
    for (at, (cells, widths)) in lines.iter().zip(&widths).enumerate() {
        if at > 0 {
            out.push('\n');
        }
        for (cell, width) in cells.iter().zip(widths.iter().map(Some).chain([None])) {
            out.push_str(cell);
            let missing = width.map_or(0, |width| width.saturating_sub(cell.chars().count()));
            out.extend(std::iter::repeat_n(' ', missing));
        }
    }
    out
}
