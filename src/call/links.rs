//! The media side's ends of a call's rings, and who is to be woken for what went into them.

use super::arrival;
use super::capture::Capture;
use super::frames::{EarFrame, KeptFrame, VoiceFrame};
use super::messages::{CallCommand, CallEvent};
use rtrb::{Consumer, Producer};

/// Which threads have something to look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wakes {
    /// There are ear frames.
    pub ears: bool,
    /// There are events.
    pub conductor: bool,
}

/// The media side's ends of a call's rings.
pub struct Rings {
    /// Caller audio, to the ears.
    pub ears: Producer<EarFrame>,
    /// Agent speech, from the voice.
    pub voice: Consumer<VoiceFrame>,
    /// Kept phrases and fillers, from the conductor.
    pub kept: Consumer<KeptFrame>,
    /// Orders, from the conductor.
    pub commands: Consumer<CallCommand>,
    /// Events, to the conductor.
    pub events: Producer<CallEvent>,
}

/// The rings, and who is to be woken for them.
pub(super) struct Links {
    pub(super) rings: Rings,
    pub(super) wakes: Wakes,
    pub(super) capture: Capture,
    ear_frames_dropped: u64,
    events_dropped: u64,
}

impl Links {
    /// Takes the rings of a call that nobody captures.
    pub(super) fn new(rings: Rings) -> Self {
        let (wakes, capture) = (Wakes::default(), Capture::default());
        Self { rings, wakes, capture, ear_frames_dropped: 0, events_dropped: 0 }
    }

    /// Pushes an event; one that finds the ring full is dropped and counted.
    pub(super) fn event(&mut self, event: CallEvent) {
        self.wakes.conductor = true;
        self.capture.touch();
        if self.rings.events.push(event).is_err() {
            self.events_dropped += 1;
        }
    }

    /// Tells how much of a turn that is over can have arrived.
    pub(super) fn arrived(&mut self, arrival::Arrived { turn, samples }: arrival::Arrived) {
        self.event(CallEvent::Arrived { turn, samples: u64::from(samples) });
    }

    /// Pushes a frame for the ears; one that finds the ring full is dropped and counted.
    pub(super) fn ears(&mut self, frame: &EarFrame) {
        self.wakes.ears = true;
        if self.rings.ears.push(*frame).is_err() {
            self.ear_frames_dropped += 1;
        }
    }

    /// Returns how many ear frames and events found their ring full.
    pub(super) const fn dropped(&self) -> (u64, u64) {
        (self.ear_frames_dropped, self.events_dropped)
    }
}
