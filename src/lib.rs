//! Lockstep: a declarative scenario runner for QEMU fault tolerance (COLO) and migration.
//!
//! A scenario is a YAML file: VM options, capabilities, hooks, waits and failover actions as ordered steps. Lockstep
//! expands its parameter matrix, starts real QEMUs, drives them over QMP, and writes JUnit XML. The modules, from the
//! top: `runner` runs cases and determines their verdicts, [`scenario`] loads files into cases, [`step`] has the
//! actions, `session` owns the live resources of one case, [`qemu`] and `guest` describe a VM.

pub mod audit;
pub mod cause;
pub mod cli;
pub mod diagnostic;
pub mod docs;
pub mod event;
pub mod guest;
pub mod lsp;
pub mod qemu;
pub mod random;
pub mod report;
pub mod repository;
pub mod runner;
pub mod scenario;
pub mod schema;
pub mod session;
pub mod shard;
pub mod step;
pub mod template;
pub mod units;
pub mod yaml;
