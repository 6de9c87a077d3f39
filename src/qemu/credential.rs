//! TLS credentials, generated for each case: certificates and their keys, pre-shared keys.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::OneOrMany;

/// A directory with TLS credentials, for the `dir` of QEMU's `tls-creds-x509` and `tls-creds-psk`: one of the two
/// kinds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// Certificates: a certificate authority's, and those of a server and a client signed by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x509: Option<X509>,
    /// A pre-shared key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub psk: Option<Psk>,
}

/// Certificates, X.509 version 3, with keys on the curve P-256.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct X509 {
    /// The name of the signing authority; credentials of one case with the same authority trust each other. Default:
    /// `ca`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The server's certificate. Default: none, and no key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Subject>,
    /// The client's certificate. Default: none, and no key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Subject>,
}

/// The subject of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// The common name. Default: none, so that the subject is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cn: Option<String>,
    /// DNS names (subject alternative names). Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<OneOrMany<String>>,
    /// IP addresses (subject alternative names). Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<OneOrMany<String>>,
}

/// A pre-shared key of 16 random bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Psk {
    /// The user of the key (`username` of `tls-creds-psk`). Default: `qemu`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The name of the key; credentials of one case with the same name share the key. Default: `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl Credential {
    /// Checks the credential.
    ///
    /// # Errors
    /// The path of the wrong key, what is wrong, and how to fix it.
    pub fn check(&self) -> Result<(), (Vec<&'static str>, String, &'static str)> {
        match (&self.x509, &self.psk) {
            (None, None) => {
                let help = "add `x509: {…}` or `psk: {}`";
                return Err((vec![], "the credential has no kind".to_owned(), help));
            }
            (Some(_), Some(_)) => {
                let help = "split it into two credentials";
                return Err((vec!["psk"], "a credential is `x509` or `psk`, not both".to_owned(), help));
            }
            _ => {}
        }
        let subjects = self.x509.iter().flat_map(|x509| [("server", &x509.server), ("client", &x509.client)]);
        for (side, subject) in subjects.filter_map(|(side, subject)| Some((side, subject.as_ref()?))) {
            if let Some(wrong) = subject.ip.iter().flatten().find(|ip| ip.parse::<IpAddr>().is_err()) {
                let message = format!("`{wrong}` is not an IP address");
                return Err((vec!["x509", side, "ip"], message, "put host names under `dns`"));
            }
            if let Some(wrong) = subject.dns.iter().flatten().find(|name| name.is_empty() || !name.is_ascii())
            {
                let message = format!("`{wrong}` is not a valid DNS name");
                return Err((vec!["x509", side, "dns"], message, "use ASCII characters only"));
            }
        }
        let user = self.psk.as_ref().and_then(|psk| psk.user.as_deref());
        if user.is_some_and(|user| user.is_empty() || user.contains([':', '\n', '#'])) {
            let help = "it must not be empty or contain `:`, `#` or line breaks";
            return Err((vec!["psk", "user"], "not a valid user name".to_owned(), help));
        }
        Ok(())
    }
}

/// The path of a credential's directory.
#[must_use]
pub fn folder(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("credential-{name}"))
}

