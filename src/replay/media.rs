//! The media path of a captured call, run again: the same machines, told the same at the same times, must make the same packets.

use super::{Error, Outcome};
use crate::call::capture::{Capture, Record};
use crate::call::{Call, CallCommand, CallEvent, EarFrame, KeptFrame, Measure, Setup, VoiceFrame, Wire};
use crate::capture::media::{Blob, Entry, Fate};
use crate::capture::{Ending, MEDIA_FILE};
use crate::config::WhatIf;
use crate::engine::rings::{self, FarEnds};
use crate::ids::CallId;
use crate::rtp::latch::Source;
use crate::time::Instant;
use crate::turn::Settings;
use rtrb::{Consumer, Producer};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// Bytes of a packet that are shown where two differ.
const SHOWN: usize = 12;

/// Deadlines of one call between two datagrams, which bounds a call that is silent for an hour.
const DEADLINES_MAX: usize = 1_000_000;

/// A packet, as it was before it was protected.
type Made<'a> = (bool, Option<SocketAddr>, &'a [u8]);

/// Runs the media path again and compares every packet.
///
/// # Errors
/// A log without a beginning.
pub fn replay(call: CallId, log: &(Vec<Entry>, Ending)) -> Result<Outcome, Error> {
    let (entries, ending) = log;
    if entries.is_empty() {
        return Ok(Outcome { same: 0, what: "packets", difference: None, ending: *ending });
    }
    let mut line = Line::new(call, entries)?;
    let (mut same, mut difference) = (0, None);
    let steps: Vec<&[Entry]> = steps(entries.get(1..).unwrap_or_default()).collect();
    for (n, step) in steps.iter().enumerate() {
        line.feed(step);
        // What was cut off may have taken the packets of the last step with it.
        let is_cut = n + 1 == steps.len() && *ending != Ending::Whole;
        match compare(step, line.made(), is_cut) {
            Ok(packets) => same += packets,
            Err(why) => {
                difference = Some(format!("{why}, at {} of the call, when {}", line.at(), cause(step)));
                break;
            }
        }
    }
    Ok(Outcome { same, what: "packets", difference, ending: *ending })
}

/// Splits a log into what was told at once, each with all that came of it.
pub(super) fn steps(entries: &[Entry]) -> impl Iterator<Item = &[Entry]> {
    entries.chunk_by(|_, next| {
        let told = matches!(next, Entry::Command(_) | Entry::Voice(_) | Entry::Kept { .. });
        told || matches!(next, Entry::Packet { .. } | Entry::Gone { .. })
    })
}

fn cause(step: &[Entry]) -> String {
    match step.first() {
        Some(Entry::Datagram { source, bytes, .. }) => format!("{} bytes came from {source}", bytes.0.len()),
        Some(Entry::Change { .. }) => "the session changed".into(),
        Some(Entry::Signalling { .. }) => "the signalling moved".into(),
        Some(Entry::Close { .. }) => "the call was closed".into(),
        _ => "time passed".into(),
    }
}

/// Compares what was made in one step with what is made of it; returns how many packets are the same.
fn compare(step: &[Entry], made: Vec<Record>, is_cut: bool) -> Result<usize, String> {
    let packet = |entry: &'_ Entry| match entry {
        Entry::Packet { rtcp, to, bytes: Blob(bytes) } => Some((*rtcp, *to, bytes.clone())),
        _ => None,
    };
    let mut before = step.iter().filter_map(packet);
    let mut same = 0;
    for record in &made {
        let Record::Packet { rtcp, to, bytes } = record else { continue };
        match before.next() {
            Some((was_rtcp, was_to, was)) => {
                differ((was_rtcp, was_to, &was), (*rtcp, *to, bytes.as_slice())).map_or(Ok(()), Err)?;
            }
            None if is_cut => return Ok(same),
            None => return Err("a packet is made that was not".into()),
        }
        same += 1;
    }
    match before.next() {
        None => Ok(same),
        Some(_) => Err("a packet is not made that was".into()),
    }
}

