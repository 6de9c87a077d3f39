//! The names that a scenario gives, and which characters they may have.

use crate::diagnostic::{Code, Diagnostics, Location};
use crate::yaml::Key;

/// A kind of name.
pub(super) struct Name {
    /// Its kind in messages, such as `link name`.
    what: &'static str,
    code: Code,
    /// Whether it may start with this character.
    first: fn(char) -> bool,
    /// The characters that it may have besides letters and digits.
    more: &'static [char],
    /// The maximum number of characters.
    longest: usize,
    help: &'static str,
}

const fn is_letter(first: char) -> bool {
    first.is_ascii_alphabetic() || first == '_'
}

/// A parameter, an axis or a loop's variable.
pub(super) const PARAM: Name = Name {
    what: "name",
    code: Code::Param,
    first: is_letter,
    more: &['_', '-'],
    longest: usize::MAX,
    help: "start with a letter; use letters, digits, `_` and `-`",
};

/// What a step captures.
pub(super) const CAPTURE: Name =
    Name { code: Code::WrongValue, help: "use letters, digits, `_` and `-`", ..PARAM };

/// A branch of `parallel`.
pub(super) const BRANCH: Name = Name { what: "branch name", ..CAPTURE };

/// Such a name is used in templates, and may be part of the name of a socket.
const fn of_socket(what: &'static str) -> Name {
    let help = "start with a letter; use letters, digits, `_` and `-`, at most 32 characters";
    Name { what, code: Code::WrongValue, longest: 32, help, ..PARAM }
}

pub(super) const PORT: Name = of_socket("port name");
pub(super) const LINK: Name = of_socket("link name");
pub(super) const NETWORK: Name = of_socket("network name");
pub(super) const CREDENTIAL: Name = of_socket("credential name");

/// A VM's name is also the name of its directory in the artifacts.
pub(super) const VM: Name = Name {
    what: "VM name",
    code: Code::WrongValue,
    first: |first| first.is_ascii_alphanumeric(),
    more: &['_', '-', '.'],
    longest: 64,
    help: "use letters, digits, `_`, `-` and `.`, at most 64 characters",
};

pub(super) const DISK: Name = Name {
    what: "disk name",
    first: |first| first.is_ascii_alphanumeric() || matches!(first, '_' | '-'),
    more: &['_', '-'],
    help: "use letters, digits, `_` and `-`, at most 64 characters",
    ..VM
};

impl Name {
    /// Checks a key; reports why it cannot be used.
    pub(super) fn check(&self, key: &Key, diagnostics: &mut Diagnostics) -> bool {
        self.check_text(&key.name, &key.at, diagnostics)
    }

    /// The same for a value.
    pub(super) fn check_text(&self, name: &str, at: &Location, diagnostics: &mut Diagnostics) -> bool {
        let usable = name.starts_with(self.first)
            && name.len() <= self.longest
            && name.chars().all(|c| c.is_ascii_alphanumeric() || self.more.contains(&c));
        if !usable {
            diagnostics.error(self.code, at, format!("`{name}` is not a valid {}", self.what), self.help);
        }
        usable
    }
}
