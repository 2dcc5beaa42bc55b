//! What can be read off a call while it runs, and after it.

use super::finding::Audio;
use super::pauses::Pauses;
use super::{Call, VOICE_RATE, echo, egress};
use crate::ids::CallId;
use crate::jitter::Stats;
use crate::rtp::{Discards, rtcp};
use crate::time::samples;
use std::net::SocketAddr;
use std::time::Duration;

impl Call {
    /// Returns the engine's number for the call.
    #[must_use]
    pub const fn id(&self) -> CallId {
        self.id
    }

    /// Returns how often the agent's speech was paused for a voice, and what came of it.
    #[must_use]
    pub const fn pauses(&self) -> &Pauses {
        &self.pauses
    }

    /// Returns what the jitter buffer did.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        self.ingress.stats()
    }

    /// Returns how many datagrams were refused, and why.
    #[must_use]
    pub const fn discards(&self) -> &Discards {
        self.ingress.discards()
    }

    /// Returns what was sent.
    #[must_use]
    pub const fn sent(&self) -> &egress::Counts {
        self.egress.counts()
    }

    /// Returns how often speech ran dry in the middle of a reply.
    #[must_use]
    pub const fn underruns(&self) -> u64 {
        self.playout.underruns()
    }

    /// Returns how much of the kept words was sent that bridge the wait for a reply.
    #[must_use]
    pub fn filler(&self) -> Duration {
        samples::duration(self.filler_samples, VOICE_RATE)
    }

    /// Returns the last round-trip time that RTCP measured.
    #[must_use]
    pub const fn round_trip(&self) -> Option<Duration> {
        self.egress.round_trip()
    }

    /// Returns what the peer reported last of our packets.
    #[must_use]
    pub const fn remote_inbound(&self) -> Option<rtcp::RemoteInbound> {
        self.egress.remote()
    }

    /// Returns what is known of the agent's echo on this call, once something is.
    #[must_use]
    pub fn echo(&self) -> Option<echo::Estimate> {
        self.echo.estimate()
    }

    /// Returns how the audio is, and what is wrong with it.
    #[must_use]
    pub const fn audio(&self) -> Audio {
        self.doctor.audio()
    }

    /// Returns where the caller's media come from, once latched.
    #[must_use]
    pub fn remote(&self) -> Option<SocketAddr> {
        self.ingress.latched()
    }

    /// Returns how many ear frames and events found their ring full.
    #[must_use]
    pub const fn dropped(&self) -> (u64, u64) {
        self.links.dropped()
    }
}
