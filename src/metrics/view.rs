//! A call as others see it: the snapshots that the control API turns into JSON, and the counts over all calls.

use crate::agent::{FailureKind, TurnRecord};
use crate::call::echo::Estimate;
use crate::call::finding::{Audio, Finding};
use crate::ids::CallId;
use crate::metrics::health::ProviderStage;
use crate::metrics::histogram::Percentiles;
use crate::metrics::slo::Breach;
use crate::rtp::rtcp::RemoteInbound;
use crate::sip::EndedBy;
use crate::time::Instant;
use crate::turn::timeline::Stages;
use std::net::SocketAddr;
use std::time::Duration;

/// The names of the providers that serve a call, as their `name()` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProviderNames {
    /// Who hears.
    pub stt: &'static str,
    /// Who thinks.
    pub llm: &'static str,
    /// Who speaks.
    pub tts: &'static str,
}

/// A call as its INVITE tells.
#[derive(Clone, Debug)]
pub struct Invited<'a> {
    /// The engine's number for it.
    pub call: CallId,
    /// The Call-ID header's value.
    pub call_id: &'a str,
    /// The From header's value.
    pub from: &'a str,
    /// The To header's value.
    pub to: &'a str,
    /// Where the INVITE came from.
    pub source: SocketAddr,
    /// Our RTP port for it.
    pub rtp_port: u16,
    /// Who will serve it.
    pub providers: ProviderNames,
}

/// What a call is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallState {
    /// Invited, and not answered yet.
    Ringing,
    /// Answered.
    Active,
    /// Over.
    Ended,
}

impl CallState {
    /// Returns the word that the control API shows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ringing => "ringing",
            Self::Active => "active",
            Self::Ended => "ended",
        }
    }
}

/// How well a call's media flow, as the media path counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quality {
    /// RTP packets of the caller that were taken.
    pub packets_received: u64,
    /// Packets that never came (RFC 3550 A.3).
    pub lost: u64,
    /// Packets that came after their gap was given up.
    pub late: u64,
    /// Packets that came twice.
    pub duplicate: u64,
    /// Datagrams that were refused before they counted: not RTP, wrong source, wrong payload type.
    pub discarded: u64,
    /// Those of them that were not from the call's peer.
    pub foreign: u64,
    /// Speech that was made up, in all.
    pub concealed: Duration,
    /// Kept words that bridged the wait for replies, as far as they were sent.
    pub filler: Duration,
    /// RTP packets sent.
    pub packets_sent: u64,
    /// 20 ms slots in which the agent should have spoken, and nothing was there yet.
    pub underruns: u64,
    /// What the caller reported last of our packets.
    pub remote_inbound: Option<RemoteInbound>,
    /// Round-trip time by RTCP (RFC 3550 §6.4.1), once known.
    pub round_trip: Option<Duration>,
    /// The agent's echo, once known.
    pub echo: Option<Estimate>,
    /// Where the caller's RTP comes from, once latched.
    pub remote: Option<SocketAddr>,
}

impl Quality {
    /// Adds the counts of `more`.
    pub fn add(&mut self, more: &Self) {
        self.packets_received += more.packets_received;
        self.lost += more.lost;
        self.late += more.late;
        self.duplicate += more.duplicate;
        self.discarded += more.discarded;
        self.foreign += more.foreign;
        self.concealed += more.concealed;
        self.filler += more.filler;
        self.packets_sent += more.packets_sent;
        self.underruns += more.underruns;
    }

    /// Raises each count to that of `other`, and returns by how much. A count may fall (a packet given up for lost comes
    /// after all), and a sum over calls must not.
    #[must_use]
    pub fn raise(&mut self, other: &Self) -> Self {
        let raise = |to: &mut u64, from: u64| {
            let more = from.saturating_sub(*to);
            *to += more;
            more
        };
        let concealed = other.concealed.saturating_sub(self.concealed);
        self.concealed += concealed;
        let filler = other.filler.saturating_sub(self.filler);
        self.filler += filler;
        Self {
            packets_received: raise(&mut self.packets_received, other.packets_received),
            lost: raise(&mut self.lost, other.lost),
            late: raise(&mut self.late, other.late),
            duplicate: raise(&mut self.duplicate, other.duplicate),
            discarded: raise(&mut self.discarded, other.discarded),
            foreign: raise(&mut self.foreign, other.foreign),
            concealed,
            filler,
            packets_sent: raise(&mut self.packets_sent, other.packets_sent),
            underruns: raise(&mut self.underruns, other.underruns),
            remote: None,
            echo: None,
            remote_inbound: None,
            round_trip: None,
        }
    }
}

