//! QEMU itself: what a VM is made of, its command line, its process, its monitor.

pub mod spec;