/// Returns in which way two packets are not the same.
fn differ(was: Made<'_>, is: Made<'_>) -> Option<String> {
    let kind = |rtcp| if rtcp { "RTCP" } else { "RTP" };
    if was.0 != is.0 {
        return Some(format!("a packet was {} and is {}", kind(was.0), kind(is.0)));
    }
    if was.1 != is.1 {
        return Some(format!("a packet went to {:?} and goes to {:?}", was.1, is.1));
    }
    let at = was.2.iter().zip(is.2).position(|(a, b)| a != b);
    match at {
        None if was.2.len() == is.2.len() => None,
        None => Some(format!("a packet was {} bytes long and is {}", was.2.len(), is.2.len())),
        Some(at) => {
            let shown = |bytes: &[u8]| {
                let bytes = bytes.get(at..).unwrap_or_default().iter().take(SHOWN);
                bytes.map(|byte| format!("{byte:02x}")).collect::<String>()
            };
            let kind = kind(was.0);
            Some(format!("an {kind} packet differs from byte {at} on: it was {} and is {}", shown(was.2), shown(is.2)))
        }
    }
}

/// A call and the far ends of its rings.
pub(super) struct Line {
    call: Call,
    began: Instant,
    now: Instant,
    commands: Producer<CallCommand>,
    voice: Producer<VoiceFrame>,
    kept: Producer<KeptFrame>,
    records: Consumer<Record>,
    /// The caller's speech, to a recogniser that was.
    ears: Consumer<EarFrame>,
    /// What the conductor was told.
    events: Consumer<CallEvent>,
    /// Whether other settings are tried, so that time goes by the call's own deadlines.
    trying: bool,
    /// How long each frame of speech was kept back in the last step.
    holds: Vec<Duration>,
}

impl Line {
    /// Makes the call anew that a log begins with.
    pub fn new(id: CallId, entries: &[Entry]) -> Result<Self, Error> {
        let Some(Entry::Begin { now, agreed, signalling, guard, port, ntp_at_zero, cname, silence_max, seed }) =
            entries.first()
        else {
            return Err(Error::NoBeginning(MEDIA_FILE));
        };
        let (rings, FarEnds { ears, voice, kept, commands, events }) = rings::of_a_call();
        let (record, records) = rings::capture();
        let setup = Setup {
            id,
            agreed,
            signalling: *signalling,
            guard: *guard,
            port: *port,
            ntp_at_zero: *ntp_at_zero,
            cname,
            silence_max: *silence_max,
            rings,
        };
        let mut call = Call::new(setup, *now, &mut fastrand::Rng::with_seed(*seed));
        call.set_capture(Capture::new(record));
        Ok(Self {
            call,
            began: *now,
            now: *now,
            commands,
            voice,
            kept,
            records,
            ears,
            events,
            trying: false,
            holds: Vec::new(),
        })
    }

    /// Tells the call what it was told in one step.
    pub fn feed(&mut self, step: &[Entry]) {
        if let (true, Some(Entry::Tick { now: to } | Entry::Datagram { arrived: to, .. })) = (self.trying, step.first())
        {
            self.advance(*to);
        }
        let mut wire = if self.trying { Sent::At(self.now) } else { Sent::of(step) };
        for entry in step {
            match entry {
                // More than the rings hold was never taken at once.
                Entry::Command(command) => {
                    let _ = self.commands.push(*command);
                }
                Entry::Voice(speech) => {
                    if let Some(frame) = speech.frame() {
                        let _ = self.voice.push(frame);
                    }
                }
                Entry::Kept { speech, filler } => {
                    if let Some(frame) = speech.frame() {
                        let _ = self.kept.push(KeptFrame { frame, filler: *filler });
                    }
                }
                _ => {}
            }
        }
        match step.first() {
            Some(Entry::Datagram { rtcp, source, arrived, edge, bytes }) => {
                self.now = self.now.max(*arrived);
                let authenticated = *edge == Fate::Authenticated;
                match edge {
                    Fate::Refused(reason) => self.call.refuse(*rtcp, *source, &bytes.0, *reason, *arrived),
                    Fate::Plain | Fate::Authenticated => {
                        let from = Source { address: *source, authenticated };
                        self.call.readable(*rtcp, from, &bytes.0, *arrived, &mut wire);
                    }
                }
            }
            Some(Entry::Tick { now }) => {
                // As it was told: an arrival that the worker saw late may lie behind the slot that was served after it.
                self.now = if self.trying { self.now.max(*now) } else { *now };
                self.call.handle_timeout(self.now, &mut wire);
            }
            Some(Entry::Change { agreed, now }) => self.call.change(agreed, *now),
            Some(Entry::Signalling { from }) => self.call.set_signalling(*from),
            Some(Entry::Close { now }) => self.call.close(*now, &mut wire),
            _ => {}
        }
        self.drain();
    }

