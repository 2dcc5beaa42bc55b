//! TLS to a provider: whose certificates are believed, and a stream that is either encrypted or plain.

use mio::net::TcpStream;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

/// Whose certificates a provider's TLS connection is checked against.
#[derive(Clone)]
pub struct Trust {
    config: Arc<ClientConfig>,
    /// The roots, where they are not Mozilla's.
    only: Option<Arc<[CertificateDer<'static>]>>,
}

impl Trust {
    /// Mozilla's roots, compiled in.
    #[must_use]
    pub fn web() -> Self {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        Self { config: config(roots), only: None }
    }

    /// These roots only, for a server of one's own; a certificate that cannot be read is left out.
    #[must_use]
    pub fn only(roots: &[CertificateDer<'static>]) -> Self {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots.iter().cloned());
        Self { config: config(store), only: Some(roots.into()) }
    }

    /// Returns the roots, where they are not Mozilla's.
    #[must_use]
    pub fn own_roots(&self) -> Option<&[CertificateDer<'static>]> {
        self.only.as_deref()
    }

    /// Does a whole handshake with `host` over `tcp`, of which each read and write may take `patience`.
    ///
    /// # Errors
    /// It fails, or the certificate is not believed.
    pub fn handshake(&self, tcp: &mut std::net::TcpStream, host: &str, patience: Duration) -> io::Result<()> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let mut client = ClientConnection::new(self.config.clone(), name).map_err(io::Error::other)?;
        tcp.set_read_timeout(Some(patience))?;
        tcp.set_write_timeout(Some(patience))?;
        while client.is_handshaking() {
            client.complete_io(tcp)?;
        }
        Ok(())
    }

    /// Begins TLS to `host` over `tcp`; the handshake is done by the first reads and writes.
    ///
    /// # Errors
    /// `host` is no name that a certificate could carry.
    pub fn wrap(&self, tcp: TcpStream, host: &str) -> io::Result<Stream> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let client = ClientConnection::new(self.config.clone(), name).map_err(io::Error::other)?;
        Ok(Stream::Tls(Box::new(StreamOwned::new(client, tcp))))
    }
}

/// The sessions that a `ClientConfig` remembers make a reconnect one round trip shorter, so it is made once per provider.
fn config(roots: RootCertStore) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions' cipher suites")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// A connection, encrypted or (to loopback) plain; non-blocking.
pub enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// Through rustls.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buf),
            Self::Tls(stream) => stream.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(buf),
            Self::Tls(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
