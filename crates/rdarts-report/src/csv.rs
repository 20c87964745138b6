//! Tables of numbers as CSV (RFC 4180), every number with all its digits.
//!
//! Programs that open such files run a cell that begins like a formula, and names in it may be anyone's, so a text that
//! begins so gets an apostrophe before it. Numbers are numbers, and stay as they are.

/// A cell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    /// A text.
    Text(String),
    /// A number; one that is not finite is written as a word.
    Number(f64),
    /// Nothing.
    Empty,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::Text(text.to_string())
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Cell {
        Cell::Number(value)
    }
}

impl From<usize> for Cell {
    fn from(value: usize) -> Cell {
        Cell::Number(value as f64)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Cell {
        value.map_or(Cell::Empty, Into::into)
    }
}

/// The text of a file with a line of headers.
pub(crate) fn csv(headers: &[&str], rows: impl IntoIterator<Item = Vec<Cell>>) -> String {
    let mut out = line(headers.iter().map(|header| text(header)));
    for row in rows {
        out += &line(row.into_iter().map(|cell| match cell {
            Cell::Text(value) => text(&value),
            Cell::Number(value) => value.to_string(),
            Cell::Empty => String::new(),
        }));
    }
    out
}

fn line(cells: impl Iterator<Item = String>) -> String {
    cells.collect::<Vec<_>>().join(",") + "\n"
}

fn text(value: &str) -> String {
    let value = rdarts_text::escaped(value);
    let is_formula = value.trim_start().starts_with(['=', '+', '-', '@']);
    let value = if is_formula { format!("'{value}") } else { value };
    if value.contains(['"', ',']) { format!("\"{}\"", value.replace('"', "\"\"")) } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_cell_and_start_no_formula() {
        let names = ["plain", "a,b", "say \"x\"", "=1+1", " @SUM(A1)", "-2", "two\nlines", "\u{202e}txt"];
        let rows = names.map(|name| vec![Cell::from(name), Cell::from(-0.25), Cell::from(Option::<f64>::None)]);
        assert_eq!(
            csv(&["name", "value", "none"], rows),
            "name,value,none\nplain,-0.25,\n\"a,b\",-0.25,\n\"say \"\"x\"\"\",-0.25,\n'=1+1,-0.25,\n' @SUM(A1),-0.25,\n\
             '-2,-0.25,\ntwo\\nlines,-0.25,\n\\u{202e}txt,-0.25,\n"
        );
    }

    #[test]
    fn numbers_keep_all_their_digits() {
        let values = [0.1 + 0.2, 1e-7, f64::MAX, f64::NAN];
        let text = csv(&["x"], values.map(|value| vec![Cell::from(value)]));
        for (line, value) in text.lines().skip(1).zip(values) {
            let back: f64 = line.parse().unwrap();
            assert!(back.to_bits() == value.to_bits() || (back.is_nan() && value.is_nan()), "{line}");
        }
    }
}
