//! The TLS credentials of a case.

use std::collections::BTreeMap;

use super::{net, typed};
use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::qemu::credential::Credential;
use crate::template::Scope;
use crate::yaml::{Key, Kind, Node};

/// Reads the `credentials` of a scenario; reports and skips invalid ones.
pub(super) fn read(
    section: Option<&(Key, Node)>,
    scope: &Scope<'_>,
    diagnostics: &mut Diagnostics,
) -> BTreeMap<String, Credential> {
    let mut credentials = BTreeMap::new();
    for (key, node) in section.map(|(_, node)| node.entries()).unwrap_or_default() {
        if !net::check_name(key, "credential", diagnostics) {
            continue;
        }
        if !matches!(node.kind, Kind::Map(_)) {
            let message = format!("a credential is a map, not {}", node.what());
            let help = "write `{psk: {}}` or `{x509: {server: {cn: NAME}}}`";
            diagnostics.push(Diagnostic::error(Code::WrongValue, &node.at, message).help(help));
            continue;
        }
        let Some(credential) = typed::read::<Credential>(&key.at, node, scope, diagnostics) else {
            continue;
        };
        if let Err((path, message, help)) = credential.check() {
            let path: Vec<String> = path.into_iter().map(str::to_owned).collect();
            let at = typed::place(&key.at, node, &path).0;
            diagnostics.push(Diagnostic::error(Code::WrongValue, &at, message).help(help));
        }
        credentials.insert(key.name.clone(), credential);
    }
    credentials
}
