//! The reports of a run, each a subscriber of the event stream.

pub mod compare;
mod console;
mod dispatch;
mod durations;
mod earlier;
mod file;
mod fold;
mod github;
pub mod history;
pub mod html;
mod jsonl;
mod junit;
mod live;
mod log;
pub mod merge;
mod overview;
mod perfetto;
pub mod races;
mod record;
mod resume;
pub mod rounds;
#[cfg(test)]
mod sample;
mod serve;
mod signature;
pub mod stats;
mod summary;
pub mod text;
pub(crate) mod trace;

pub use console::{Console, Settings};
pub use dispatch::{Reports, Summary, feed, resume, run};
pub use durations::{Durations, DurationsFile, file_name};
pub use earlier::remove_artifacts;
pub use fold::Fold;
pub use github::Github;
pub use html::Html;
pub use jsonl::{JsonLines, ReadError, Reader, read};
pub use junit::Junit;
pub use perfetto::Perfetto;
pub use record::{Case, Counts, Kept, Metric, Step};
pub use resume::Earlier;
pub use serve::Serve;
pub use signature::signature;
pub use summary::Markdown;
