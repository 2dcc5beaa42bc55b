//! A stand-in of Deepgram's address: Flux on `/v2/listen`, and Nova on every other path.

use super::{Server, Wall, flux, nova};
use offhook::time::Clock;
use parking_lot::Mutex;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

/// What a request to Flux begins with.
const FLUX: &[u8] = b"GET /v2/";

/// Starts one; returns it with its base URL.
pub fn start(flux: flux::Plan, nova: nova::Plan) -> (Server, Arc<flux::Plan>, Arc<nova::Plan>, String) {
    let (flux, nova, clock) = (Arc::new(flux), Arc::new(nova), Wall::start());
    let (turns, words) = (flux.clone(), nova.clone());
    let (turn, settled) = (Mutex::new(0), Mutex::new(0));
    let server = Server::start(move |_, stream, stop| match asks_for_flux(&stream, &*clock) {
        Some(true) => flux::serve(&turns, &*clock, stream, stop, &turn),
        Some(false) => nova::serve(&words, &*clock, stream, stop, &settled),
        None => {}
    });
    let url = format!("ws://{}", server.address);
    (server, flux, nova, url)
}

/// Looks at a request's first bytes without taking them; nothing where none come.
fn asks_for_flux(stream: &TcpStream, clock: &dyn Clock) -> Option<bool> {
    let until = clock.now() + Duration::from_secs(5);
    let mut start = [0; FLUX.len()];
    while clock.now() < until {
        match stream.peek(&mut start) {
            Ok(length) if length == FLUX.len() => return Some(start == FLUX),
            Ok(0) | Err(_) => return None,
            Ok(_) => std::thread::yield_now(),
        }
    }
    None
}
