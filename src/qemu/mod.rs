//! QEMU: a VM's specification, its command line, its process, its monitor.

mod accel;
pub mod access;
pub mod agent;
pub mod argv;
pub mod binary;
pub mod contains;
pub mod credential;
pub mod disk;
pub mod health;
pub mod hmp;
pub mod image;
pub mod kvm;
pub mod kvm_trial;
pub mod linux;
pub mod network;
pub mod process;
pub mod qmp;
pub mod qmp_input;
pub mod qtest;
pub(crate) mod read;
pub mod releases;
mod scalar;
pub mod schema;
mod schema_check;
pub mod spec;
