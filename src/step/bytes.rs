//! Bytes in a scenario.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Complaints, Rule};

/// The maximum number of bytes.
const LONGEST: usize = 16 << 20;

/// Bytes: a text, hexadecimal digits, or a number; exactly one of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bytes {
    /// A text, in UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Hexadecimal digits, two for each byte; spaces between the bytes are allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hex: Option<String>,
    /// A number of 32 bits, big endian, as in QEMU's migration stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub u32: Option<u32>,
    /// How many times they are repeated. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<usize>,
}

impl Bytes {
    pub(crate) const RULES: &[Rule] = &[Rule::ExactlyOne {
        keys: &["text", "hex", "u32"],
        none: ("no bytes given", "write `{text: QEVM}`, `{hex: \"51 45\"}` or `{u32: 0x5145564d}`"),
        both: "keep one",
    }];

    /// The bytes themselves.
    ///
    /// # Errors
    /// The key at fault and the message.
    pub fn bytes(&self) -> Result<Vec<u8>, (&'static str, String)> {
        let one = match (&self.text, &self.hex, self.u32) {
            (Some(text), None, None) => text.clone().into_bytes(),
            (None, Some(hex), None) => digits(hex).map_err(|why| ("hex", why))?,
            (None, None, Some(number)) => number.to_be_bytes().to_vec(),
            _ => return Err(("", "bytes are exactly one of `text`, `hex` and `u32`".to_owned())),
        };
        if one.is_empty() {
            return Err(("", "no bytes given".to_owned()));
        }
        match self.times.unwrap_or(1) {
            0 => Err(("times", "`times` must not be 0".to_owned())),
            times if one.len().saturating_mul(times) > LONGEST => {
                Err(("times", format!("more than {} MiB of bytes", LONGEST >> 20)))
            }
            times => Ok(one.repeat(times)),
        }
    }

    pub(super) fn check(&self, path: &[&str], complaints: &mut Complaints) {
        let before = complaints.0.len();
        complaints.rules_at(path, Self::RULES, self);
        if let Err((key, message)) = self.bytes()
            && complaints.0.len() == before
        {
            let keys = [path, if key.is_empty() { &[] } else { std::slice::from_ref(&key) }].concat();
            complaints.add(&keys, message, "write `{text: QEVM}`, `{hex: \"51 45\"}` or `{u32: 0x5145564d}`");
        }
    }
}

fn digits(hex: &str) -> Result<Vec<u8>, String> {
    let digits: String = hex.split_whitespace().collect();
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
        pair.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u8::from_str_radix(pair, 16).ok())?
    };
    let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
    bytes.ok_or_else(|| format!("`{hex}` is not valid hexadecimal: two digits for each byte"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bytes(value: serde_json::Value) -> Result<Vec<u8>, (&'static str, String)> {
        serde_json::from_value::<Bytes>(value).unwrap().bytes()
    }

    #[test]
    fn bytes_are_a_text_digits_or_a_number() {
        assert_eq!(bytes(json!({"text": "ab", "times": 2})).unwrap(), b"abab");
        assert_eq!(bytes(json!({"hex": "08 fF"})).unwrap(), [8, 255]);
        assert_eq!(bytes(json!({"u32": 0x5145_564d})).unwrap(), b"QEVM");
    }

    #[test]
    fn an_error_in_bytes_names_the_invalid_key() {
        assert_eq!(bytes(json!({"hex": "0"})).unwrap_err().0, "hex");
        assert_eq!(bytes(json!({"hex": "+1"})).unwrap_err().0, "hex");
        assert_eq!(bytes(json!({"text": "a", "hex": "00"})).unwrap_err().0, "");
        assert_eq!(bytes(json!({"text": ""})).unwrap_err().0, "");
        assert_eq!(bytes(json!({"text": "a", "times": 99_999_999})).unwrap_err().0, "times");
    }
}
