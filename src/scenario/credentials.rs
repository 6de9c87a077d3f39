//! The TLS credentials of a case.

use std::collections::BTreeMap;

use super::names::CREDENTIAL;
use super::typed::{self, Reader};
use crate::diagnostic::Code;
use crate::qemu::credential::Credential;
use crate::yaml::Node;

/// Reads the `credentials` of a scenario; reports and skips invalid ones.
pub(super) fn read(root: &Node, reader: &mut Reader<'_, '_>) -> BTreeMap<String, Credential> {
    let mut credentials = BTreeMap::new();
    for (key, node) in root.section("credentials") {
        if !CREDENTIAL.check(key, reader.diagnostics) {
            continue;
        }
        if !node.is_map() {
            let message = format!("a credential is a map, not {}", node.what());
            let help = "write `{psk: {}}` or `{x509: {server: {cn: NAME}}}`";
            reader.error(Code::WrongValue, &node.at, message, help);
            continue;
        }
        let Some(credential) = reader.read::<Credential>(&key.at, node) else {
            continue;
        };
        if let Err((path, message, help)) = credential.check() {
            let at = typed::place(&key.at, node, &path).0;
            reader.error(Code::WrongValue, &at, message, help);
        }
        credentials.insert(key.name.clone(), credential);
    }
    credentials
}
