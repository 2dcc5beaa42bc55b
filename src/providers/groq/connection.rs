//! Connections that tell when a request is written, and that another thread can cut: ureq's own, tapped.
//!
//! ureq runs an exchange wholly on the thread that calls it, and cannot be interrupted there. So the thread says which
//! [`Tap`] is its own for the time of an exchange, and every connection that it uses meanwhile reports to that tap.

use crate::config::Endpoint;
use crate::providers::tls::Trust;
use crate::time::{Clock, Instant};
use parking_lot::Mutex;
use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, DefaultConnector, NextTimeout, ShutdownHandle, Transport,
};

/// For the look-up of the name, and again from there to the end of the TLS handshake.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// Idle connections kept over all calls, as many as there are calls.
const IDLE_MAX: usize = 200;
/// How long an idle connection is kept: longer than the pause between two turns, shorter than servers keep theirs.
const IDLE_AGE_MAX: Duration = Duration::from_secs(55);
/// A read that takes longer frees its thread; the deadlines that callers notice are shorter, and kept elsewhere.
const READ_MAX: Duration = Duration::from_secs(40);
const WRITE_MAX: Duration = Duration::from_secs(5);

/// The connections to one server, which all calls share.
pub(in crate::providers) struct Connections {
    pub(super) agent: ureq::Agent,
    open: Arc<AtomicUsize>,
    used: Arc<AtomicUsize>,
}

impl Connections {
    pub(super) fn new(endpoint: &Endpoint, trust: &Trust) -> Self {
        let open = Arc::default();
        let agent =
            agent(endpoint, trust, TappedConnector { connector: DefaultConnector::default(), open: Arc::clone(&open) });
        Self { agent, open, used: Arc::default() }
    }

    /// Has an exchange count as one that needs a connection, until what is returned is dropped.
    pub(in crate::providers) fn using(&self) -> Counted {
        Counted::new(&self.used)
    }

    /// Whether an exchange that begins finds a connection open, as far as known: a server may have closed it meanwhile.
    pub(in crate::providers) fn has_spare(&self) -> bool {
        self.open.load(Ordering::Relaxed) > self.used.load(Ordering::Relaxed)
    }
}

/// One of those that are counted, for as long as it lives.
pub(in crate::providers) struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn agent(endpoint: &Endpoint, trust: &Trust, connector: TappedConnector) -> ureq::Agent {
    let roots = match trust.own_roots() {
        None => RootCerts::WebPki,
        Some(roots) => roots.iter().map(|root| Certificate::from_der(root).to_owned()).collect::<Vec<_>>().into(),
    };
    let mut config = ureq::Agent::config_builder()
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .http_status_as_error(false)
        // A redirect would carry the key to somewhere else.
        .max_redirects(0)
        .timeout_resolve(Some(CONNECT_MAX))
        .timeout_connect(Some(CONNECT_MAX))
        .timeout_per_read(Some(READ_MAX))
        .timeout_per_write(Some(WRITE_MAX))
        .max_idle_connections(IDLE_MAX)
        .max_idle_connections_per_host(IDLE_MAX)
        .max_idle_age(IDLE_AGE_MAX)
        .user_agent(concat!("offhook/", env!("CARGO_PKG_VERSION")));
    if endpoint.base_url.starts_with("http:") {
        config = config.proxy(None);
    }
    ureq::Agent::with_parts(config.build(), connector, DefaultResolver::default())
}

/// One exchange's hold on its connection.
pub(in crate::providers) struct Tap {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    on_sent: Box<dyn Fn(Instant) + Send + Sync>,
}

#[derive(Default)]
struct State {
    cut: bool,
    /// When the last byte was handed to the kernel; taken when an answer is first waited for.
    written: Option<Instant>,
    connection: Option<Weak<dyn ShutdownHandle>>,
    /// Whether a connection was opened for the exchange.
    opened: bool,
}

