//! The answer to an offer, and our own offer: codec, direction, ptime (RFC 3264 §5, §6, §8).

use super::crypto::{self, Crypto, Cryptos, Keyring, Keys};
use super::description::{Connection, Direction, Media, Origin, RtpMap};
use super::{Agreed, Description, Encoding, Error, RemoteAddress};
use crate::config;
use std::net::{IpAddr, SocketAddr};

/// The payload type of telephone events in our own first offers; the usual one, though any dynamic one would do.
const TELEPHONE_EVENT: u8 = 101;
/// Its name in an `rtpmap` (RFC 4733 §2.4.1), and that of comfort noise (RFC 3389 §5.1).
const TELEPHONE_EVENT_NAME: &str = "telephone-event";
const COMFORT_NOISE: &str = "CN";
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
    /// The codec in use, and the payload type of telephone events: a re-offer asks to go on with them.
    used: Option<(Encoding, Option<u8>)>,
    /// What our own offers hold, best first.
    offered: &'static [Encoding],
    keyring: Keyring,
}

impl Negotiation {
    /// Begins for a call whose RTP port is `local`: the address that routes to the peer, never `0.0.0.0`. `session_id`
    /// is random, below 2^62 (RFC 8866 §5.2).
    #[must_use]
    pub fn new(session_id: u64, local: SocketAddr) -> Self {
        let offered = &Encoding::PREFERENCE;
        Self { session_id, version: session_id, local, last: None, used: None, offered, keyring: Keyring::default() }
    }

    /// Offers these codecs only, best first.
    #[must_use]
    pub fn offering(self, offered: &'static [Encoding]) -> Self {
        Self { offered, ..self }
    }

    /// Lets the call be encrypted, as `keyring` allows.
    #[must_use]
    pub fn with_keyring(self, keyring: Keyring) -> Self {
        Self { keyring, ..self }
    }

