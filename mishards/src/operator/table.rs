//! Tables on a terminal: columns as wide as their widest cell, numbers to the right.

/// Prints rows under their heads; `right` says which columns hold numbers.
pub fn print(heads: &[&str], right: &[bool], rows: &[Vec<String>]) {
    print!("{}", render(heads, right, rows));
}

fn render(heads: &[&str], right: &[bool], rows: &[Vec<String>]) -> String {
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let all = || std::iter::once(&heads).chain(rows);
    let width = |column: usize| {
        all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut out = String::new();
    for row in all() {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths.get(column).copied().unwrap_or(0);
            let padded = match right.get(column) {
                Some(true) => format!("{cell:>width$}"),
                _ => format!("{cell:<width$}"),
            };
            line.push_str(&padded);
            line.push_str("  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".to_owned(), "10".to_owned()], vec!["longer".to_owned(), "5".to_owned()]];
        assert_eq!(
            render(&["node", "rows"], &[false, true], &rows),
            "node    rows\na         10\nlonger     5\n"
        );
    }
}
