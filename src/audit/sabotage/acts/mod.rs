//! What several sabotages share: where they make sense, and how they change messages.

mod commands;
mod events;
mod memory;
mod others;
mod replies;
mod settings;

pub(super) use commands::{
    acknowledged, command_hint, command_sites, is_block, is_change, is_other, late_sites, twice_sites,
};
pub(super) use events::{event_hint, event_sites, event_sites_with, is_meant, is_telling, order_sites};
pub(super) use memory::{
    MEMORY_HINT, device_sites, overwrite, page_sites, page_words, video_sites, witness_sites,
};
pub(super) use others::{
    awaited_sites, client_sites, line_sites, link_sites, open, repeated_hint, repeated_sites, stop_sites,
    timed_sites,
};
pub(super) use replies::{all_reply_sites, changed, field_sites, query_hint, reply_sites, timed_field_sites};
pub(super) use settings::{
    capability_hint, capability_sites, parameter_hint, parameter_sites, with_capability, with_parameter,
    without_capability, without_parameter,
};
