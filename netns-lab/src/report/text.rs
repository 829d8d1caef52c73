//! Text in figures: how wide it is, how numbers are written.

/// Widths of ASCII from the space on, in thousandths of the size: those of DejaVu Sans, which Verdana shares.
const WIDTHS: [u16; 95] = [
    318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337, 636, 636, 636, 636, 636,
    636, 636, 636, 636, 636, 337, 337, 838, 838, 838, 531, 1000, 684, 686, 698, 770, 632, 575, 775, 752, 295,
    295, 656, 557, 863, 748, 787, 603, 787, 695, 635, 611, 732, 684, 989, 685, 611, 685, 390, 337, 390, 838,
    500, 500, 613, 635, 550, 635, 615, 352, 635, 634, 278, 278, 579, 278, 974, 634, 612, 635, 635, 411, 521,
    392, 634, 592, 818, 592, 592, 525, 636, 337, 636, 838,
];

/// How wide text is, in the unit of its size.
#[must_use]
pub(super) fn width(text: &str, size: f64) -> f64 {
    let one = |letter: char| {
        let at = (letter as usize).checked_sub(' ' as usize);
        at.and_then(|at| WIDTHS.get(at).copied()).map_or(838.0, f64::from)
    };
    text.chars().map(one).sum::<f64>() * size / 1000.0
}

/// Text in lines that are at most so wide, if its words are.
#[must_use]
pub(super) fn wrap(text: &str, size: f64, widest: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width(&format!("{line} {word}"), size) <= widest => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Digits behind the point that show so many valid digits of a number.
#[must_use]
pub(super) fn decimals(number: f64, valid: i32) -> usize {
    if number == 0.0 || !number.is_finite() {
        return 0;
    }
    let before = number.abs().log10().floor() as i32 + 1;
    usize::try_from(valid - before).unwrap_or(0).min(12)
}

/// A number with so many digits behind the point, and a true minus.
#[must_use]
pub(super) fn number(number: f64, decimals: usize) -> String {
    let written = format!("{:.decimals$}", number.abs());
    let is_zero = written.chars().all(|digit| matches!(digit, '0' | '.'));
    if number < 0.0 && !is_zero { format!("−{written}") } else { written }
}

/// A number with four valid digits, without zeros that say nothing.
#[must_use]
pub(super) fn short(value: f64) -> String {
    let written = number(value, decimals(value, 4));
    if written.contains('.') {
        written.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        written
    }
}

/// Text for HTML and SVG.
#[must_use]
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => escaped.push(' '),
            // XML has no way to say the others.
            letter if letter.is_control() => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_count() {
        for (value, expected) in [
            (0.0, "0"),
            (8.354_21, "8.354"),
            (12_345.6, "12346"),
            (0.001_234_56, "0.001235"),
            (-3.0, "−3"),
            (100.0, "100"),
            (155.26, "155.3"),
        ] {
            assert_eq!(short(value), expected);
        }
        assert_eq!(number(-0.001, 1), "0.0");
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrap("aaa bbb ccc", 10.0, width("aaa bbb", 10.0)), ["aaa bbb", "ccc"]);
        assert_eq!(wrap("unbreakable", 10.0, 1.0), ["unbreakable"]);
        assert!(wrap("", 10.0, 1.0).is_empty());
    }

    #[test]
    fn markup_is_escaped() {
        assert_eq!(escape("<a b=\"1\">&\u{1}\n"), "&lt;a b=&quot;1&quot;&gt;&amp;\u{fffd} ");
    }
}
