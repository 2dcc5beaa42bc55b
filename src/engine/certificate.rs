//! Who this server is over TLS: the operator's certificate, or one that it has signed itself and keeps.

use crate::config::Tls;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Names of the two files of a certificate of our own, in the folder that the settings name.
const OWN: [&str; 2] = ["sip-certificate.pem", "sip-key.pem"];

/// Characters in a line of PEM (RFC 7468 §2).
const PEM_LINE: usize = 64;

/// Reads the certificate that `tls` names, or the one of our own, which is made where there is none; TLS 1.2 and 1.3.
///
/// # Errors
/// What is wrong with which file, in one line.
pub fn load(tls: &Tls) -> Result<Arc<ServerConfig>, String> {
    let (chain, key) = read(tls)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key);
    let [certificate, _] = files(tls);
    config.map(Arc::new).map_err(|error| match &tls.certificate {
        Some(_) => {
            format!(
                "sip.tls.certificate in offhook.toml: {} does not go with sip.tls.key: {error}",
                certificate.display()
            )
        }
        None => format!("{}: {error}; remove it, and another one is made", certificate.display()),
    })
}

/// Returns the SHA-256 of the certificate that [`load`] reads, as people compare it: `AB:CD:...`.
///
/// # Errors
/// What is wrong with which file, in one line.
pub fn fingerprint(tls: &Tls) -> Result<String, String> {
    let (chain, _) = read(tls)?;
    let digest = Sha256::digest(chain.first().map(CertificateDer::as_ref).unwrap_or_default());
    Ok(digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":"))
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn read(tls: &Tls) -> Result<Identity, String> {
    let [certificate, key] = files(tls);
    if tls.certificate.is_none() && !(certificate.exists() && key.exists()) {
        make(&certificate, &key).map_err(|error| {
            format!("{}: a certificate of our own cannot be kept there: {error}", certificate.display())
        })?;
    }
    let wrong = |setting: &str, path: &Path, what: &str| match &tls.certificate {
        Some(_) => format!("sip.tls.{setting} in offhook.toml: {} {what}", path.display()),
        None => format!("{} {what}; remove it, and another one is made", path.display()),
    };
    let chain = CertificateDer::pem_file_iter(&certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong("certificate", &certificate, &format!("is no PEM file with a certificate: {error}")))?;
    if chain.is_empty() {
        return Err(wrong("certificate", &certificate, "holds no certificate in PEM"));
    }
    let key = PrivateKeyDer::from_pem_file(&key)
        .map_err(|error| wrong("key", &key, &format!("is no PEM file with a private key: {error}")))?;
    Ok((chain, key))
}

fn files(tls: &Tls) -> [PathBuf; 2] {
    let own = OWN.map(|name| tls.kept_in.join(name));
    let [certificate, key] = own;
    [tls.certificate.clone().unwrap_or(certificate), tls.key.clone().unwrap_or(key)]
}

/// Makes a certificate that nobody vouches for: phones show its fingerprint, or are told not to ask.
fn make(certificate: &Path, key: &Path) -> io::Result<()> {
    let names = ["localhost", "127.0.0.1", "::1"].map(ToOwned::to_owned);
    let mut params = rcgen::CertificateParams::new(names).map_err(io::Error::other)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Offhook");
    let pair = rcgen::KeyPair::generate().map_err(io::Error::other)?;
    let signed = params.self_signed(&pair).map_err(io::Error::other)?;
    if let Some(folder) = key.parent() {
        fs::create_dir_all(folder)?;
    }
    // The key first: without its certificate it is made anew, and the other way round would be a pair that does not fit.
    write(key, "PRIVATE KEY", &pair.serialize_der(), true)?;
    write(certificate, "CERTIFICATE", signed.der(), false)
}

/// Writes a file whole or not at all; a secret one for its owner's eyes only.
fn write(path: &Path, label: &str, der: &[u8], is_secret: bool) -> io::Result<()> {
    let text = STANDARD.encode(der);
    let folder = path.parent().unwrap_or(Path::new("."));
    // What is made here is readable for its owner alone until more is allowed.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    writeln!(file, "-----BEGIN {label}-----")?;
    for line in text.as_bytes().chunks(PEM_LINE) {
        file.write_all(line)?;
        file.write_all(b"\n")?;
    }
    writeln!(file, "-----END {label}-----")?;
    #[cfg(unix)]
    if !is_secret {
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    }
    #[cfg(not(unix))]
    let _ = is_secret;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(folder: &tempfile::TempDir) -> Tls {
        Tls { port: 5061, certificate: None, key: None, kept_in: folder.path().join("offhook") }
    }

    #[test]
    fn a_certificate_of_our_own_is_made_once_and_kept() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let tls = own(&folder);
        load(&tls).expect("a certificate");
        let fingerprint_of_it = fingerprint(&tls).expect("a certificate");
        assert_eq!(fingerprint_of_it.len(), 32 * 3 - 1);
        load(&tls).expect("the same certificate");
        assert_eq!(fingerprint(&tls), Ok(fingerprint_of_it));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(tls.kept_in.join(OWN[1])).expect("the key").permissions().mode();
            assert_eq!(mode & 0o077, 0, "the key is for its owner only");
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_in_one_line() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut tls = own(&folder);
        load(&tls).expect("a certificate");
        let [certificate, key] = files(&tls);
        let other = tempfile::tempdir().expect("a temporary folder");
        load(&own(&other)).expect("another one");
        let [_, foreign] = files(&own(&other));
        for (pair, named) in [
            ([certificate.clone(), foreign], "sip.tls.certificate in offhook.toml"),
            ([key.clone(), key.clone()], "sip.tls.certificate in offhook.toml"),
            ([certificate.clone(), certificate.clone()], "sip.tls.key in offhook.toml"),
            ([folder.path().join("nothing"), key.clone()], "sip.tls.certificate in offhook.toml"),
        ] {
            let [certificate, key] = pair;
            (tls.certificate, tls.key) = (Some(certificate), Some(key));
            let error = load(&tls).expect_err(named);
            assert!(error.starts_with(named) && !error.contains('\n'), "{error}");
        }
        (tls.certificate, tls.key) = (Some(certificate), Some(key));
        load(&tls).expect("a pair");
    }
}
