//! The answer to an offer, and our own offer: codec, direction, ptime (RFC 3264 §5, §6, §8).

use super::description::{Connection, Direction, Media, Origin, RtpMap};
use super::{Agreed, Description, Encoding, Error, RemoteAddress};
use std::net::{IpAddr, SocketAddr};

/// The transport that we speak.
const TRANSPORT: &str = "RTP/AVP";
/// The payload type of telephone events in our own offers; the usual one, though any dynamic one would do.
const TELEPHONE_EVENT: u8 = 101;
/// The keys that we hear: digits, `*`, `#`, `A` to `D`, and the hook flash (RFC 4733 table 3).
const EVENTS: &str = "0-16";
/// The packet time that we send and ask for, in milliseconds (RFC 3551 §4.2).
const PTIME_MS: u16 = 20;
/// Packet times that we are ready to send: from half of the usual, to what a packet of ours may hold.
const PTIMES_MS: [u16; 6] = [10, 20, 30, 40, 50, 60];

/// One call's side of offer and answer: keeps the session's id and version over re-offers.
#[derive(Clone, Debug)]
pub struct Negotiation {
    session_id: u64,
    version: u64,
    local: SocketAddr,
    /// The description that went out last: re-offers keep its streams, and a change of it raises the version.
    last: Option<Description>,
}

impl Negotiation {
    /// Begins for a call whose RTP port is `local`: the address that routes to the peer, never `0.0.0.0`. `session_id`
    /// is random, below 2^62 (RFC 8866 §5.2).
    #[must_use]
    pub fn new(session_id: u64, local: SocketAddr) -> Self {
        Self { session_id, version: session_id, local, last: None }
    }

    /// Puts `address` in place of the address in our descriptions from here on.
    pub fn set_address(&mut self, address: IpAddr) {
        self.local.set_ip(address);
    }

    /// Answers `offer`, the body of an INVITE, re-INVITE or UPDATE. Returns our description and what is agreed upon.
    ///
    /// # Errors
    /// What is wrong with the offer; the session stays as it was.
    pub fn answer(&mut self, offer: &[u8]) -> Result<(Vec<u8>, Agreed), Error> {
        let offer = Description::parse(offer)?;
        let (index, media, codec) = choose(&offer)?;
        let direction = our_direction(&offer, media);
        let telephone_event = telephone_event(media);
        let ours =
            Media { direction: Some(direction), rtcp_mux: media.rtcp_mux, ..self.audio(&[codec], telephone_event) };
        let agreed = Agreed {
            encoding: codec.0,
            payload_type_sent: codec.1,
            payload_types_received: Encoding::ALL.map(|encoding| (encoding == codec.0).then_some(codec.1)),
            telephone_event_sent: telephone_event,
            telephone_event_received: telephone_event,
            direction,
            held: !direction.sends(),
            remote: remote(&offer, media),
            remote_rtcp: remote_rtcp(&offer, media, media.rtcp_mux),
            rtcp_mux: media.rtcp_mux,
            ptime_ms: ptime(media),
        };
        // Every other stream is refused, in its place (RFC 3264 §6).
        let mut answered: Vec<Media> = offer.media.iter().map(refused).collect();
        answered[index] = ours;
        Ok((self.describe(answered), agreed))
    }

    /// Returns our offer, for an INVITE or re-INVITE without one. Streams of the session so far keep their places (RFC 3264
    /// §8).
    pub fn offer(&mut self) -> Vec<u8> {
        let codecs = Encoding::ALL.map(|encoding| (encoding, encoding.payload_type()));
        let audio = Media {
            direction: Some(Direction::SendRecv),
            rtcp_mux: false,
            ..self.audio(&codecs, Some(TELEPHONE_EVENT))
        };
        let mut offered: Vec<Media> = self.last.iter().flat_map(|last| &last.media).map(refused).collect();
        let used = self.last.iter().flat_map(|last| &last.media).position(|media| media.port != 0);
        match used {
            Some(index) => offered[index] = audio,
            None => offered.push(audio),
        }
        self.describe(offered)
    }

