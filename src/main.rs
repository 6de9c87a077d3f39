//! The `lockstep` command.

fn main() -> std::process::ExitCode {
    lockstep_vm::cli::main()
}
