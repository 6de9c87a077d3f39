//! Durations and sizes in scenarios: `300ms`, `5s`, `2m`; `4K`, `150M`, `1G`.

mod byte_count;
mod lists;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// Gives a type that is read by hand its JSON Schema.
macro_rules! has_schema {
    ($type:ident, $schema:tt) => {
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}

pub(crate) use has_schema;

pub use byte_count::ByteCount;
pub use lists::{AnyNumber, OneOrMany};

/// A duration: a number with a unit (`300ms`, `5s`, `2m`, `1h`, `1m30s`).
///
/// A bare number is rejected, because it could mean seconds or milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span(pub Duration);

impl Span {
    /// A span of whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

/// Deserializes a value that is written as a text; `expecting` says what it is.
pub(crate) fn from_text<'de, D, T>(deserializer: D, expecting: &'static str) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err = String>,
{
    struct Text<T>(&'static str, std::marker::PhantomData<T>);
    impl<T: std::str::FromStr<Err = String>> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }
    deserializer.deserialize_any(Text(expecting, std::marker::PhantomData))
}

/// A measured duration, for messages: `250 ms`, `3.0 s`, `92.5 s`.
#[must_use]
pub fn elapsed(duration: Duration) -> String {
    match duration.as_millis() {
        millis @ ..1000 => format!("{millis} ms"),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", humantime::format_duration(self.0))
    }
}

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text.trim()).map(Span).map_err(|error| {
            let why = match error {
                humantime::DurationError::UnknownUnit { unit, .. } if !unit.is_empty() => {
                    format!(": unknown unit `{unit}`")
                }
                humantime::DurationError::NumberOverflow => ": it is too long".to_owned(),
                _ => String::new(),
            };
            format!("`{text}` is not a valid duration{why}; write a number with a unit, such as `300ms`, `5s` or `2m`")
        })
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a duration with its unit, such as `300ms`, `5s` or `2m`")
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^\s*(0|([0-9]+\s*[A-Za-zµ]+\s*)+)$|\{\{",
            "patternErrorMessage": "A duration is a number with its unit, such as `300ms`, `5s` or `2m`.",
            "description": "A number with a unit: `300ms`, `5s`, `2m`, `1m30s`.",
        })
    }
}

/// A size: `4K`, `150M`, `1G` (powers of 1024, as QEMU has them), `100B`, or `0`.
///
/// In a file another number without a unit is rejected, because it could mean bytes or mebibytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// A size of whole mebibytes.
    #[must_use]
    pub const fn mib(mebibytes: u64) -> Self {
        Self(mebibytes << 20)
    }

    /// The message for this number of bytes, written without a unit.
    fn without_unit(self) -> String {
        let size = match self.to_string() {
            number if is_number(&number) => format!("`{number}M`, or `{number}B` for bytes"),
            size => format!("`{size}`"),
        };
        format!("`{}` is a size without a unit; write {size}", self.0)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
        for (shift, unit) in units {
            if self.0 != 0 && self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit())
}

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            // `64MB` and `64MiB`: QEMU's units are powers of 1024.
            let upper = text.trim().to_ascii_uppercase();
            let short = upper.strip_suffix("IB").or_else(|| upper.strip_suffix('B'));
            let is_size = |short: &&str| short.strip_suffix(['K', 'M', 'G', 'T']).is_some_and(is_number);
            let short = short.filter(is_size);
            if let Some(short) = short {
                return format!("`{text}` is not a valid size; write `{short}`, in powers of 1024");
            }
            format!(
                "`{text}` is not a valid size; write a whole number with K, M, G or T, such as `4K` or `150M`, or bytes"
            )
        };
        let trimmed = text.trim();
        if let Some(digits) = trimmed.strip_prefix("0x") {
            // `from_str_radix` would also accept a sign.
            let valid = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            return u64::from_str_radix(digits, 16).ok().filter(|_| valid).map(Size).ok_or_else(wrong);
        }
        let (digits, shift) = match trimmed.char_indices().last() {
            Some((at, unit)) if unit.is_ascii_alphabetic() => {
                let shift = match unit.to_ascii_uppercase() {
                    'B' => 0,
                    'K' => 10,
                    'M' => 20,
                    'G' => 30,
                    'T' => 40,
                    _ => return Err(wrong()),
                };
                (&trimmed[..at], shift)
            }
            _ => (trimmed, 0),
        };
        let number: u64 = digits.trim_end().parse().map_err(|_| wrong())?;
        number.checked_mul(1 << shift).map(Size).ok_or_else(wrong)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.to_string() {
            bytes if self.0 != 0 && is_number(&bytes) => serializer.serialize_str(&format!("{bytes}B")),
            size => serializer.serialize_str(&size),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizeVisitor;
        impl Visitor<'_> for SizeVisitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as `4K`, `150M` or `1G`")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Size, E> {
                match Size(number) {
                    Size(0) => Ok(Size(0)),
                    size => Err(E::custom(size.without_unit())),
                }
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Size, E> {
                let number = u64::try_from(number).map_err(|_| E::custom("a size cannot be negative"))?;
                self.visit_u64(number)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                let size: Size = text.parse().map_err(E::custom)?;
                let digits = text.trim().trim_start_matches('+');
                if is_number(digits) || digits.starts_with("0x") { self.visit_u64(size.0) } else { Ok(size) }
            }
        }
        deserializer.deserialize_any(SizeVisitor)
    }
}