    /// Reads the answer to the last [`Self::offer`], the body of an ACK.
    ///
    /// # Errors
    /// What is wrong with the answer: the call cannot go on.
    pub fn read_answer(&mut self, answer: &[u8]) -> Result<Agreed, Error> {
        let offer = self.last.as_ref().ok_or(Error::NotAnAnswer)?;
        let answer = Description::parse(answer)?;
        if answer.media.len() != offer.media.len() {
            return Err(Error::NotAnAnswer);
        }
        let index = offer.media.iter().position(|media| media.port != 0).ok_or(Error::NotAnAnswer)?;
        let media = answer.media.get(index).ok_or(Error::NotAnAnswer)?;
        let ours = offer.media.get(index).ok_or(Error::NotAnAnswer)?;
        if media.port == 0 || media.kind != "audio" || !media.transport.eq_ignore_ascii_case(TRANSPORT) {
            return Err(Error::NotAnAnswer);
        }
        let (encoding, payload_type_sent) = codec(media).ok_or(Error::NoCommonCodec)?;
        let telephone_event_sent = telephone_event(media);
        let direction = our_direction(&answer, media);
        Ok(Agreed {
            encoding,
            payload_type_sent,
            // What we offered we are to take, whichever the answer names first.
            payload_types_received: Encoding::ALL.map(|encoding| offered(ours, encoding)),
            telephone_event_sent,
            telephone_event_received: telephone_event_sent.and_then(|_| telephone_event(ours)),
            direction,
            held: !direction.sends(),
            remote: remote(&answer, media),
            remote_rtcp: remote_rtcp(&answer, media, false),
            rtcp_mux: false,
            ptime_ms: ptime(media),
        })
    }

    /// Our audio stream with these codecs.
    fn audio(&self, codecs: &[(Encoding, u8)], telephone_event: Option<u8>) -> Media {
        let mut rtpmaps: Vec<RtpMap> = codecs
            .iter()
            .map(|(encoding, payload_type)| RtpMap {
                payload_type: *payload_type,
                encoding: encoding.name().into(),
                clock_rate: 8000,
            })
            .collect();
        let event = |payload_type| RtpMap { payload_type, encoding: "telephone-event".into(), clock_rate: 8000 };
        rtpmaps.extend(telephone_event.map(event));
        Media {
            kind: "audio".into(),
            port: self.local.port(),
            transport: TRANSPORT.into(),
            formats: rtpmaps.iter().map(|map| map.payload_type.to_string()).collect(),
            rtpmaps,
            fmtps: telephone_event.map(|payload_type| (payload_type, EVENTS.into())).into_iter().collect(),
            ptime_ms: Some(PTIME_MS),
            ..Media::default()
        }
    }

    /// Makes the description of these streams the one that goes out; its version rises where it differs from the last.
    fn describe(&mut self, media: Vec<Media>) -> Vec<u8> {
        let address = Connection::Address(self.local.ip());
        let origin = Origin { session_id: self.session_id, version: self.version, address: address.clone() };
        let mut description = Description { origin, connection: Some(address), direction: None, media };
        if self.last.as_ref().is_some_and(|last| *last != description) {
            self.version += 1;
            description.origin.version = self.version;
        }
        let bytes = description.to_bytes();
        self.last = Some(description);
        bytes
    }
}

/// Chooses the stream and its codec: the first audio stream that has one of ours, and of its codecs the first.
fn choose(offer: &Description) -> Result<(usize, &Media, (Encoding, u8)), Error> {
    let mut error = Error::NoAudio;
    for (index, media) in offer.media.iter().enumerate().filter(|(_, media)| media.kind == "audio" && media.port != 0) {
        if !media.transport.eq_ignore_ascii_case(TRANSPORT) {
            error = Error::Transport;
        } else if let Some(codec) = codec(media) {
            return Ok((index, media, codec));
        } else {
            error = Error::NoCommonCodec;
        }
    }
    Err(error)
}

