//! Why a call has no sound: told what happens on the media path, says from 1 s of silence on what is wrong.
//!
//! It keeps a handful of times and counts, and judges them ten times a second. What it says is a [`Finding`], small enough for
//! a ring; the sentence is made by who shows it.

use super::finding::{Audio, Finding, State};
use crate::rtp::Discard;
use crate::rtp::packet::{self, Kind};
use crate::rtp::rtcp::ReportBlock;
use crate::sdp::Agreed;
use crate::time::Instant;
use std::net::SocketAddr;
use std::time::Duration;

/// Silence after which something is wrong: no greeting of a person takes longer to begin, and packets come each 20 ms.
const SILENCE: Duration = Duration::from_secs(1);
/// How often it is judged.
const INTERVAL: Duration = Duration::from_millis(100);
/// A phone that sends nothing while nobody speaks still sends a packet each 5 s (PJSIP's `PJMEDIA_CODEC_MAX_SILENCE_PERIOD`);
/// after a little more the way is broken.
const PAUSE_MAX: Duration = Duration::from_secs(6);
/// Digital silence after there was sound once: a caller who listens behind a noise gate has pauses as long as our answers.
const MUTED_LATER: Duration = Duration::from_secs(15);
/// Sound that stays as low as noise for this long, through a greeting and what should be the answer to it.
const QUIET_FOR: Duration = Duration::from_secs(10);
/// What may be meant is not written into the log before it has lasted.
const MEANT_FOR: Duration = Duration::from_secs(5);
/// Loudest sample of digital silence: A-law's two codes next to nothing are ±8, and a filter may double that.
const DIGITAL_SILENCE_PEAK: u16 = 16;
/// Loudest sample of what is noise at best: -50 dBov, 20 dB below the quietest speech (ITU-T P.56 levels).
const NOISE_PEAK: u16 = 104;
/// Refused packets of one kind that are no accident.
const REFUSED_MIN: u32 = 3;
/// Packets in a row of SRTP's length that are no accident.
const ODD_LENGTHS_MIN: u32 = 10;
/// Bytes of 10 ms of G.711 and of G.722: every packet of theirs is a multiple.
const BYTES_10_MS: usize = 80;
/// Bytes of SRTP's tags, which stand at the end of the payload (RFC 3711 §3.1, RFC 4568 §6.2).
const TAGS: [usize; 2] = [10, 4];
/// For this long after our first packet a report may leave it out.
const REPORT_GRACE: Duration = Duration::from_secs(3);
/// How many of our packets must have been sent between two reports, for the second one to have heard of any.
const SENT_MIN: u32 = 25;
/// How much a report adds to the doubt that our packets arrive: one that says that nothing has come, and one that hints
/// at it by leaving us out; and the doubt that convinces: two of the first kind, or four of the other.
const SAYS_NOTHING: u8 = 2;
const LEAVES_OUT: u8 = 1;
const CONVINCING: u8 = 4;
/// Share of packets lost, of 256, that is as good as all.
const ALL_LOST: u8 = 250;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A packet of audio was taken; the length of its payload.
    Audio { len: usize },
    /// A packet that says that the caller is silent was taken (RFC 3389).
    ComfortNoise,
    /// A datagram was refused.
    Refused { source: SocketAddr, reason: Discard, payload_type: u8, kind: Kind },
    /// The loudest sample in 20 ms of what the caller sent.
    Sound { peak: u16 },
    /// A packet of ours was sent, or could not be, or had no address.
    Sent { to: Option<SocketAddr>, gone: bool },
    /// The peer's RTCP, and what it says about our stream.
    Report(Option<ReportBlock>),
}

/// What is told of a call's audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// How the audio is.
    pub audio: Audio,
    /// Whether it is to be written into the log: once per finding, and once more when the audio flows after one.
    pub log: bool,
}

/// What the descriptions say, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Session {
    described: Option<SocketAddr>,
    payload_type: u8,
    held: bool,
    receives: bool,
}

impl Session {
    fn of(agreed: &Agreed) -> Self {
        Self {
            described: agreed.remote.known(),
            payload_type: agreed.payload_type_sent,
            held: agreed.held,
            receives: agreed.direction.receives(),
        }
    }
}

/// What was refused since audio was last taken.
#[derive(Clone, Copy, Debug, Default)]
struct Refused {
    other_address: Option<SocketAddr>,
    other_addresses: u32,
    payload_type: u8,
    payload_types: u32,
    unsteady: Option<SocketAddr>,
    unsteadies: u32,
    handshakes: u32,
    unauthentic: u32,
}

