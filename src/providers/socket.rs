//! A WebSocket to a provider, over TLS or plain to loopback, that never blocks: its thread waits on it and on its bell at once.

use std::sync::Arc;

/// Whose certificates a provider's TLS connection is checked against.
#[derive(Clone)]
pub struct Trust(pub(super) Option<Arc<Vec<rustls::pki_types::CertificateDer<'static>>>>);

impl Trust {
    /// Mozilla's roots, compiled in.
    #[must_use]
    pub fn web() -> Self {
        Self(None)
    }

    /// These roots only, for a server of one's own.
    #[must_use]
    pub fn only(roots: Vec<rustls::pki_types::CertificateDer<'static>>) -> Self {
        Self(Some(Arc::new(roots)))
    }
}
