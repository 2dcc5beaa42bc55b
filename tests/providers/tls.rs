//! TLS to the providers: a certificate that is trusted, and one that is not.

use super::endpoint;
use super::standin::Wall;
use offhook::agent::FailureKind;
use offhook::providers::Speaker;
use offhook::providers::cartesia::Cartesia;
use offhook::providers::groq::Chat;
use offhook::providers::tls::Trust;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use tungstenite::Message;

/// A TLS server on loopback; returns its port and the certificate that it shows.
fn serve(
    each: impl Fn(rustls::StreamOwned<rustls::ServerConnection, std::net::TcpStream>) + Send + 'static,
) -> (u16, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".into(), "127.0.0.1".into()]).expect("a certificate");
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .expect("a configuration");
    let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").expect("a port"));
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = rustls::ServerConnection::new(config.clone()).expect("a connection");
            each(rustls::StreamOwned::new(connection, stream));
        }
    });
    (port, certificate)
}

/// Speaks one phrase of 8000 samples to whoever asks.
fn speak_once(stream: impl Read + Write) {
    let Ok(mut socket) = tungstenite::accept(stream) else { return };
    if socket.read().is_err() {
        return;
    }
    // Larger than a TLS record, so that it comes in pieces.
    let data =
        format!(r#"{{"type":"chunk","context_id":"phrase","data":"{}","done":false}}"#, "gICA".repeat(40_000 / 3));
    let _ = socket.send(Message::Text(data.into()));
    let _ = socket.send(Message::Text(r#"{"type":"done","context_id":"phrase","done":true}"#.into()));
    while socket.read().is_ok() {}
}

#[test]
fn speech_comes_over_tls_from_a_trusted_server() {
    let (port, certificate) = serve(speak_once);
    for host in ["localhost", "127.0.0.1"] {
        let endpoint = endpoint(&format!("wss://{host}:{port}"), "sonic");
        let cartesia =
            Cartesia::new(&endpoint, "v", Wall::start()).with_trust(Trust::only(std::slice::from_ref(&certificate)));
        assert_eq!(cartesia.render("Hello").expect("speech").len(), 39_999, "{host}");
    }
}

#[test]
fn a_certificate_of_somebody_else_is_refused_for_good() {
    let (port, _) = serve(speak_once);
    let endpoint = endpoint(&format!("wss://localhost:{port}"), "sonic");
    let failure = Cartesia::new(&endpoint, "v", Wall::start()).render("Hello").expect_err("no trust");
    assert_eq!(failure.kind, FailureKind::Refused);
    assert!(failure.text.contains("certificate"), "{}", failure.text);
}

#[test]
fn a_server_that_does_not_speak_tls_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let endpoint = endpoint(&format!("wss://localhost:{port}"), "sonic");
    assert!(Cartesia::new(&endpoint, "v", Wall::start()).render("Hello").is_err());
}

#[test]
fn models_are_listed_over_tls_by_a_trusted_server_only() {
    let (port, certificate) = serve(|mut stream| {
        let mut request = [0; 2048];
        if stream.read(&mut request).is_ok() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        }
    });
    let endpoint = endpoint(&format!("https://localhost:{port}/v1"), "m");
    assert_eq!(Chat::groq(&endpoint).with_trust(&Trust::only(&[certificate])).check(), Ok(()));
    assert_eq!(Chat::groq(&endpoint).check().expect_err("no trust").kind, FailureKind::Refused);
}