/// What the peer's RTCP says of our stream.
#[derive(Clone, Copy, Debug, Default)]
struct Reports {
    any: bool,
    highest: Option<u32>,
    sent_before: u32,
    doubt: u8,
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Doctor {
    session: Session,
    port: u16,
    began: Instant,
    next: Instant,
    audio_at: Option<Instant>,
    noise_at: Option<Instant>,
    odd_lengths: u32,
    sound_at: Option<Instant>,
    loudest: u16,
    refused: Refused,
    reports: Reports,
    first_sent: Option<Instant>,
    sent: u32,
    send_failures: u32,
    nowhere: u32,
    to: Option<SocketAddr>,
    audio: Audio,
    since: Instant,
    changed: bool,
    /// A bit per finding that is in the log.
    logged: u16,
    /// Whether the log's last word is a finding.
    complained: bool,
}

impl Doctor {
    /// Begins at the answer; `port` is our RTP port.
    #[must_use]
    pub fn new(agreed: &Agreed, port: u16, now: Instant) -> Self {
        Self {
            session: Session::of(agreed),
            port,
            began: now,
            next: now + SILENCE,
            audio_at: None,
            noise_at: None,
            odd_lengths: 0,
            sound_at: None,
            loudest: 0,
            refused: Refused::default(),
            reports: Reports::default(),
            first_sent: None,
            sent: 0,
            send_failures: 0,
            nowhere: 0,
            to: None,
            audio: Audio::default(),
            since: now,
            changed: false,
            logged: 0,
            complained: false,
        }
    }

    /// Takes what a re-offer agreed upon; where nothing of it matters here, all goes on.
    ///
    /// # Real-time
    /// Constant time.
    pub fn set_agreed(&mut self, agreed: &Agreed, now: Instant) {
        if self.session == Session::of(agreed) {
            return;
        }
        let (audio, logged, complained) = (self.audio, self.logged, self.complained);
        *self = Self { audio, logged, complained, ..Self::new(agreed, self.port, now) };
        self.judge(now);
    }

    /// Takes one input.
    ///
    /// # Real-time
    /// Constant time.
    pub fn handle_input(&mut self, input: Input, now: Instant) {
        match input {
            Input::Audio { len } => {
                self.audio_at = Some(now);
                self.refused = Refused::default();
                let odd = TAGS.contains(&(len % BYTES_10_MS));
                self.odd_lengths = if odd { self.odd_lengths.saturating_add(1) } else { 0 };
            }
            Input::ComfortNoise => self.noise_at = Some(now),
            Input::Refused { source, reason, payload_type, kind } => self.refused(source, reason, payload_type, kind),
            Input::Sound { peak } => {
                if peak > DIGITAL_SILENCE_PEAK {
                    self.sound_at = Some(now);
                }
                self.loudest = self.loudest.max(peak);
            }
            Input::Sent { to, gone } => {
                self.first_sent.get_or_insert(now);
                self.to = to;
                self.sent = self.sent.wrapping_add(u32::from(gone));
                self.nowhere = if to.is_none() { self.nowhere.saturating_add(1) } else { 0 };
                self.send_failures = if gone || to.is_none() { 0 } else { self.send_failures.saturating_add(1) };
            }
            Input::Report(block) => self.report(block, now),
        }
    }

