//! Tables for people.

/// Columns as wide as their widest cell, with two spaces between.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let head = head.map(str::to_owned);
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A list in one cell; `-` when it is empty.
pub(crate) fn list<T: ToString>(items: impl IntoIterator<Item = T>, between: &str) -> String {
    let text = items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(between);
    if text.is_empty() { "-".to_owned() } else { text }
}

/// Seconds as people say them: `42s`, `5m`, `3h`, `2d`.
pub(crate) fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["1".to_owned(), "work".to_owned()], ["20".to_owned(), String::new()]];
        assert_eq!(table(["NR", "NAME"], &rows), "NR  NAME\n1   work\n20\n");
    }

    #[test]
    fn ages_are_short() {
        assert_eq!([0, 119, 120, 7_199, 7_200, 172_800].map(age), ["0s", "119s", "2m", "119m", "2h", "2d"]);
        assert_eq!(list(["a", "b"], " > "), "a > b");
        assert_eq!(list(Vec::<String>::new(), ", "), "-");
    }
}