    /// Lets time pass up to `to`, by the call's own deadlines.
    fn advance(&mut self, to: Instant) {
        for _ in 0..DEADLINES_MAX {
            let due = self.call.poll_timeout().max(self.now);
            if due >= to {
                return;
            }
            self.now = due;
            self.call.handle_timeout(due, &mut Sent::At(due));
            self.drain();
        }
    }

    /// Takes out what goes to ears and conductor, as their threads would.
    fn drain(&mut self) {
        let _ = self.call.take_wakes();
        while let Ok(frame) = self.ears.pop() {
            if !frame.concealed {
                self.holds.push(self.now.since(frame.arrived));
            }
        }
        while self.events.pop().is_ok() {}
    }

    /// Runs on with other settings, from the beginning.
    pub fn try_out(&mut self, what_if: &WhatIf) {
        let mut floor = Settings::default();
        floor.confirm = what_if.confirm.unwrap_or(floor.confirm);
        floor.pause_max = what_if.pause_max.unwrap_or(floor.pause_max);
        floor.false_pauses_max = what_if.false_pauses.unwrap_or(floor.false_pauses_max);
        self.trying = true;
        self.call.try_out(what_if.gap, floor);
        // What is made then is compared with nothing.
        self.call.set_capture(Capture::default());
    }

    /// Takes out how long the recogniser waited for each frame of speech since.
    pub fn holds(&mut self) -> Vec<Duration> {
        while self.records.pop().is_ok() {}
        std::mem::take(&mut self.holds)
    }

    /// Returns the call.
    pub const fn call(&self) -> &Call {
        &self.call
    }

    /// Takes out what the call has recorded of itself since.
    pub fn made(&mut self) -> Vec<Record> {
        std::iter::from_fn(|| self.records.pop().ok()).collect()
    }

    /// How far into the call it is.
    fn at(&self) -> String {
        format!("{:.3} s", self.now.since(self.began).as_secs_f64())
    }
}

/// A wire that tells of each RTP packet what the kernel said of it.
enum Sent {
    /// It said this of each.
    Said(VecDeque<Option<Instant>>),
    /// It takes all at once.
    At(Instant),
}

impl Sent {
    fn of(step: &[Entry]) -> Self {
        let mut had_address = false;
        let gone = step.iter().filter_map(|entry| match entry {
            Entry::Packet { rtcp: false, to, .. } => {
                had_address = to.is_some();
                None
            }
            // Without an address nothing was asked of the kernel.
            Entry::Gone { at } => had_address.then_some(*at),
            _ => None,
        });
        Self::Said(gone.collect())
    }
}

impl Wire for Sent {
    fn send(&mut self, rtcp: bool, _to: SocketAddr, _bytes: &[u8]) -> Option<Instant> {
        match self {
            Self::Said(gone) if !rtcp => gone.pop_front().flatten(),
            Self::Said(_) => None,
            Self::At(now) => Some(*now),
        }
    }

    fn measure(&mut self, _what: Measure, _value: Duration) {}
}