/// The first of the stream's codecs that is ours.
fn codec(media: &Media) -> Option<(Encoding, u8)> {
    media.formats.iter().find_map(|format| {
        let (payload_type, name, clock_rate) = media.encoding_of(format)?;
        let ours =
            Encoding::ALL.into_iter().find(|ours| ours.name().eq_ignore_ascii_case(name) && clock_rate == 8000)?;
        Some((ours, payload_type))
    })
}

/// The payload type under which the stream names the codec.
fn offered(media: &Media, encoding: Encoding) -> Option<u8> {
    media.formats.iter().find_map(|format| match media.encoding_of(format)? {
        (payload_type, name, 8000) if name.eq_ignore_ascii_case(encoding.name()) => Some(payload_type),
        _ => None,
    })
}

/// The payload type of telephone events at our clock rate.
fn telephone_event(media: &Media) -> Option<u8> {
    media.formats.iter().find_map(|format| match media.encoding_of(format)? {
        (payload_type, name, 8000) if name.eq_ignore_ascii_case("telephone-event") => Some(payload_type),
        _ => None,
    })
}

/// Mirrors the peer's direction; a wildcard address means that nothing is to be sent to it (RFC 3264 §8.4).
fn our_direction(theirs: &Description, media: &Media) -> Direction {
    let mirrored = theirs.direction_of(media).mirrored();
    let old_hold = theirs.connection_of(media).is_some_and(Connection::is_hold);
    Direction::new(mirrored.sends() && !old_hold, mirrored.receives())
}

fn remote(theirs: &Description, media: &Media) -> RemoteAddress {
    RemoteAddress::new(theirs.connection_of(media).and_then(Connection::address), media.port)
}

fn remote_rtcp(theirs: &Description, media: &Media, mux: bool) -> RemoteAddress {
    let rtp = remote(theirs, media);
    match &media.rtcp {
        _ if mux => rtp,
        Some((port, Some(own))) => RemoteAddress::new(own.address(), *port),
        Some((port, None)) => RemoteAddress::new(rtp.known().map(|address| address.ip()), *port),
        None => RemoteAddress::new(rtp.known().map(|address| address.ip()), media.port.saturating_add(1)),
    }
}

/// The packet time to send: what the peer would like, down to a multiple of 10 ms and to its limit; else the usual.
fn ptime(media: &Media) -> u8 {
    let limit = media.maxptime_ms.filter(|limit| *limit > 0).unwrap_or(u16::MAX);
    let wish = media.ptime_ms.filter(|wish| *wish > 0).unwrap_or(PTIME_MS).min(limit);
    let fit = PTIMES_MS.into_iter().rev().find(|ptime| *ptime <= wish);
    fit.unwrap_or(PTIMES_MS[0]) as u8
}

