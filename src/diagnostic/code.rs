//! The stable error codes.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $number:literal,)*) => {
        /// The kind of a mistake. Its code is stable, so that it can be searched for and referenced.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[doc = $doc])* $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The code as printed, such as `LS010`.
            #[must_use]
            pub const fn number(self) -> &'static str {
                match self { $(Self::$name => $number,)* }
            }

            /// A one-sentence description.
            #[must_use]
            pub const fn summary(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*).trim_ascii(),)* }
            }
        }
    };
}

codes! {
    /// A file cannot be read: missing, a directory, no permission, not UTF-8.
    Unreadable = "LS001",
    /// A file is not valid YAML; or, for `lockstep.toml`, TOML.
    Syntax = "LS002",
    /// A map has a duplicate key.
    DuplicateKey = "LS003",
    /// A `{{…}}` without quotes, which YAML parses as a map.
    Unquoted = "LS004",
    /// A file without a document, or with several.
    NotOneDocument = "LS005",
    /// Too large, too deep, too many cases or steps.
    TooMuch = "LS006",
    /// A key that is unknown in this place.
    UnknownKey = "LS010",
    /// A required key is missing.
    MissingKey = "LS011",
    /// A value of the wrong type, or one that is not allowed.
    WrongValue = "LS012",
    /// A template that cannot be parsed or rendered.
    Template = "LS013",
    /// An unknown name in a template.
    UnknownName = "LS014",
    /// A template whose value is only known when its step runs, in a place where that is too late.
    Deferred = "LS015",
    /// An invalid regular expression.
    Regex = "LS016",
    /// `extends` names a missing file, or is circular.
    Extends = "LS020",
    /// A parameter is missing, unknown, or has a value that is not allowed.
    Param = "LS021",
    /// A matrix that yields no cases, or whose cells are invalid.
    Matrix = "LS022",
    /// A case without a usable name, or two cases with the same name.
    CaseName = "LS023",
    /// A hook that is not placed, or does not exist.
    Hook = "LS024",
    /// `like` names a missing VM, or is circular.
    Like = "LS025",
    /// `use` names a missing file, or is circular.
    Use = "LS026",
    /// A step without an action, with two, or with an unknown one.
    Step = "LS030",
    /// An action that cannot work, such as one that names an unknown VM.
    Action = "LS031",
    /// A step that cannot work in this place: what it needs does not exist yet, or no longer.
    Order = "LS032",
    /// Something that is declared but never used.
    Unused = "LS033",
    /// A VM that takes over a guest but does not have its disk.
    OwnDisk = "LS034",
    /// An item of `args` that QEMU does not accept.
    RawArgument = "LS035",
    /// Something that the QEMU does not have: a command, an event, a capability, a machine type.
    Missing = "LS050",
    /// Arguments that do not match QEMU's own description of them.
    Arguments = "LS051",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.number())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_codes_share_a_number() {
        let mut numbers: Vec<_> = Code::ALL.iter().map(|code| code.number()).collect();
        numbers.dedup();
        assert_eq!(numbers.len(), Code::ALL.len());
        assert!(numbers.is_sorted());
    }
}
