//! What one SIP message costs: to take apart, to read, to answer.

use divan::{AllocProfiler, Bencher, counter::ItemsCount};
use offhook::config;
use offhook::sip::flow::Flow;
use offhook::sip::lexer::lex;
use offhook::sip::message::Request;
use offhook::sip::response::Response;
use offhook::sip::{Command, Event, Input, Output, UserAgent};
use offhook::time::Instant;
use std::net::SocketAddr;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const INVITE: &[u8] = include_bytes!("../tests/captures/call-01-invite.txt");

fn main() {
    divan::main();
}

fn phone() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 49833))
}

fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 5060))
}

fn read() -> Request {
    Request::read(&lex(INVITE).expect("a message")).expect("a request")
}

/// 954 bytes into start line, fields and body.
#[divan::bench]
fn lex_invite(bencher: Bencher) {
    assert_eq!(lex(INVITE).map(|lexed| (lexed.fields.len(), lexed.body.len(), lexed.flaw)), Some((14, 329, None)));
    bencher.counter(ItemsCount::new(1_u32)).bench(|| lex(divan::black_box(INVITE)).map(|lexed| lexed.fields.len()));
}

/// The same, and every header that a decision rests on.
#[divan::bench]
fn read_invite(bencher: Bencher) {
    assert_eq!(read().cseq(), 24524);
    bencher.counter(ItemsCount::new(1_u32)).bench(|| Request::read(&lex(divan::black_box(INVITE)).expect("a message")));
}

/// A 200 with a session description.
#[divan::bench]
fn write_200(bencher: Bencher) {
    let request = read();
    let write = || {
        Response::new(200, request.envelope(), Flow::udp(phone(), local()), "5eb63bbbe01eeed0")
            .with("Contact", "<sip:127.0.0.1:5060>")
            .session_description(request.body().to_vec())
            .write("Offhook/0")
    };
    assert!(write().starts_with(b"SIP/2.0 200 OK\r\n"));
    bencher.counter(ItemsCount::new(1_u32)).bench(write);
}

/// INVITE, 100, 180, 200 through the whole user agent: what the network thread does for a call that comes in.
#[divan::bench]
fn answer_invite(bencher: Bencher) {
    let text = String::from_utf8(INVITE.to_vec()).expect("text");
    let make = || UserAgent::new(&config::Sip::default(), "Offhook/0", fastrand::Rng::with_seed(1));
    let mut ua = make();
    let mut number = 0_u64;
    let mut now = Instant::ZERO;
    let sdp = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 10000 RTP/AVP 8\r\n"
        .to_vec();
    bencher
        .counter(ItemsCount::new(1_u32))
        .with_inputs(|| {
            number += 1;
            text.replace("z9hG4bK", &format!("z9hG4bK{number}")).replace("Call-ID: ", &format!("Call-ID: {number}"))
        })
        .bench_local_values(|invite| {
            if ua.live_calls() == 100 {
                ua = make();
            }
            now += Duration::from_millis(1);
            ua.handle_input(Input::Received { flow: Flow::udp(phone(), local()), bytes: invite.as_bytes() }, now);
            let mut sent = 0;
            while let Some(output) = ua.poll_output() {
                match output {
                    Output::Transmit { .. } => sent += 1,
                    Output::Event(Event::Invited(invitation)) => {
                        let call = invitation.call;
                        ua.handle_input(Input::Command(Command::Ring { call }), now);
                        ua.handle_input(Input::Command(Command::Answer { call, sdp: sdp.clone() }), now);
                    }
                    Output::Event(_) => {}
                }
            }
            assert_eq!(sent, 3, "100, 180 and 200");
        });
}