    /// Takes the passage of time.
    ///
    /// # Real-time
    /// Constant time.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now >= self.next {
            self.judge(now);
        }
    }

    /// Returns when [`Self::handle_timeout`] is due.
    #[must_use]
    pub const fn poll_timeout(&self) -> Instant {
        self.next
    }

    /// Returns what has changed since this was last asked.
    ///
    /// # Real-time
    /// Constant time.
    pub fn poll_output(&mut self, now: Instant) -> Option<Told> {
        let log = self.is_to_be_logged(now);
        if !std::mem::take(&mut self.changed) && !log {
            return None;
        }
        if log {
            self.complained = self.audio.finding.is_some();
            self.logged |= self.audio.finding.map_or(0, |finding| 1 << finding.index());
        }
        Some(Told { audio: self.audio, log })
    }

    /// Returns how the audio is.
    #[must_use]
    pub const fn audio(&self) -> Audio {
        self.audio
    }

    fn is_to_be_logged(&self, now: Instant) -> bool {
        match self.audio.finding {
            Some(finding) => {
                let lasted = !finding.may_be_meant() || now.since(self.since) >= MEANT_FOR;
                lasted && self.logged & (1 << finding.index()) == 0
            }
            None => self.complained && self.audio.state == State::Ok,
        }
    }

    fn refused(&mut self, source: SocketAddr, reason: Discard, payload_type: u8, kind: Kind) {
        let refused = &mut self.refused;
        let count = |count: &mut u32| *count = count.saturating_add(1);
        match reason {
            Discard::Foreign | Discard::Unconfirmed => {
                refused.other_address = Some(source);
                count(&mut refused.other_addresses);
            }
            Discard::PayloadType => {
                refused.payload_type = payload_type;
                count(&mut refused.payload_types);
            }
            Discard::Probation => {
                refused.unsteady = Some(source);
                count(&mut refused.unsteadies);
            }
            Discard::NotRtp if kind == packet::Kind::Other => count(&mut refused.handshakes),
            Discard::Authentication => count(&mut refused.unauthentic),
            // The rest is of a stream that was taken, or broken beyond any name.
            _ => {}
        }
    }

    fn report(&mut self, block: Option<ReportBlock>, now: Instant) {
        let sent = self.sent.wrapping_sub(self.reports.sent_before);
        let may_know = self.first_sent.is_some_and(|first| now.since(first) >= REPORT_GRACE) && sent >= SENT_MIN;
        let reports = &mut self.reports;
        reports.any = true;
        if let Some(block) = block {
            let stood_still = reports.highest.replace(block.highest_sequence) == Some(block.highest_sequence);
            let heard = !stood_still && block.fraction_lost < ALL_LOST;
            reports.doubt = match (heard, may_know) {
                (true, _) => 0,
                (false, true) => reports.doubt.saturating_add(SAYS_NOTHING),
                (false, false) => reports.doubt,
            };
        } else if may_know {
            reports.doubt = reports.doubt.saturating_add(LEAVES_OUT);
        }
        if block.is_some() || may_know {
            reports.sent_before = self.sent;
        }
    }

    fn judge(&mut self, now: Instant) {
        self.next = now + INTERVAL;
        let audio = self.judgement(now);
        let index = |audio: Audio| audio.finding.map(Finding::index);
        // The same finding with another address is the same: a sprayer shall not make the log flicker.
        if (audio.state, index(audio)) != (self.audio.state, index(self.audio)) {
            self.audio = audio;
            self.since = now;
            self.changed = true;
        }
    }

    fn judgement(&self, now: Instant) -> Audio {
        let found = |state, finding| Audio { state, finding: Some(finding) };
        if self.session.held {
            return found(State::Held, Finding::OnHold);
        }
        if now.since(self.began) < SILENCE {
            return Audio::default();
        }
        if !self.session.receives {
            return found(State::Silent, Finding::SendsNothing);
        }
        if self.audio_at.is_none_or(|at| now.since(at) >= SILENCE) {
            return self.without_packets(now);
        }
        if self.odd_lengths >= ODD_LENGTHS_MIN {
            return found(State::Silent, Finding::Encrypted);
        }
        if let Some(finding) = self.one_way() {
            return found(State::OneWay, finding);
        }
        match self.without_sound(now) {
            Some(finding) => found(State::Quiet, finding),
            None => Audio { state: State::Ok, finding: None },
        }
    }

    /// Nothing was taken for a second.
    fn without_packets(&self, now: Instant) -> Audio {
        let Session { described, payload_type: agreed, .. } = self.session;
        let found = |finding| Audio { state: State::Silent, finding: Some(finding) };
        let refused = &self.refused;
        if refused.payload_types >= REFUSED_MIN {
            return found(Finding::OtherPayloadType { came: refused.payload_type, agreed });
        }
        if let Some(source) = refused.unsteady.filter(|_| refused.unsteadies >= REFUSED_MIN) {
            return found(Finding::Unsteady { source });
        }
        if let Some(source) = refused.other_address.filter(|_| refused.other_addresses >= REFUSED_MIN) {
            return found(Finding::OtherAddress { described, source });
        }
        if refused.unauthentic >= REFUSED_MIN {
            return found(Finding::NotAuthentic);
        }
        if refused.handshakes >= REFUSED_MIN {
            return found(Finding::Handshake);
        }
        match self.audio_at.max(self.noise_at) {
            None => found(Finding::NothingArrives { port: self.port, described, rtcp: self.reports.any }),
            Some(last) if now.since(last) >= PAUSE_MAX => found(Finding::Stopped),
            // A phone that has brought speech once is believed that it pauses.
            Some(_) if self.loudest > NOISE_PEAK => Audio { state: State::Ok, finding: None },
            Some(_) => Audio { state: State::Quiet, finding: Some(Finding::Pauses) },
        }
    }

    fn one_way(&self) -> Option<Finding> {
        if self.nowhere >= SENT_MIN {
            return Some(Finding::NowhereToSend { described: self.session.described });
        }
        let to = self.to?;
        if self.send_failures >= SENT_MIN {
            return Some(Finding::CannotSend { to });
        }
        (self.reports.doubt >= CONVINCING).then_some(Finding::HearsNothing { to })
    }

    fn without_sound(&self, now: Instant) -> Option<Finding> {
        let muted = match self.sound_at {
            None => true,
            Some(at) => now.since(at) >= MUTED_LATER,
        };
        if muted {
            return Some(Finding::Muted);
        }
        let quiet = self.loudest <= NOISE_PEAK && now.since(self.began) >= QUIET_FOR;
        quiet.then(|| Finding::TooQuiet { dbov: dbov(self.loudest) })
    }
}