/// The same stream with port 0. One format must stand there, and means nothing (RFC 3264 §6).
fn refused(media: &Media) -> Media {
    Media {
        kind: media.kind.clone(),
        transport: media.transport.clone(),
        formats: media.formats.iter().take(1).cloned().collect(),
        ..Media::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n";
    const MICROSIP: &str = "m=audio 4000 RTP/AVP 8 0 120\r\na=rtcp:4001 IN IP4 192.0.2.7\r\na=rtpmap:8 PCMA/8000\r\n\
        a=rtpmap:0 PCMU/8000\r\na=rtpmap:120 telephone-event/8000\r\na=fmtp:120 0-16\r\n";

    fn negotiation() -> Negotiation {
        Negotiation::new(77, "192.0.2.1:10000".parse().expect("an address"))
    }

    fn offer(media: &str) -> Vec<u8> {
        format!("{HEAD}{media}").into_bytes()
    }

    fn answered(media: &str) -> (String, Agreed) {
        let (answer, agreed) = negotiation().answer(&offer(media)).expect("it is acceptable");
        (String::from_utf8(answer).expect("it is text"), agreed)
    }

    fn refusal(media: &str) -> Error {
        negotiation().answer(&offer(media)).expect_err("it is not acceptable")
    }

    #[test]
    fn microsip_is_answered_with_its_first_codec_and_its_own_event_type() {
        let (answer, agreed) = answered(MICROSIP);
        assert_eq!(
            answer,
            "v=0\r\no=- 77 77 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 10000 RTP/AVP 8 120\r\n\
             a=rtpmap:8 PCMA/8000\r\na=rtpmap:120 telephone-event/8000\r\na=fmtp:120 0-16\r\na=ptime:20\r\na=sendrecv\r\n"
        );
        assert_eq!(agreed.encoding, Encoding::Pcma);
        assert_eq!(agreed.encoding_received(8), Some(Encoding::Pcma));
        assert_eq!(agreed.encoding_received(0), None, "our answer does not name it");
        assert_eq!((agreed.telephone_event_sent, agreed.telephone_event_received), (Some(120), Some(120)));
        assert_eq!(agreed.remote.known(), Some("192.0.2.7:4000".parse().expect("an address")));
        assert_eq!(agreed.remote_rtcp.port(), 4001);
        assert!(!agreed.held && !agreed.rtcp_mux);
        assert_eq!(agreed.ptime_ms, 20);
    }

    #[test]
    fn the_offerer_s_order_decides() {
        assert_eq!(answered("m=audio 4000 RTP/AVP 9 0 8\r\n").1.encoding, Encoding::Pcmu);
        let dynamic = "m=audio 4000 RTP/AVP 96 97 0\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:97 pcma/8000/1\r\n";
        let (answer, agreed) = answered(dynamic);
        assert_eq!((agreed.encoding, agreed.payload_type_sent), (Encoding::Pcma, 97));
        assert!(answer.contains("m=audio 10000 RTP/AVP 97\r\na=rtpmap:97 PCMA/8000\r\n"), "{answer}");
    }

    #[test]
    fn formats_that_mean_nothing_are_ignored() {
        let (_, agreed) = answered("m=audio 4000 RTP/AVP 111 x 200 0 101\r\na=rtpmap:101 telephone-event/16000\r\n");
        assert_eq!((agreed.encoding, agreed.telephone_event_sent), (Encoding::Pcmu, None));
        assert_eq!(refusal("m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 PCMU/16000\r\n"), Error::NoCommonCodec);
    }

    #[test]
    fn directions_are_mirrored() {
        for (theirs, ours, held) in [
            ("sendrecv", Direction::SendRecv, false),
            ("sendonly", Direction::RecvOnly, true),
            ("recvonly", Direction::SendOnly, false),
            ("inactive", Direction::Inactive, true),
        ] {
            let (answer, agreed) = answered(&format!("{MICROSIP}a={theirs}\r\n"));
            assert_eq!((agreed.direction, agreed.held), (ours, held));
            assert!(answer.ends_with(&format!("a={}\r\n", ours.name())));
            let session = format!("{HEAD}a={theirs}\r\n{MICROSIP}");
            let (_, agreed) = negotiation().answer(session.as_bytes()).expect("it is acceptable");
            assert_eq!(agreed.direction, ours, "at session level");
        }
    }

    #[test]
    fn a_wildcard_address_is_a_hold() {
        let (_, agreed) = answered(&format!("{MICROSIP}c=IN IP4 0.0.0.0\r\n"));
        assert_eq!((agreed.direction, agreed.held), (Direction::RecvOnly, true));
        assert_eq!(agreed.remote, RemoteAddress::Learned { port: 4000 });
    }

    #[test]
    fn a_host_name_is_learned() {
        let (_, agreed) = answered(&format!("{MICROSIP}c=IN IP4 phone.example.com\r\n"));
        assert_eq!(agreed.remote, RemoteAddress::Learned { port: 4000 });
        assert!(!agreed.held);
    }

    #[test]
    fn other_streams_are_refused_in_their_places() {
        let (answer, _) = answered(&format!("m=video 4002 RTP/AVP 96 97\r\n{MICROSIP}m=text 4004 RTP/AVP 98\r\n"));
        let media: Vec<&str> = answer.lines().filter(|line| line.starts_with("m=")).collect();
        assert_eq!(media, ["m=video 0 RTP/AVP 96", "m=audio 10000 RTP/AVP 8 120", "m=text 0 RTP/AVP 98"]);
    }

    #[test]
    fn a_second_audio_stream_is_taken_where_the_first_cannot_be() {
        let (answer, _) = answered("m=audio 4000 RTP/SAVP 0\r\nm=audio 4002 RTP/AVP 0\r\nm=audio 4004 RTP/AVP 0\r\n");
        let ports: Vec<&str> = answer.lines().filter(|line| line.starts_with("m=")).collect();
        assert_eq!(ports, ["m=audio 0 RTP/SAVP 0", "m=audio 10000 RTP/AVP 0", "m=audio 0 RTP/AVP 0"]);
    }

    #[test]
    fn what_cannot_be_answered_is_refused_with_its_warning() {
        assert_eq!(refusal("m=audio 4000 RTP/SAVP 8 0\r\n"), Error::Transport);
        assert_eq!(refusal("m=audio 4000 UDP/TLS/RTP/SAVPF 0\r\n"), Error::Transport);
        assert_eq!(refusal("m=audio 4000 RTP/AVP 9 18\r\n"), Error::NoCommonCodec);
        assert_eq!(refusal("m=video 4000 RTP/AVP 96\r\n"), Error::NoAudio);
        assert_eq!(refusal("m=audio 0 RTP/AVP 0\r\n"), Error::NoAudio);
        assert_eq!(refusal(""), Error::NoAudio);
        for error in [Error::Transport, Error::NoCommonCodec, Error::NoAudio] {
            assert_eq!(error.status(), 488);
            assert!(error.warning().is_some());
        }
        assert_eq!(refusal("m=audio x RTP/AVP 0\r\n").status(), 400);
    }

    #[test]
    fn the_packet_time_is_the_peer_s_wish_within_reason() {
        for (attributes, ptime) in [
            ("", 20),
            ("a=ptime:20\r\n", 20),
            ("a=ptime:30\r\n", 30),
            ("a=ptime:35\r\n", 30),
            ("a=ptime:5\r\n", 10),
            ("a=ptime:200\r\n", 60),
            ("a=maxptime:10\r\n", 10),
            ("a=ptime:60\r\na=maxptime:40\r\n", 40),
            ("a=ptime:0\r\na=maxptime:0\r\n", 20),
            ("a=ptime:x\r\n", 20),
            ("a=ptime:20.0\r\n", 20),
        ] {
            assert_eq!(answered(&format!("{MICROSIP}{attributes}")).1.ptime_ms, ptime, "{attributes:?}");
        }
    }

    #[test]
    fn one_port_for_both_is_taken_when_offered() {
        let (answer, agreed) = answered(&format!("{MICROSIP}a=rtcp-mux\r\n"));
        assert!(answer.contains("a=rtcp-mux\r\n") && agreed.rtcp_mux);
        assert_eq!(agreed.remote_rtcp, agreed.remote);
        assert!(!answered(MICROSIP).0.contains("rtcp-mux"));
    }

    #[test]
    fn the_version_rises_only_with_a_change() {
        let mut negotiation = negotiation();
        let mut origin = |media: &str| {
            let (answer, _) = negotiation.answer(&offer(media)).expect("it is acceptable");
            String::from_utf8(answer).expect("it is text").lines().nth(1).expect("o= is the second line").to_owned()
        };
        assert_eq!(origin(MICROSIP), "o=- 77 77 IN IP4 192.0.2.1");
        assert_eq!(origin(MICROSIP), "o=- 77 77 IN IP4 192.0.2.1");
        let hold = format!("{MICROSIP}a=sendonly\r\n");
        assert_eq!(origin(&hold), "o=- 77 78 IN IP4 192.0.2.1");
        assert_eq!(origin(&hold), "o=- 77 78 IN IP4 192.0.2.1");
        assert_eq!(origin(MICROSIP), "o=- 77 79 IN IP4 192.0.2.1");
    }

    #[test]
    fn a_refused_re_offer_changes_nothing() {
        let mut negotiation = negotiation();
        let first = negotiation.answer(&offer(MICROSIP)).expect("it is acceptable");
        assert!(negotiation.answer(&offer("m=audio 4000 RTP/AVP 9\r\n")).is_err());
        assert_eq!(negotiation.answer(&offer(MICROSIP)), Ok(first));
    }

    #[test]
    fn a_late_offer_is_ours_and_its_answer_decides() {
        let mut negotiation = negotiation();
        let ours = String::from_utf8(negotiation.offer()).expect("it is text");
        assert!(ours.contains("m=audio 10000 RTP/AVP 0 8 101\r\n"), "{ours}");
        // PJSIP's answer in the ACK, with another type for its events.
        let answer =
            offer("m=audio 4004 RTP/AVP 8 120\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:120 telephone-event/8000\r\n");
        let agreed = negotiation.read_answer(&answer).expect("it fits");
        assert_eq!((agreed.encoding, agreed.payload_type_sent), (Encoding::Pcma, 8));
        assert_eq!((agreed.telephone_event_sent, agreed.telephone_event_received), (Some(120), Some(101)));
        assert_eq!(agreed.encoding_received(0), Some(Encoding::Pcmu), "we offered it");
        for unfit in ["", "m=audio 0 RTP/AVP 0\r\n", "m=video 4 RTP/AVP 0\r\n", "m=audio 4 RTP/SAVP 0\r\n"] {
            assert_eq!(negotiation.read_answer(&offer(unfit)), Err(Error::NotAnAnswer), "{unfit:?}");
        }
        assert_eq!(negotiation.read_answer(&offer("m=audio 4 RTP/AVP 3\r\n")), Err(Error::NoCommonCodec));
    }

    #[test]
    fn our_re_offer_keeps_the_places_of_all_streams() {
        let mut negotiation = negotiation();
        negotiation.answer(&offer(&format!("m=video 4002 RTP/AVP 96\r\n{MICROSIP}"))).expect("it is acceptable");
        let ours = String::from_utf8(negotiation.offer()).expect("it is text");
        let media: Vec<&str> = ours.lines().filter(|line| line.starts_with("m=")).collect();
        assert_eq!(media, ["m=video 0 RTP/AVP 96", "m=audio 10000 RTP/AVP 0 8 101"]);
        assert!(ours.contains("o=- 77 78 "));
        let answer = offer("m=video 0 RTP/AVP 96\r\nm=audio 4000 RTP/AVP 0\r\n");
        assert!(negotiation.read_answer(&answer).is_ok());
    }

    #[test]
    fn an_ipv6_call_is_described_in_ipv6() {
        let mut negotiation = Negotiation::new(1, "[2001:db8::1]:10000".parse().expect("an address"));
        let (answer, agreed) =
            negotiation.answer(&offer(&format!("{MICROSIP}c=IN IP6 2001:db8::2\r\n"))).expect("it is acceptable");
        assert!(String::from_utf8(answer).expect("it is text").contains("c=IN IP6 2001:db8::1\r\n"));
        assert_eq!(agreed.remote.known(), Some("[2001:db8::2]:4000".parse().expect("an address")));
    }
}