has_schema!(Size, {
    "type": ["string", "integer"],
    "minimum": 0,
    "maximum": 0,
    "pattern": r"^\s*(\+?[0-9]+\s*[BKMGTbkmgt]|\+?0+|0x0+)\s*$|\{\{",
    "patternErrorMessage": "A size is a whole number with its unit K, M, G or T, such as `4K` or `150M`.",
    "description": "A size: `4K`, `150M`, `1G` (powers of 1024), or `0`.",
});

/// A percentage (`5%`, `2.5%`), in hundredths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u16);

impl Share {
    /// A whole percentage.
    #[must_use]
    pub const fn percent(percent: u8) -> Self {
        Self(percent as u16 * 100)
    }

    /// The percentage as a fraction of 1.
    #[must_use]
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 100.0)
    }
}

impl std::str::FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not a percentage; write a number of percent, such as `5%` or `2.5%`");
        let number = text.trim().strip_suffix('%').ok_or_else(wrong)?.trim_end();
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 2 {
            return Err(wrong());
        }
        let hundredths: u16 = format!("{part:0<2}").parse().map_err(|_| wrong())?;
        let whole: u16 = whole.parse().ok().filter(|whole| *whole <= 100).ok_or_else(wrong)?;
        Some(whole * 100 + hundredths).filter(|share| *share <= 10_000).map(Self).ok_or_else(wrong)
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a number of percent, such as `5%`")
    }
}

has_schema!(Share, {
    "type": "string",
    "pattern": r"^\s*[0-9]+(\.[0-9]{1,2})?\s*%\s*$|\{\{",
    "patternErrorMessage": "A share is a number of percent, such as `5%` or `2.5%`.",
    "description": "A number of percent: `5%`, `2.5%`.",
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_in_powers_of_1024_and_printed_the_same_way() {
        for (text, bytes) in [
            ("4K", 4096),
            ("150M", 150 << 20),
            ("1g", 1 << 30),
            ("512", 512),
            ("0", 0),
            ("0x1F000", 0x1_F000),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        assert_eq!(Size::mib(150).to_string(), "150M");
        assert_eq!(Size(1000).to_string(), "1000");
        for size in [Size(0), Size(1000), Size(4096)] {
            assert_eq!(serde_json::from_value::<Size>(serde_json::json!(size)).unwrap(), size);
        }
    }

    #[test]
    fn a_size_in_a_file_needs_its_unit_but_a_number_of_bytes_does_not() {
        let size = |json: &str| serde_json::from_str::<Size>(json).map_err(|error| error.to_string());
        assert_eq!(
            (size("0"), size("\"0\""), size("\"64M\"")),
            (Ok(Size(0)), Ok(Size(0)), Ok(Size::mib(64)))
        );
        for text in ["64", "\"64\"", "\"+64\""] {
            assert!(size(text).unwrap_err().contains("write `64M`, or `64B` for bytes"), "{text}");
        }
        for text in ["67108864", "\"0x4000000\""] {
            assert!(
                size(text).unwrap_err().contains("`67108864` is a size without a unit; write `64M`"),
                "{text}"
            );
        }
        let bytes = |json: &str| serde_json::from_str::<ByteCount>(json).unwrap().0;
        assert_eq!(
            (bytes("4096"), bytes("\"4096\""), bytes("\"0x1000\""), bytes("\"4K\"")),
            (4096, 4096, 4096, 4096)
        );
    }

    #[test]
    fn an_invalid_size_is_an_error_with_an_example() {
        for text in
            ["", "M", "-1M", "1.5G", "4X", "99999999999T", "0x", "0x+1", "0x1K", "0x10000000000000000"]
        {
            let message = text.parse::<Size>().unwrap_err();
            assert!(message.contains("such as"), "{text}: {message}");
        }
    }

    #[test]
    fn a_duration_needs_its_unit() {
        assert_eq!("300ms".parse(), Ok(Span(Duration::from_millis(300))));
        assert_eq!("1m30s".parse(), Ok(Span::from_secs(90)));
        assert!("30".parse::<Span>().unwrap_err().contains("unit"));
        assert!(serde_json::from_str::<Span>("30").unwrap_err().to_string().contains("unit"));
    }

    #[test]
    fn a_share_is_a_percentage() {
        for (text, fraction, printed) in [("5%", 0.05, "5%"), ("2.5 %", 0.025, "2.5%"), ("100%", 1.0, "100%")]
        {
            let share: Share = text.parse().unwrap();
            assert!((share.fraction() - fraction).abs() < 1e-9, "{text}");
            assert_eq!(share.to_string(), printed);
        }
        for text in ["5", "0.05", "-1%", "101%", "100.01%", "1.234%", "%", "5.%", "99999%", "5%%"] {
            assert!(text.parse::<Share>().unwrap_err().contains("such as `5%`"), "{text}");
        }
    }

    #[test]
    fn one_or_many_takes_both_and_refuses_an_empty_list() {
        assert_eq!(serde_json::from_str::<OneOrMany<String>>("\"a\"").unwrap().0, ["a"]);
        assert_eq!(serde_json::from_str::<OneOrMany<String>>("[\"a\",\"b\"]").unwrap().0, ["a", "b"]);
        assert!(serde_json::from_str::<OneOrMany<String>>("[]").is_err());
    }
}
