//! The stable numbers of the mistakes.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $number:literal,)*) => {
        /// The kind of a mistake. Its number is stable: it may be searched for, and written about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[doc = $doc])* $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The number as it is printed, such as `LS010`.
            #[must_use]
            pub const fn number(self) -> &'static str {
                match self { $(Self::$name => $number,)* }
            }

            /// What it is, in one sentence.
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
    /// A file is no YAML.
    Syntax = "LS002",
    /// A map has a key twice.
    DuplicateKey = "LS003",
    /// A `{{…}}` without quotes, which YAML takes for a map.
    Unquoted = "LS004",
    /// A file without a document, or with several.
    NotOneDocument = "LS005",
    /// Too large, too deep, too many cases or steps.
    TooMuch = "LS006",
    /// A key that is not known where it stands.
    UnknownKey = "LS010",
    /// A key that must be given is missing.
    MissingKey = "LS011",
    /// A value of the wrong type, or one that is not allowed.
    WrongValue = "LS012",
    /// A template that cannot be read or rendered.
    Template = "LS013",
    /// A name in a template that stands for nothing.
    UnknownName = "LS014",
    /// A template that is only known when its step runs, where that is too late.
    Late = "LS015",
    /// A regular expression that cannot be read.
    Regex = "LS016",
    /// `extends` leads nowhere, or in a circle.
    Extends = "LS020",
    /// A parameter is missing, unknown, or has a value it may not have.
    Param = "LS021",
    /// A matrix that gives no cases, or whose cells are wrong.
    Matrix = "LS022",
    /// A case without a usable name, or two cases of one name.
    CaseName = "LS023",
    /// A hook that is not placed, or not there.
    Hook = "LS024",
    /// `like` leads nowhere, or in a circle.
    Like = "LS025",
    /// `use` leads nowhere, or in a circle.
    Use = "LS026",
    /// A step without an action, with two, or with one that does not exist.
    Step = "LS030",
    /// An action that cannot work, such as one that names an unknown VM.
    Action = "LS031",
    /// A step that cannot work where it stands: what it needs is not there yet, or not any more.
    Order = "LS032",
    /// Something that is there and that nothing names.
    Unused = "LS033",
    /// A VM that takes over a guest and does not have its disk.
    OwnDisk = "LS034",
    /// An item of `args` that QEMU will not take.
    RawArgument = "LS035",
    /// Something that the QEMU at hand does not have: a command, an event, a capability, a machine type.
    Missing = "LS050",
    /// Arguments that do not fit the description QEMU gives of them.
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
