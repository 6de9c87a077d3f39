//! What is kept of a case for whoever looks into its failure.

use std::io;
use std::path::Path;

use super::state::Session;

/// In the case's folder: what each `exec` has written that has ended.
pub const EXECS: &str = ".lockstep-exec.log";

/// Copies what the session has in its folder (QMP transcripts, serial output, standard errors, guest images), and
/// writes the command lines, the resolved scenario and what host processes wrote, into a folder of the reports. What lies there of an earlier run is
/// replaced; folders in it are other cases', whose names begin with this one's.
///
/// # Errors
/// When something cannot be written.
pub fn keep(session: &Session, scenario: &str, folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            std::fs::remove_file(entry.path())?;
        }
    }
    std::fs::write(folder.join("scenario.yaml"), scenario)?;
    for (name, machine) in &session.machines {
        machine.catch_up();
        std::fs::write(folder.join(format!("{name}.command.sh")), machine.command_lines())?;
        for kind in ["qmp.jsonl", "serial.log", "stderr.log", "ticker.img"] {
            let file = format!("{name}.{kind}");
            match std::fs::copy(session.directory().join(&file), folder.join(&file)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    let mut execs = match std::fs::read(session.directory().join(EXECS)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        read => read.unwrap_or_default(),
    };
    for (name, process) in &session.background {
        execs.extend(process.record(&format!("exec {name} in the background")).into_bytes());
    }
    if !execs.is_empty() {
        std::fs::write(folder.join("exec.log"), execs)?;
    }
    Ok(())
}