    /// Returns the keys that are agreed upon, where the call is encrypted.
    #[must_use]
    pub const fn keys(&self) -> Option<&Keys> {
        self.keyring.keys.as_ref()
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
        let (index, media, codec, crypto) = choose(&offer, self.keyring.mode)?;
        let keys = crypto.map(|crypto| self.keyring.keys_for(crypto)).transpose()?;
        let direction = our_direction(&offer, media);
        let (telephone_event, comfort_noise) = (telephone_event(media), comfort_noise(media));
        let ours = Media {
            direction: Some(direction),
            rtcp_mux: media.rtcp_mux,
            transport: media.transport.clone(),
            cryptos: Cryptos::of(
                crypto.zip(keys.as_ref()).map(|(theirs, keys)| theirs.answered(keys)).into_iter().collect(),
            ),
            ..self.audio(&[codec], comfort_noise, telephone_event)
        };
        let agreed = Agreed {
            encoding: codec.0,
            payload_type_sent: codec.1,
            payload_types_received: Encoding::ALL.map(|encoding| (encoding == codec.0).then_some(codec.1)),
            telephone_event_sent: telephone_event,
            telephone_event_received: telephone_event,
            comfort_noise_received: comfort_noise,
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
        self.used = Some((codec.0, telephone_event));
        self.keyring.keys = keys;
        Ok((self.describe(answered), agreed))
    }

    /// Returns our offer, for an INVITE or re-INVITE without one. Streams of the session so far keep their places (RFC 3264
    /// §8), and the codec in use comes first, so that a refresh changes nothing. Comfort noise is not offered: the room that the
    /// caller is in is worth more to the recogniser than its level.
    pub fn offer(&mut self) -> Vec<u8> {
        let (used, event) = self.used.map_or((None, None), |(used, event)| (Some(used), event));
        let others = self.offered.iter().copied().filter(|encoding| Some(*encoding) != used);
        let codecs: Vec<(Encoding, u8)> =
            used.into_iter().chain(others).map(|encoding| (encoding, encoding.payload_type())).collect();
        let transport = self.last.iter().flat_map(|last| &last.media).find(|media| media.port != 0);
        let (transport, cryptos) = self.keyring.offer(transport.map(|media| media.transport.as_str()));
        let audio = Media {
            direction: Some(Direction::SendRecv),
            rtcp_mux: false,
            transport,
            cryptos,
            ..self.audio(&codecs, None, Some(event.unwrap_or(TELEPHONE_EVENT)))
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
        let (index, offered) =
            offer.media.iter().enumerate().find(|(_, media)| media.port != 0).ok_or(Error::NotAnAnswer)?;
        let media = answer.media.get(index).ok_or(Error::NotAnAnswer)?;
        if media.port == 0 || media.kind != "audio" || !media.transport.eq_ignore_ascii_case(&offered.transport) {
            return Err(Error::NotAnAnswer);
        }
        let keys = self.keyring.accept(offered, media)?;
        let (encoding, payload_type_sent) = codec(media).ok_or(Error::NoCommonCodec)?;
        let telephone_event_sent = telephone_event(media);
        let telephone_event_received = telephone_event_sent.and_then(|_| telephone_event(offered));
        self.used = Some((encoding, telephone_event_received));
        let direction = our_direction(&answer, media);
        self.keyring.keys = keys;
        Ok(Agreed {
            encoding,
            payload_type_sent,
            // What we offered we are to take, whichever the answer names first.
            payload_types_received: Encoding::ALL.map(|encoding| payload_type_of(offered, encoding.name())),
            telephone_event_sent,
            telephone_event_received,
            comfort_noise_received: None,
            direction,
            held: !direction.sends(),
            remote: remote(&answer, media),
            remote_rtcp: remote_rtcp(&answer, media, false),
            rtcp_mux: false,
            ptime_ms: ptime(media),
        })
    }

    /// Our audio stream with these codecs, and with the payload types of what else it may hold.
    fn audio(&self, codecs: &[(Encoding, u8)], comfort_noise: Option<u8>, telephone_event: Option<u8>) -> Media {
        let map = |encoding: &str, payload_type| RtpMap {
            payload_type,
            encoding: encoding.into(),
            clock_rate: 8000,
            channels: 1,
        };
        let codecs = codecs.iter().map(|(encoding, payload_type)| map(encoding.name(), *payload_type));
        let comfort_noise = comfort_noise.map(|payload_type| map(COMFORT_NOISE, payload_type));
        let event = telephone_event.map(|payload_type| map(TELEPHONE_EVENT_NAME, payload_type));
        let rtpmaps: Vec<RtpMap> = codecs.chain(comfort_noise).chain(event).collect();
        Media {
            kind: "audio".into(),
            port: self.local.port(),
            transport: crypto::AVP.into(),
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

/// A stream of an offer that is taken: where it stands, its codec, and its keys where it is encrypted.
type Chosen<'a> = (usize, &'a Media, (Encoding, u8), Option<&'a Crypto>);

/// Chooses the stream and its codec: the first audio stream that has one of ours and is as secret as `mode` wants it, and of
/// its codecs the first.
fn choose(offer: &Description, mode: config::Srtp) -> Result<Chosen<'_>, Error> {
    let mut error = Error::NoAudio;
    for (index, media) in offer.media.iter().enumerate().filter(|(_, media)| media.kind == "audio" && media.port != 0) {
        match (crypto::choose(mode, media), codec(media)) {
            (Ok(crypto), Some(codec)) => return Ok((index, media, codec, crypto)),
            (Ok(_), None) => error = Error::NoCommonCodec,
            (Err(refused), _) => error = refused,
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

/// The payload type of telephone events at our clock rate.
fn telephone_event(media: &Media) -> Option<u8> {
    payload_type_of(media, TELEPHONE_EVENT_NAME)
}

/// The payload type of comfort noise at our clock rate. Whoever offers it pauses in silence, and is to tell how loud that is.
fn comfort_noise(media: &Media) -> Option<u8> {
    payload_type_of(media, COMFORT_NOISE)
}

fn payload_type_of(media: &Media, encoding: &str) -> Option<u8> {
    let (payload_type, ..) = media
        .formats
        .iter()
        .filter_map(|format| media.encoding_of(format))
        .find(|(_, name, clock_rate)| name.eq_ignore_ascii_case(encoding) && *clock_rate == 8000)?;
    Some(payload_type)
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
    use config::Srtp;

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
        assert_eq!(answered("m=audio 4000 RTP/AVP 18 0 8\r\n").1.encoding, Encoding::Pcmu);
        let (answer, agreed) = answered("m=audio 4000 RTP/AVP 9 0 8\r\n");
        assert_eq!((agreed.encoding, agreed.payload_type_sent), (Encoding::G722, 9));
        assert!(answer.contains("m=audio 10000 RTP/AVP 9\r\na=rtpmap:9 G722/8000\r\n"), "{answer}");
        assert_eq!(answered("m=audio 4000 RTP/AVP 8 9\r\n").1.encoding, Encoding::Pcma);
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
        assert_eq!(refusal("m=audio 4000 RTP/AVP 9\r\na=rtpmap:9 G722/16000\r\n"), Error::NoCommonCodec);
        // RFC 8866 §6.6: with two channels it is another format.
        assert_eq!(refusal("m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 PCMU/8000/2\r\n"), Error::NoCommonCodec);
    }

    #[test]
    fn comfort_noise_is_taken_where_it_is_offered() {
        let (answer, agreed) = answered("m=audio 4000 RTP/AVP 0 13 101\r\na=rtpmap:101 telephone-event/8000\r\n");
        assert_eq!(agreed.comfort_noise_received, Some(13));
        assert!(answer.contains("m=audio 10000 RTP/AVP 0 13 101\r\n") && answer.contains("a=rtpmap:13 CN/8000\r\n"));
        let (_, agreed) = answered("m=audio 4000 RTP/AVP 96 98 0\r\na=rtpmap:96 CN/16000\r\na=rtpmap:98 cn/8000\r\n");
        assert_eq!((agreed.comfort_noise_received, agreed.encoding), (Some(98), Encoding::Pcmu));
        assert_eq!(answered(MICROSIP).1.comfort_noise_received, None);
        assert_eq!(refusal("m=audio 4000 RTP/AVP 13\r\n"), Error::NoCommonCodec, "no speech in it");
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
        assert_eq!(refusal("m=audio 4000 RTP/AVP 3 18\r\n"), Error::NoCommonCodec);
        assert_eq!(refusal("m=video 4000 RTP/AVP 96\r\n"), Error::NoAudio);
        assert_eq!(refusal("m=audio 0 RTP/AVP 0\r\n"), Error::NoAudio);
        assert_eq!(refusal(""), Error::NoAudio);
        for error in [Error::Transport, Error::NoCommonCodec, Error::NoAudio] {
            assert_eq!(error.status(), 488);
            assert!((302..=305).contains(&error.warning().0));
        }
        let malformed = refusal("m=audio x RTP/AVP 0\r\n");
        assert_eq!((malformed.status(), malformed.warning().0), (400, 399));
        assert!(malformed.warning().1.starts_with("malformed session description: m="), "{:?}", malformed.warning());
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
        assert!(negotiation.answer(&offer("m=audio 4000 RTP/AVP 18\r\n")).is_err());
        assert_eq!(negotiation.answer(&offer(MICROSIP)), Ok(first));
    }

    #[test]
    fn a_late_offer_is_ours_and_its_answer_decides() {
        let mut negotiation = negotiation();
        let ours = String::from_utf8(negotiation.offer()).expect("it is text");
        assert!(ours.contains("m=audio 10000 RTP/AVP 9 0 8 101\r\n"), "{ours}");
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
        assert_eq!(media, ["m=video 0 RTP/AVP 96", "m=audio 10000 RTP/AVP 8 9 0 120"], "first what is in use");
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

    /// What MicroSIP's stack offers: four lines, AES-256 first.
    const CRYPTOS: &str = "a=crypto:1 AES_256_CM_HMAC_SHA1_80 \
        inline:auOlaP9LnffeQBEddVNDIN9h5XKUlkPN9I7NN6OX9coEArlitMLNGv4LUqnnBg==\r\n\
        a=crypto:2 AES_256_CM_HMAC_SHA1_32 \
        inline:C1EY5wgTw6lN0GPNenHRu2WElvvCMjdrRbLbhLtycQkDQV8OHijhQwU8ZF3YjQ==\r\n\
        a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:uVRFzqNsixRG86J5vjw/V6+xFBgFrmqhT5szfsFi\r\n\
        a=crypto:4 AES_CM_128_HMAC_SHA1_32 inline:+b45ER2675uZhKXv6Du1CjY685mTZsIS4MEOH119\r\n";

    /// Keys that count up, each unlike the one before.
    fn random(bytes: &mut [u8]) -> bool {
        use std::sync::atomic::{AtomicU8, Ordering};
        static NEXT: AtomicU8 = AtomicU8::new(1);
        bytes.fill(NEXT.fetch_add(1, Ordering::Relaxed));
        true
    }

    fn secure(mode: Srtp) -> Negotiation {
        negotiation().with_keyring(Keyring::new(mode, random))
    }

    fn with_keys(media: &str) -> Vec<u8> {
        offer(&format!("{media}{CRYPTOS}"))
    }

    fn savp(media: &str) -> String {
        media.replace("RTP/AVP", "RTP/SAVP")
    }

    fn lines(answer: &[u8], prefix: &str) -> Vec<String> {
        let text = std::str::from_utf8(answer).expect("it is text");
        text.lines().filter(|line| line.starts_with(prefix)).map(ToOwned::to_owned).collect()
    }

    #[test]
    fn keys_are_taken_and_given_in_the_offered_transport() {
        for (media, mode) in [
            (MICROSIP.to_owned(), Srtp::Optional),
            (MICROSIP.to_owned(), Srtp::Mandatory),
            (savp(MICROSIP), Srtp::Optional),
            (savp(MICROSIP), Srtp::Mandatory),
            (MICROSIP.replace("RTP/AVP", "RTP/SAVPF"), Srtp::Optional),
        ] {
            let mut negotiation = secure(mode);
            let (answer, _) = negotiation.answer(&with_keys(&media)).expect("it is acceptable");
            let keys = negotiation.keys().expect("it is encrypted");
            let transport = media.split(' ').nth(2).expect("a transport");
            assert_eq!(lines(&answer, "m="), [format!("m=audio 10000 {transport} 8 120")]);
            let cryptos = lines(&answer, "a=crypto");
            assert_eq!(cryptos.len(), 1, "{cryptos:?}");
            assert!(cryptos[0].starts_with("a=crypto:1 AES_256_CM_HMAC_SHA1_80 inline:"), "{cryptos:?}");
            assert_eq!(keys.suite, crypto::Suite::Aes256CmSha80);
            assert_eq!((keys.ours.as_bytes().len(), &keys.theirs.as_bytes()[..3]), (46, &[0x6a, 0xe3, 0xa5][..]));
            assert_eq!(Description::parse(&answer).expect("ours").media[0].cryptos.lines[0].key, keys.ours);
        }
    }

    #[test]
    fn without_encryption_keys_are_as_if_they_were_not_there() {
        let (answer, _) = secure(Srtp::Off).answer(&with_keys(MICROSIP)).expect("it is acceptable");
        assert_eq!(answer, answered(MICROSIP).0.into_bytes());
        let error = secure(Srtp::Off).answer(&with_keys(&savp(MICROSIP))).expect_err("it insists");
        assert_eq!((error, error.status()), (Error::Transport, 488));
        let mut plain = secure(Srtp::Optional);
        let (answer, _) = plain.answer(&offer(MICROSIP)).expect("it is acceptable");
        assert!(lines(&answer, "a=crypto").is_empty() && plain.keys().is_none());
    }

    #[test]
    fn what_has_to_be_encrypted_and_cannot_be_is_refused() {
        let refused = |mode, body: &[u8]| secure(mode).answer(body).expect_err("it is not acceptable");
        assert_eq!(refused(Srtp::Optional, &offer(&savp(MICROSIP))), Error::Crypto, "no keys");
        assert_eq!(refused(Srtp::Mandatory, &offer(MICROSIP)), Error::Unencrypted);
        let twice = format!("{}{CRYPTOS}{CRYPTOS}", savp(MICROSIP));
        assert_eq!(refused(Srtp::Optional, &offer(&twice)), Error::Crypto, "each number twice");
        let unsigned = CRYPTOS.replace("\r\n", " UNAUTHENTICATED_SRTP\r\n");
        assert_eq!(refused(Srtp::Optional, &offer(&format!("{}{unsigned}", savp(MICROSIP)))), Error::Crypto);
        for error in [Error::Crypto, Error::Unencrypted] {
            assert_eq!((error.status(), error.warning().0), (488, 399));
        }
        // Where it need not be, it is not.
        let broken = format!("{MICROSIP}a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA\r\n");
        let mut negotiation = secure(Srtp::Optional);
        assert!(negotiation.answer(&offer(&broken)).is_ok() && negotiation.keys().is_none());
        let mut dry = self::negotiation().with_keyring(Keyring::new(Srtp::Optional, |_| false));
        assert_eq!(dry.answer(&with_keys(&savp(MICROSIP))), Err(Error::Crypto), "no randomness");
    }

    #[test]
    fn a_stream_in_the_clear_is_taken_where_the_encrypted_one_cannot_be() {
        let both = format!("m=audio 4000 RTP/SAVP 0\r\n{MICROSIP}");
        let (answer, _) = secure(Srtp::Optional).answer(&offer(&both)).expect("the second is acceptable");
        assert_eq!(lines(&answer, "m="), ["m=audio 0 RTP/SAVP 0", "m=audio 10000 RTP/AVP 8 120"]);
    }

    #[test]
    fn our_key_stays_as_long_as_theirs_does() {
        let mut negotiation = secure(Srtp::Optional);
        let (first, _) = negotiation.answer(&with_keys(MICROSIP)).expect("it is acceptable");
        let keys = negotiation.keys().cloned();
        let hold = with_keys(&format!("{MICROSIP}a=sendonly\r\n"));
        negotiation.answer(&hold).expect("it is acceptable");
        assert_eq!(negotiation.keys().cloned(), keys, "a hold");
        assert!(negotiation.answer(&with_keys("m=audio 4000 RTP/AVP 18\r\n")).is_err());
        assert_eq!(negotiation.keys().cloned(), keys, "a refused offer");
        let (again, _) = negotiation.answer(&with_keys(MICROSIP)).expect("it is acceptable");
        assert_eq!(lines(&again, "a=crypto"), lines(&first, "a=crypto"));
        let other = CRYPTOS.replace("auOl", "buOl");
        negotiation.answer(&offer(&format!("{MICROSIP}{other}"))).expect("it is acceptable");
        let rekeyed = negotiation.keys().cloned().expect("it is encrypted");
        assert!(keys.is_some_and(|keys| keys.ours != rekeyed.ours && keys.theirs != rekeyed.theirs));
        negotiation.answer(&offer(MICROSIP)).expect("it is acceptable");
        assert!(negotiation.keys().is_none(), "encryption is given up");
    }

    #[test]
    fn a_late_offer_has_keys_where_we_insist() {
        assert!(lines(&secure(Srtp::Optional).offer(), "a=crypto").is_empty());
        let mut negotiation = secure(Srtp::Mandatory);
        let ours = negotiation.offer();
        assert_eq!(lines(&ours, "m="), ["m=audio 10000 RTP/SAVP 9 0 8 101"]);
        let cryptos = Description::parse(&ours).expect("ours").media.remove(0).cryptos.lines;
        assert_eq!(cryptos.len(), 4);
        let taken = "a=crypto:2 AES_256_CM_HMAC_SHA1_80 \
            inline:auOlaP9LnffeQBEddVNDIN9h5XKUlkPN9I7NN6OX9coEArlitMLNGv4LUqnnBg==\r\n";
        let answer = |media: &str, crypto: &str| offer(&format!("{media}{crypto}"));
        let media = "m=audio 4004 RTP/SAVP 8\r\n";
        let unknown = taken.replace(":2 ", ":5 ");
        let other = taken.replace(":2 ", ":1 ");
        for unfit in [
            answer(media, ""),
            answer(media, &unknown),
            answer(media, &other),
            answer("m=audio 4004 RTP/AVP 8\r\n", taken),
        ] {
            assert_eq!(negotiation.read_answer(&unfit), Err(Error::NotAnAnswer));
            assert!(negotiation.keys().is_none());
        }
        assert!(negotiation.read_answer(&answer(media, taken)).is_ok());
        let keys = negotiation.keys().expect("it is encrypted");
        assert_eq!((keys.suite, &keys.ours), (crypto::Suite::Aes256CmSha80, &cryptos[1].key));
    }

    #[test]
    fn our_re_offer_of_an_encrypted_call_keeps_our_key() {
        let mut negotiation = secure(Srtp::Optional);
        let (first, _) = negotiation.answer(&with_keys(&savp(MICROSIP))).expect("it is acceptable");
        let keys = negotiation.keys().cloned().expect("it is encrypted");
        let ours = negotiation.offer();
        assert_eq!(lines(&ours, "m="), ["m=audio 10000 RTP/SAVP 8 9 0 120"]);
        assert_eq!(lines(&ours, "a=crypto"), lines(&first, "a=crypto"));
        let crypto = CRYPTOS.split_inclusive("\r\n").next().expect("a line");
        negotiation.read_answer(&offer(&format!("m=audio 4000 RTP/SAVP 8\r\n{crypto}"))).expect("it fits");
        assert_eq!(negotiation.keys(), Some(&keys));
    }

    #[test]
    fn the_session_s_state_shows_no_key() {
        let mut negotiation = secure(Srtp::Optional);
        negotiation.answer(&with_keys(MICROSIP)).expect("it is acceptable");
        let shown = format!("{negotiation:?}");
        assert!(
            shown.contains("<key of 46 bytes>") && !shown.contains("inline") && !shown.contains("106, 227"),
            "{shown}"
        );
    }
}
