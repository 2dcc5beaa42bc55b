//! Session descriptions: what is read is bounded, and each answer is one that the offerer can take (RFC 3264 §6).

use super::campaign::{EPISODE_MESSAGES, Tally, Trace};
use super::corpus::Corpus;
use super::grammar;
use fastrand::Rng;
use offhook::sdp::{Description, Negotiation};
use std::net::SocketAddr;

/// Longest answer in bytes, beside what it repeats of the offer: our own stream and the lines of the session.
const OURS_BYTES_MAX: usize = 1024;

/// Runs an episode.
pub fn run(rng: &mut Rng, corpus: &Corpus, trace: &mut Trace) -> Tally {
    let mut tally = Tally::default();
    let local = [SocketAddr::from(([127, 0, 0, 1], 10_000)), "[fd00::1]:10000".parse().expect("an address")];
    let mut negotiation = Negotiation::new(1, local[0]);
    for _ in 0..EPISODE_MESSAGES {
        let mut body = corpus.descriptions[rng.usize(..corpus.descriptions.len())].clone();
        for _ in 0..rng.usize(0..4) {
            grammar::description(rng, &mut body, corpus);
        }
        trace.note(&body);
        tally.messages += 1;
        if rng.u8(0..16) == 0 {
            negotiation = Negotiation::new(rng.u64(..1 << 62), local[rng.usize(..2)]);
        }
        if rng.u8(0..4) == 0 {
            let offer = negotiation.offer();
            Description::parse(&offer).expect("our own offer can be read");
            tally.agreed += u64::from(negotiation.read_answer(&body).is_ok());
            continue;
        }
        let read = Description::parse(&body);
        match negotiation.answer(&body) {
            Ok((answer, agreed)) => {
                tally.agreed += 1;
                let offer = read.expect("what is answered can be read");
                let ours = Description::parse(&answer).expect("our own answer can be read");
                assert_eq!(ours.media.len(), offer.media.len(), "one answer per stream");
                assert!(answer.len() <= body.len() + OURS_BYTES_MAX, "{} bytes for {}", answer.len(), body.len());
                assert_eq!(ours.media.iter().filter(|media| media.port != 0).count(), 1, "one stream is taken");
                assert!(agreed.remote.known().is_none_or(|to| !to.ip().is_unspecified() && !to.ip().is_multicast()));
                assert!((10..=60).contains(&agreed.ptime_ms));
            }
            Err(error) => assert!((400..500).contains(&error.status()), "{error}"),
        }
    }
    tally
}