/// The level of a peak, in dB below overload.
fn dbov(peak: u16) -> i8 {
    let ratio = f32::from(peak.max(1)) / 32_768.0;
    (20.0 * ratio.log10()) as i8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::Ssrc;
    use crate::sdp::{Direction, Encoding, RemoteAddress};

    const PHONE: &str = "192.168.1.5:4000";

    fn agreed() -> Agreed {
        Agreed {
            encoding: Encoding::Pcma,
            payload_type_sent: 8,
            payload_types_received: [None, Some(8), None],
            comfort_noise_received: None,
            telephone_event_sent: None,
            telephone_event_received: None,
            direction: Direction::SendRecv,
            held: false,
            remote: RemoteAddress::Known(PHONE.parse().expect("an address")),
            remote_rtcp: RemoteAddress::Learned { port: 4001 },
            rtcp_mux: false,
            ptime_ms: 20,
        }
    }

    /// A doctor in a call, in virtual time.
    struct Case {
        doctor: Doctor,
        now: Instant,
        told: Vec<Told>,
    }

    impl Case {
        fn new() -> Self {
            let now = Instant::from_millis(5000);
            Self { doctor: Doctor::new(&agreed(), 10_000, now), now, told: Vec::new() }
        }

        /// Lets `slots` of 20 ms pass; in each the inputs of `each` happen.
        fn pass(&mut self, slots: u32, mut each: impl FnMut(u32) -> Vec<Input>) {
            for slot in 0..slots {
                for input in each(slot) {
                    self.doctor.handle_input(input, self.now);
                }
                self.now += Duration::from_millis(20);
                self.doctor.handle_timeout(self.now);
                self.told.extend(self.doctor.poll_output(self.now));
            }
        }

        fn finding(&self) -> Option<Finding> {
            self.doctor.audio().finding
        }
    }

    fn phone() -> SocketAddr {
        PHONE.parse().expect("an address")
    }

    /// What a good slot of a call looks like.
    fn talk() -> Vec<Input> {
        vec![Input::Audio { len: 160 }, Input::Sound { peak: 5000 }, Input::Sent { to: Some(phone()), gone: true }]
    }

    fn refused(reason: Discard, kind: Kind) -> Input {
        Input::Refused { source: phone(), reason, payload_type: 18, kind }
    }

    #[test]
    fn a_call_with_sound_has_no_finding() {
        let mut case = Case::new();
        case.pass(1000, |_| talk());
        assert_eq!(case.doctor.audio(), Audio { state: State::Ok, finding: None });
        assert_eq!(case.told.len(), 1, "once it is known: {:?}", case.told);
        assert!(!case.told[0].log, "and nobody is told what is as it should be");
    }

    #[test]
    fn packets_as_long_as_srtp_s_are_encrypted() {
        for (len, encrypted) in [(170, true), (164, true), (330, true), (160, false), (240, false)] {
            let mut case = Case::new();
            case.pass(60, |_| vec![Input::Audio { len }, Input::Sound { peak: 30_000 }]);
            assert_eq!(case.finding() == Some(Finding::Encrypted), encrypted, "{len} bytes");
        }
    }

    #[test]
    fn what_is_refused_in_place_of_audio_names_the_cause() {
        let source = phone();
        for (reason, kind, finding) in [
            (Discard::NotRtp, Kind::Other, Finding::Handshake),
            (Discard::Probation, Kind::Rtp, Finding::Unsteady { source }),
            (Discard::PayloadType, Kind::Rtp, Finding::OtherPayloadType { came: 18, agreed: 8 }),
            (Discard::Foreign, Kind::Rtp, Finding::OtherAddress { described: Some(source), source }),
        ] {
            let mut case = Case::new();
            case.pass(60, |_| vec![refused(reason, kind)]);
            assert_eq!(case.finding(), Some(finding));
            // The same beside good audio means nothing.
            let mut case = Case::new();
            case.pass(60, |_| [refused(reason, kind)].into_iter().chain(talk()).collect());
            assert_eq!(case.finding(), None, "{reason:?}");
        }
    }

    #[test]
    fn packets_that_cannot_leave_are_noticed() {
        let to = phone();
        for (address, finding) in
            [(Some(to), Finding::CannotSend { to }), (None, Finding::NowhereToSend { described: Some(to) })]
        {
            let mut case = Case::new();
            let heard = || vec![Input::Audio { len: 160 }, Input::Sound { peak: 5000 }];
            case.pass(100, |_| heard().into_iter().chain([Input::Sent { to: address, gone: false }]).collect());
            assert_eq!(case.doctor.audio(), Audio { state: State::OneWay, finding: Some(finding) });
            case.pass(10, |_| talk());
            assert_eq!(case.finding(), None);
        }
    }

    #[test]
    fn reports_that_leave_us_out_convince_slowly_and_one_that_names_us_at_once() {
        let mut case = Case::new();
        let mut reports = 0;
        while case.finding().is_none() && reports < 10 {
            case.pass(250, |_| talk());
            case.doctor.handle_input(Input::Report(None), case.now);
            case.pass(10, |_| talk());
            reports += 1;
        }
        assert_eq!((reports, case.finding()), (4, Some(Finding::HearsNothing { to: phone() })));
        let block = ReportBlock { ssrc: Ssrc(1), highest_sequence: 9, ..ReportBlock::default() };
        case.doctor.handle_input(Input::Report(Some(block)), case.now);
        case.pass(10, |_| talk());
        assert_eq!(case.finding(), None);
    }

    #[test]
    fn a_low_microphone_is_told_with_its_level() {
        let mut case = Case::new();
        let low = || vec![Input::Audio { len: 160 }, Input::Sound { peak: 40 }];
        case.pass(490, |_| low());
        assert_eq!(case.finding(), None);
        case.pass(20, |_| low());
        assert_eq!(case.finding(), Some(Finding::TooQuiet { dbov: -58 }));
        case.pass(10, |_| talk());
        assert_eq!(case.finding(), None);
    }

    #[test]
    fn comfort_noise_is_no_speech_and_no_dead_line() {
        let mut case = Case::new();
        // One each second, as RFC 3389 has it for a steady background.
        case.pass(500, |slot| if slot % 50 == 0 { vec![Input::ComfortNoise] } else { Vec::new() });
        assert_eq!(case.doctor.audio(), Audio { state: State::Quiet, finding: Some(Finding::Pauses) });
    }

    #[test]
    fn whatever_happens_the_log_gets_a_bounded_number_of_lines() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut case = Case::new();
        let mut agreed = agreed();
        for _ in 0..3000 {
            let way = rng.u8(..10);
            case.pass(rng.u32(1..400), |_| match way {
                0 => talk(),
                1 => vec![Input::Audio { len: 160 }],
                2 => vec![refused(Discard::Foreign, Kind::Rtp)],
                3 => vec![refused(Discard::PayloadType, Kind::Rtp)],
                4 => vec![refused(Discard::NotRtp, Kind::Other)],
                5 => vec![Input::Audio { len: 170 }],
                6 => vec![Input::Report(None), Input::Sent { to: Some(phone()), gone: false }],
                7 => vec![Input::ComfortNoise],
                _ => Vec::new(),
            });
            if way == 9 {
                agreed.held = !agreed.held;
                case.doctor.set_agreed(&agreed, case.now);
            }
        }
        let lines = case.told.iter().filter(|told| told.log).count();
        assert!(lines <= 2 * Finding::COUNT, "{lines} lines");
        assert!(lines > Finding::COUNT / 2, "{lines} lines");
    }
}