/// A provider that failed in a call, whatever became of it then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderFailure {
    /// When.
    pub at: Instant,
    /// In which stage.
    pub stage: ProviderStage,
    /// The provider's name.
    pub provider: &'static str,
    /// How.
    pub kind: FailureKind,
    /// Provider, cause and cure in one line, without any secret in it.
    pub text: String,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Who ended it.
    pub by: EndedBy,
    /// Why, in words.
    pub reason: String,
}

/// A turn as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TurnView {
    /// What was said, and what was heard of the reply.
    pub record: TurnRecord,
    /// How long the reply took, once its first packet is sent.
    pub latency: Option<Stages>,
    /// What came of drafting the reply before the turn had ended.
    pub speculation: Speculation,
    /// How it broke its budget, where it did.
    pub breach: Option<Breach>,
}

/// What came of drafting a turn's reply before the turn had ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speculation {
    /// Nothing was drafted.
    #[default]
    None,
    /// A draft became the reply, which was there so much earlier.
    Hit(Duration),
    /// What was drafted was thrown away.
    Miss,
}

impl Speculation {
    /// Returns the word that the control API shows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Hit(_) => "hit",
            Self::Miss => "miss",
        }
    }

    /// Returns how much earlier the reply was there.
    #[must_use]
    pub const fn saved(self) -> Duration {
        match self {
            Self::Hit(saved) => saved,
            Self::None | Self::Miss => Duration::ZERO,
        }
    }
}

/// A snapshot of one call.
#[derive(Clone, Debug)]
pub struct CallView {
    /// The engine's number for it.
    pub call: CallId,
    /// The Call-ID header's value.
    pub call_id: String,
    /// The From header's value.
    pub from: String,
    /// The To header's value.
    pub to: String,
    /// Where the INVITE came from.
    pub source: SocketAddr,
    /// What it is doing.
    pub state: CallState,
    /// Since the answer; zero while it rings.
    pub duration: Duration,
    /// Our RTP port for it.
    pub rtp_port: u16,
    /// Where its RTP comes from, once latched.
    pub remote: Option<SocketAddr>,
    /// The codec's name, such as `PCMA`, once agreed.
    pub codec: Option<&'static str>,
    /// How its media are encrypted, such as `AES_CM_128_HMAC_SHA1_80` (RFC 4568 §6.2); `None`: not at all, or not yet agreed.
    pub srtp: Option<&'static str>,
    /// Who serves it.
    pub providers: ProviderNames,
    /// Whether the agent is up: its providers' threads run.
    pub agent_up: bool,
    /// Its turns, oldest first; empty in [`Board::live`](crate::metrics::Board::live).
    pub turns: Vec<TurnView>,
    /// What its providers failed with, oldest first; empty in [`Board::live`](crate::metrics::Board::live).
    pub failures: Vec<ProviderFailure>,
    /// How well its media flow.
    pub quality: Quality,
    /// How its audio is, and what is wrong with it.
    pub audio: Audio,
    /// Interarrival jitter.
    pub jitter: Percentiles,
    /// How long gaps held its speech back.
    pub gap_wait: Percentiles,
    /// How far from their slots its packets were sent.
    pub pacing_error: Percentiles,
    /// How it ended, once it has.
    pub ended: Option<Ended>,
    /// When its INVITE came.
    pub invited_at: Instant,
}

/// Counts since the engine started, over all calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Calls that were taken in.
    pub invited: u64,
    /// INVITEs that were refused: over the limit, no common codec.
    pub refused: u64,
    /// Calls that were answered.
    pub answered: u64,
    /// Calls that ended, by caller, agent, engine.
    pub ended: [u64; 3],
    /// Turns whose reply reached the caller.
    pub turns: u64,
    /// Replies that the caller cut.
    pub interrupted: u64,
    /// Calls in which the doctor found something, by [`Finding::index`].
    pub findings: [u64; Finding::COUNT],
    /// Media quality, summed over ended calls and the live ones as they stand.
    pub quality: Quality,
}

/// A counter of the engine's that `/metrics` shows as `offhook_{name}_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counter {
    /// Lower case with underscores, such as `sip_requests`.
    pub name: &'static str,
    /// What it counts, in one line.
    pub help: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_over_calls_never_falls() {
        let mut counted = Quality::default();
        let five = Quality { lost: 5, packets_received: 10, ..Quality::default() };
        assert_eq!(counted.raise(&five).lost, 5);
        assert_eq!(counted.raise(&Quality { lost: 4, ..five }).lost, 0);
        assert_eq!(counted.raise(&Quality { lost: 6, ..five }).lost, 1);
    }
}
