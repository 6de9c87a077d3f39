//! Sanitizes untrusted text for display: output of guests, QEMU and hooks.
//!
//! XML 1.0 forbids most control characters even when escaped, and a terminal interprets them, so they are made
//! visible: `␛` for ESC, from the Unicode block "Control Pictures". Omissions are marked with their size.

use std::borrow::Cow;
use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar as _;

/// The maximum size of one text in a report, in bytes.
pub const LIMIT: usize = 64 << 10;

/// The maximum size of a text on a single line, in bytes.
pub const LINE_LIMIT: usize = 4 << 10;

/// The text with every control character except tab and line feed made visible; `\r\n` is a line end.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unfit) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\r' if rest.peek() == Some(&'\n') => {}
            '\u{7f}' => out.push('␡'),
            c if c < ' ' && is_unfit(c) => {
                out.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            c if is_unfit(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Whether XML forbids the character, or a terminal interprets it.
fn is_unfit(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t') || matches!(c, '\u{fffe}' | '\u{ffff}')
}

/// The text on a single line: each white-space character becomes one blank; at most [`LINE_LIMIT`] bytes.
#[must_use]
pub fn one_line(text: &str) -> String {
    visible(&cut(text.trim_end(), LINE_LIMIT)).replace(['\n', '\t'], " ")
}

/// At most about `limit` bytes of the text: its head and its tail, with a note of the omitted size between them.
#[must_use]
pub fn cut(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit {
        return Cow::Borrowed(text);
    }
    let mut head = limit / 2;
    while !text.is_char_boundary(head) {
        head -= 1;
    }
    let mut tail = text.len() - limit / 2;
    while !text.is_char_boundary(tail) {
        tail += 1;
    }
    Cow::Owned(format!("{}\n[… {} bytes omitted …]\n{}", &text[..head], tail - head, &text[tail..]))
}

/// The text for a `CDATA` section: sanitized, cut to [`LIMIT`], with `]]>` made safe.
///
/// A `]]>` is split over two sections, so that a parser returns the original text.
#[must_use]
pub fn cdata(text: &str) -> String {
    cdata_of(text, LIMIT)
}

/// The same with another limit.
#[must_use]
pub fn cdata_of(text: &str, limit: usize) -> String {
    visible(&cut(text, limit)).replace("]]>", "]]]]><![CDATA[>")
}

/// The text cut to this many terminal columns, with `…` if it was cut.
#[must_use]
pub fn fit(text: &str, columns: usize) -> Cow<'_, str> {
    let mut used = 0;
    let mut fits_with_dots = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > columns {
            let dots = if columns == 0 { "" } else { "…" };
            return Cow::Owned(format!("{}{dots}", &text[..fits_with_dots]));
        }
        if used < columns {
            fits_with_dots = at + c.len_utf8();
        }
    }
    Cow::Borrowed(text)
}

/// The width of the text in terminal columns.
#[must_use]
pub fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// The text with every line indented by `by`.
#[must_use]
pub fn indent(text: &str, by: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("{by}{line}").trim_end().to_owned()).collect();
    lines.join("\n")
}

/// The path of an address: percent-encoded, with its slashes.
#[must_use]
pub fn encoded(path: &[u8]) -> String {
    let byte = |byte: &u8| match byte {
        b'/' | b'-' | b'.' | b'_' | b'~' => char::from(*byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(*byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    path.iter().map(byte).collect()
}

/// Seconds for people: `1.42s`, `1m32s`, `1h02m03s`.
#[must_use]
pub fn seconds(seconds: f64) -> String {
    if seconds < 59.995 {
        return format!("{:.2}s", seconds.max(0.0));
    }
    let whole = std::time::Duration::try_from_secs_f64(seconds.round()).map_or(0, |span| span.as_secs());
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, minutes, seconds) => format!("{minutes}m{seconds:02}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes:02}m{seconds:02}s"),
    }
}

/// A value with its unit for people: three significant digits, milliseconds for short times.
#[must_use]
pub fn value(value: f64, unit: &str) -> String {
    let (value, unit) = match unit {
        "s" if value.abs() < 1.0 => (value * 1e3, "ms"),
        unit => (value, unit),
    };
    let decimals = match value.abs() {
        _ if value.fract() == 0.0 => 0,
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$} {unit}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn control_characters_are_made_visible_and_other_text_is_unchanged() {
        assert_eq!(visible("\u{1b}[31mred\0\u{7f}"), "␛[31mred␀␡");
        assert_eq!(visible("one\r\ntwo\rthree\n\tfour"), "one\ntwo␍three\n\tfour");
        assert_eq!(visible("\u{9b}1m \u{ffff}"), "\\u{9b}1m \\u{ffff}");
        assert!(matches!(visible("naïve 🦀 <&>"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_long_text_keeps_its_start_and_end_and_the_number_of_omitted_bytes() {
        assert_eq!(cut("0123456789", 4), "01\n[… 6 bytes omitted …]\n89");
        assert_eq!(cut("0123", 4), "0123");
        assert_eq!(cut("ééééé", 6), "é\n[… 6 bytes omitted …]\né");
    }

    #[test]
    fn line_breaks_are_replaced() {
        assert_eq!(one_line("a\n\tb\r\nc\n"), "a  b c");
    }

    #[test]
    fn the_end_of_a_cdata_section_is_split_over_two() {
        assert_eq!(cdata("a]]>b"), "a]]]]><![CDATA[>b");
    }

    #[test]
    fn a_text_is_truncated_by_its_display_width() {
        assert_eq!(fit("abcdef", 6), "abcdef");
        assert_eq!(fit("abcdef", 5), "abcd…");
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("日本語", 4), "日…");
        assert_eq!(fit("abc", 1), "…");
        assert_eq!(fit("abc", 0), "");
    }

    #[test]
    fn seconds_are_written_in_a_readable_form() {
        let written = [0.0, 1.424, 59.99, 59.999, 92.4, 3723.0].map(seconds);
        assert_eq!(written, ["0.00s", "1.42s", "59.99s", "1m00s", "1m32s", "1h02m03s"]);
        assert_eq!(seconds(f64::NAN), "0m00s");
    }

    #[test]
    fn a_value_is_written_with_its_significant_digits() {
        let written = [(0.0123, "s"), (0.5, "s"), (1.5, "s"), (123.4, "s"), (7.0, ""), (0.0, "s")]
            .map(|(number, unit)| value(number, unit));
        assert_eq!(written, ["12.3 ms", "500 ms", "1.50 s", "123 s", "7", "0 ms"]);
        assert_eq!(value(f64::NAN, "s"), "NaN s");
    }

    proptest! {
        #[test]
        fn a_truncated_text_never_exceeds_the_width(text in any::<String>(), columns in 0usize..40) {
            prop_assert!(width(&fit(&text, columns)) <= columns);
        }

        #[test]
        fn a_shortened_text_is_never_much_longer_than_its_limit(text in any::<String>(), limit in 0usize..40) {
            prop_assert!(cut(&text, limit).len() <= limit.max(1) + 64);
        }
    }
}
