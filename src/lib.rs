//! Lockstep: a declarative scenario runner for QEMU fault tolerance (COLO) and migration.
//!
//! A scenario is a YAML file: VM options, capabilities, hooks, waits and failover actions as ordered steps. Lockstep
//! expands its parameter matrix, spawns real QEMUs, drives them over QMP, and writes JUnit XML. The rooms, from the
//! top: `runner` turns cases into verdicts, [`scenario`] turns files into cases, [`step`] holds the actions,
//! `session` what one case has alive, [`qemu`] and `guest` what a VM is.

pub mod cli;
pub mod diagnostic;
pub mod docs;
pub mod event;
pub mod guest;
pub mod qemu;
pub mod random;
pub mod report;
pub mod runner;
pub mod scenario;
pub mod session;
pub mod step;
pub mod template;
pub mod units;
