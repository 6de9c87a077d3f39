//! The rules by which a sabotage cannot matter at a site. What they leave out is counted.

use serde::{Deserialize, Serialize};

macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $rule:ident = $name:literal,)*) => {
        /// A rule by which a sabotage cannot matter.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Rule {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $rule,)*
        }

        impl Rule {
            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$rule => $name,)* }
            }

            /// Why a sabotage cannot matter there.
            #[must_use]
            pub const fn why(self) -> &'static str {
                match self { $(Self::$rule => concat!($($doc),+).trim_ascii_start(),)* }
            }
        }
    };
}

rules! {
    /// The step before must fail, so it has changed nothing.
    Refused = "refused",
    /// No step follows.
    NothingAfter = "nothing-after",
    /// The guest has moved to another VM.
    GuestLeft = "guest-left",
    /// The guest moves to another VM before a step looks for its output here.
    Leaves = "leaves",
    /// The guest runs on the destination of a postcopy, which may have the page already.
    Sent = "sent",
    /// A failover has given up this side of the pair.
    LostSide = "lost-side",
    /// The scenario only ends the VM from here on.
    Ends = "ends",
    /// The VM waits for a migration, which brings another state.
    Incoming = "incoming",
    /// The next checkpoint brings the primary's state.
    Checkpoint = "checkpoint",
    /// The guest has not said anything yet, so that it may still write everything.
    Booting = "booting",
    /// The guest was not given a number yet.
    NoNumber = "no-number",
    /// It is not known which pages the guest uses.
    UnknownPages = "unknown-pages",
    /// The case states no limit of time, so no delay is too long.
    Untimed = "untimed",
    /// The event or the line says nothing new the second time.
    Repeats = "repeats",
    /// The event tells of a state, for which the steps ask otherwise.
    Queried = "queried",
    /// The event comes again with the next checkpoint.
    Periodic = "periodic",
    /// A checkpoint, or the beginning of COLO, resumes the guest before a step looks.
    Resumed = "resumed",
    /// No step depends on the order of the two.
    Unordered = "unordered",
    /// No step depends on this event.
    Informative = "informative",
    /// The runner sends the command by itself, not for a step.
    Own = "own",
    /// The parameter only lifts a limit, so that the migration ends.
    Lifted = "lifted",
    /// Another setting has the same effect: the migration does not end by itself.
    Redundant = "redundant",
    /// It is so already.
    Unchanged = "unchanged",
    /// No migration of the VM gets so far that it uses the setting.
    Unused = "unused",
    /// The setting only refuses something, and nothing is refused.
    Permitted = "permitted",
    /// Another step asks for this part of the reply.
    Elsewhere = "elsewhere",
    /// The step asks again until it gets another reply.
    AsksAgain = "asks-again",
    /// A saved state is loaded later.
    Loaded = "loaded",
    /// A VM has the disk open to the end.
    InUse = "in-use",
    /// Nothing more passes.
    Idle = "idle",
}