/// Creates the directories of a case's credentials.
///
/// # Errors
/// When a file cannot be written, or no random numbers are available.
pub fn make(credentials: &BTreeMap<String, Credential>, directory: &Path) -> io::Result<()> {
    let mut authorities: BTreeMap<&str, CertifiedIssuer<'static, KeyPair>> = BTreeMap::new();
    let mut keys: BTreeMap<&str, String> = BTreeMap::new();
    for (name, credential) in credentials {
        let folder = folder(directory, name);
        DirBuilder::new().mode(0o700).create(&folder)?;
        if let Some(x509) = &credential.x509 {
            let ca = x509.ca.as_deref().unwrap_or("ca");
            if !authorities.contains_key(ca) {
                authorities.insert(ca, authority(ca).map_err(io::Error::other)?);
            }
            let authority = &authorities[ca];
            fs::write(folder.join("ca-cert.pem"), authority.pem())?;
            let sides = [
                ("server", &x509.server, ExtendedKeyUsagePurpose::ServerAuth),
                ("client", &x509.client, ExtendedKeyUsagePurpose::ClientAuth),
            ];
            for (side, subject, purpose) in sides {
                if let Some(subject) = subject {
                    let (certificate, key) = signed(subject, purpose, authority).map_err(io::Error::other)?;
                    fs::write(folder.join(format!("{side}-cert.pem")), certificate)?;
                    fs::write(folder.join(format!("{side}-key.pem")), key)?;
                }
            }
        }
        if let Some(psk) = &credential.psk {
            let key = psk.key.as_deref().unwrap_or("key");
            if !keys.contains_key(key) {
                keys.insert(key, random()?);
            }
            let user = psk.user.as_deref().unwrap_or("qemu");
            fs::write(folder.join("keys.psk"), format!("{user}:{}\n", keys[key]))?;
        }
    }
    Ok(())
}

fn parameters(subject: Option<&str>) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    // Valid regardless of the host's clock.
    (parameters.not_before, parameters.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2100, 1, 1));
    parameters.distinguished_name = DistinguishedName::new();
    if let Some(name) = subject {
        parameters.distinguished_name.push(DnType::CommonName, name);
    }
    parameters
}

fn authority(name: &str) -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut parameters = parameters(Some(name));
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)
}

fn signed(
    subject: &Subject,
    purpose: ExtendedKeyUsagePurpose,
    authority: &CertifiedIssuer<'static, KeyPair>,
) -> Result<(String, String), rcgen::Error> {
    let mut parameters = parameters(subject.cn.as_deref());
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![purpose];
    for name in subject.dns.iter().flatten() {
        parameters.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
    }
    let addresses = subject.ip.iter().flatten().filter_map(|ip| ip.parse().ok());
    parameters.subject_alt_names.extend(addresses.map(SanType::IpAddress));
    let key = KeyPair::generate()?;
    Ok((parameters.signed_by(&key, authority)?.pem(), key.serialize_pem()))
}

/// 16 random bytes in hexadecimal digits.
fn random() -> io::Result<String> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(value: Value) -> BTreeMap<String, Credential> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn credentials_share_authorities_and_keys_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let credentials = read(json!({
            "server": {"x509": {"server": {"cn": "127.0.0.1", "ip": "127.0.0.1"}}},
            "client": {"x509": {"client": {"cn": "ACME QEMU Client"}}},
            "nobody": {"x509": {"ca": "other"}},
            "one": {"psk": {}}, "same": {"psk": {}}, "other": {"psk": {"key": "other", "user": "me"}},
        }));
        make(&credentials, folder.path()).unwrap();
        let file = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(file("credential-server/ca-cert.pem"), file("credential-client/ca-cert.pem"));
        assert_ne!(file("credential-server/ca-cert.pem"), file("credential-nobody/ca-cert.pem"));
        assert!(file("credential-client/client-key.pem").contains("PRIVATE KEY"));
        assert!(!folder.path().join("credential-client/server-cert.pem").exists());
        assert_eq!(file("credential-one/keys.psk"), file("credential-same/keys.psk"));
        assert!(file("credential-other/keys.psk").starts_with("me:"));
        assert_ne!(file("credential-one/keys.psk")[5..], file("credential-other/keys.psk")[3..]);
    }

    #[test]
    fn an_error_in_a_credential_names_its_path() {
        let wrong = |value: Value| read(json!({"a": value}))["a"].check().unwrap_err();
        assert!(wrong(json!({})).1.contains("no kind"));
        assert_eq!(wrong(json!({"x509": {}, "psk": {}})).0, ["psk"]);
        assert_eq!(wrong(json!({"x509": {"server": {"ip": "qemu.org"}}})).0, ["x509", "server", "ip"]);
        assert_eq!(wrong(json!({"psk": {"user": "a:b"}})).0, ["psk", "user"]);
    }
}
