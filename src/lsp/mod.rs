//! A language server for scenario files: what `lockstep check` finds, while one types, and the reference of the language.
//!
//! `server.rs` keeps the open texts and answers the editor. One other thread (`check.rs`) loads an open file with the same
//! code as `lockstep check`; the server gives it one file at a time, always with the newest texts, and drops a result if one
//! of its texts has changed meanwhile. Completion needs no valid file: `outline.rs` finds the path of keys of the cursor in
//! any text, `keys.rs` looks it up in the JSON Schema, and `names.rs` knows which values are names, and of what.

mod check;
mod completion;
mod definition;
mod hover;
mod keys;
mod names;
mod outline;
mod place;
mod qemu_names;
mod server;
mod symbols;
mod view;

pub use server::serve;