impl Tap {
    /// Makes a tap that calls `on_sent` when the request is written.
    pub(in crate::providers) fn new(
        clock: Arc<dyn Clock>,
        on_sent: impl Fn(Instant) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { clock, state: Mutex::default(), on_sent: Box::new(on_sent) })
    }

    /// Cuts the connection, so that the exchange ends at once with an error.
    pub(in crate::providers) fn cut(&self) {
        let mut state = self.state.lock();
        state.cut = true;
        if let Some(connection) = state.connection.take().and_then(|connection| connection.upgrade()) {
            connection.shutdown();
        }
    }

    /// Whether the exchange was cut.
    pub(in crate::providers) fn is_cut(&self) -> bool {
        self.state.lock().cut
    }

    /// Whether the exchange went by a connection that had been kept open from another.
    pub(in crate::providers) fn reused(&self) -> bool {
        !self.state.lock().opened
    }

    /// The exchange is over: its connection may serve another, and is not to be cut any more.
    pub(in crate::providers) fn release(&self) {
        self.state.lock().connection = None;
    }

    fn hold(&self, connection: Option<&Weak<dyn ShutdownHandle>>) {
        let mut state = self.state.lock();
        state.connection = connection.cloned();
        if state.cut
            && let Some(connection) = state.connection.take().and_then(|connection| connection.upgrade())
        {
            connection.shutdown();
        }
    }
}

thread_local! {
    static TAP: RefCell<Option<Arc<Tap>>> = const { RefCell::new(None) };
}

/// Runs `exchange` on this thread, with its connections tapped by `tap`.
pub(super) fn tapped<T>(tap: &Arc<Tap>, exchange: impl FnOnce() -> T) -> T {
    TAP.set(Some(tap.clone()));
    let result = exchange();
    TAP.set(None);
    tap.release();
    result
}

fn with_tap(act: impl FnOnce(&Tap)) {
    TAP.with_borrow(|tap| {
        if let Some(tap) = tap.as_deref() {
            act(tap);
        }
    });
}

struct TappedConnector {
    connector: DefaultConnector,
    /// Connections that are open.
    open: Arc<AtomicUsize>,
}

impl fmt::Debug for TappedConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TappedConnector")
    }
}

impl Connector for TappedConnector {
    type Out = TappedTransport;

    fn connect(&self, details: &ConnectionDetails, chained: Option<()>) -> Result<Option<Self::Out>, ureq::Error> {
        with_tap(|tap| tap.state.lock().opened = true);
        let handle: Arc<Mutex<Option<Weak<dyn ShutdownHandle>>>> = Arc::default();
        let (kept, register) = (handle.clone(), details.register_shutdown.clone());
        let tapped = ConnectionDetails {
            uri: details.uri,
            addrs: details.addrs.clone(),
            config: details.config,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: Arc::new(move |connection| {
                with_tap(|tap| tap.hold(Some(&connection)));
                *kept.lock() = Some(connection.clone());
                register(connection)
            }),
        };
        let transport = self.connector.connect(&tapped, chained)?;
        let handle = handle.lock().take();
        let counted = Counted::new(&self.open);
        Ok(transport.map(|transport| TappedTransport { transport, handle, _counted: counted }))
    }
}

struct TappedTransport {
    transport: Box<dyn Transport>,
    handle: Option<Weak<dyn ShutdownHandle>>,
    _counted: Counted,
}

impl fmt::Debug for TappedTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TappedTransport")
    }
}

impl Transport for TappedTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.transport.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        with_tap(|tap| tap.hold(self.handle.as_ref()));
        self.transport.transmit_output(amount, timeout)?;
        with_tap(|tap| tap.state.lock().written = Some(tap.clock.now()));
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        with_tap(|tap| {
            let written = tap.state.lock().written.take();
            if let Some(written) = written {
                (tap.on_sent)(written);
            }
        });
        self.transport.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.transport.is_open()
    }

    fn is_tls(&self) -> bool {
        self.transport.is_tls()
    }
}
