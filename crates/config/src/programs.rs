//! Whether the programs are there. Apart from the plan, because a plan is made without touching the disk.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::source::Spot;
use crate::{Diagnostic, Plan, Service, Severity};

/// Permission to run, for anybody.
const MODE_RUN: u32 = 0o111;

enum Program {
    Fine,
    Missing,
    Folder,
    NotExecutable,
}

fn look(path: &Path) -> Program {
    match path.metadata() {
        Err(_) => Program::Missing,
        Ok(meta) if meta.is_dir() => Program::Folder,
        Ok(meta) if meta.permissions().mode() & MODE_RUN == 0 => Program::NotExecutable,
        Ok(_) => Program::Fine,
    }
}

fn find(service: &Service) -> Program {
    let program = &service.command[0];
    if program.contains('/') {
        return look(Path::new(program));
    }
    // The service's own PATH, if it has one, is what the child will search.
    let path = service.env.get("PATH").map(Into::into).or_else(|| std::env::var_os("PATH")).unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| matches!(look(&dir.join(program)), Program::Fine));
    if found { Program::Fine } else { Program::Missing }
}

impl Plan {
    /// Services whose program or folder is not there or cannot be used, as errors that point into the file.
    pub fn missing_programs(&self) -> Vec<Diagnostic> {
        let file = &self.origin.0;
        let spot = |service: &Service, key: &str| {
            let services = file.root.get("services").map(|(_, node)| node);
            let written = services.and_then(|node| node.get(service.name.as_str())).map(|(_, node)| node);
            written.and_then(|node| node.get(key)).map_or(Spot::default(), |(_, node)| node.spot)
        };
        let mut found = Vec::new();
        for service in &self.services {
            let program = &service.command[0];
            let (message, fix) = match find(service) {
                Program::Fine => (None, String::new()),
                Program::Missing if program.contains('/') => (
                    Some(format!("there is no program `{program}`")),
                    "build it first, or correct the path: it is seen from the file's folder".to_owned(),
                ),
                Program::Missing => (
                    Some(format!("there is no program `{program}` in $PATH")),
                    format!("write `./{program}` if it stands beside the file, or install it"),
                ),
                Program::Folder => (Some(format!("`{program}` is a folder")), "name the program in it".to_owned()),
                Program::NotExecutable => (Some(format!("`{program}` may not be run")), format!("chmod +x {program}")),
            };
            if let Some(message) = message {
                found.push(file.source.diagnostic(Severity::Error, spot(service, "run"), message, Some(fix)));
            }
            if !service.dir.is_dir() {
                let message = format!("there is no folder `{}`", service.dir.display());
                let fix = Some("make it, or correct `dir`: it is seen from the file's folder".to_owned());
                found.push(file.source.diagnostic(Severity::Error, spot(service, "dir"), message, fix));
            }
        }
        found
    }
}
