//! Any text as a scenario, with two more that it may extend and use; see `check_texts` for what must hold.

#![no_main]

#[path = "../../tests/support/loading.rs"]
mod loading;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let texts: Vec<&str> = text.splitn(3, "%%%\n").collect();
    loading::check_texts(&texts);
});
