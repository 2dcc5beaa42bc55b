//! The agent's speech on its way to the media path, made by one voice or, where that breaks off, by the next: the ring
//! with what waits for room in it, and the orders that the next voice would have to be given again.

use super::VoiceCommand;
use crate::call::VoiceFrame;
use crate::ids::TurnId;
use crate::time::Instant;
use crossbeam_channel::{Receiver, TryRecvError};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// The voice's end of the ring of agent speech. One thread uses it at a time, so that its lock is free.
pub struct AgentAudio {
    shared: Arc<Mutex<Shared>>,
    /// Whether another voice stands behind the one that holds it.
    behind: bool,
}

struct Shared {
    ring: rtrb::Producer<VoiceFrame>,
    left: Option<Left>,
}

/// What a voice left that broke off in a turn.
pub(super) struct Left {
    pub(super) turn: TurnId,
    /// What the ring had no room for yet.
    pub(super) queue: VecDeque<i16>,
    pub(super) made: Instant,
    /// Samples of the turn so far, those of `queue` among them.
    pub(super) fed: u64,
}

impl From<rtrb::Producer<VoiceFrame>> for AgentAudio {
    fn from(ring: rtrb::Producer<VoiceFrame>) -> Self {
        Self { shared: Arc::new(Mutex::new(Shared { ring, left: None })), behind: false }
    }
}

impl AgentAudio {
    pub(super) fn is_full(&self) -> bool {
        self.shared.lock().ring.is_full()
    }

    /// Returns whether there was room.
    pub(super) fn push(&self, frame: VoiceFrame) -> bool {
        self.shared.lock().ring.push(frame).is_ok()
    }

    /// Returns another hold on the same ring, for a voice that others stand `behind`, or not.
    pub(super) fn again(&self, behind: bool) -> Self {
        Self { shared: self.shared.clone(), behind }
    }

    /// Whether a turn that breaks off is another's to finish.
    pub(super) fn is_followed(&self) -> bool {
        self.behind
    }

    pub(super) fn leave(&self, left: Left) {
        self.shared.lock().left = Some(left);
    }

    pub(super) fn take_left(&self) -> Option<Left> {
        self.shared.lock().left.take()
    }

    /// Drops what waits of a clause that is not whole. `ends`: where each whole clause ends, in samples of the turn. Returns how
    /// many clauses stand, and how many samples: what is in the ring cannot be taken back.
    pub(super) fn cut_to(&self, ends: &[u64]) -> (usize, u64) {
        let mut shared = self.shared.lock();
        let Some(left) = &mut shared.left else { return (0, 0) };
        let whole = ends.iter().take_while(|end| **end <= left.fed).count();
        let end = whole.checked_sub(1).and_then(|last| ends.get(last)).copied().unwrap_or(0);
        let in_ring = left.fed.saturating_sub(left.queue.len() as u64);
        let stand = end.max(in_ring);
        left.queue.truncate(usize::try_from(stand.saturating_sub(in_ring)).unwrap_or(usize::MAX));
        left.fed = stand;
        (whole, stand)
    }
}

/// The orders to a voice.
pub struct VoiceOrders {
    receiver: Receiver<VoiceCommand>,
    script: Option<Arc<Mutex<Script>>>,
}

/// What the open turn is to say, whoever says it.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) turn: Option<TurnId>,
    /// Number, text, and whether it is the last one.
    pub(super) clauses: Vec<(u16, String, bool)>,
    /// Orders that come before those of the channel.
    again: VecDeque<VoiceCommand>,
}

impl From<Receiver<VoiceCommand>> for VoiceOrders {
    fn from(receiver: Receiver<VoiceCommand>) -> Self {
        Self { receiver, script: None }
    }
}

impl VoiceOrders {
    /// Takes the next order.
    ///
    /// # Errors
    /// There is none yet, or there will be none any more.
    pub fn try_recv(&self) -> Result<VoiceCommand, TryRecvError> {
        let Some(script) = &self.script else { return self.receiver.try_recv() };
        let again = script.lock().again.pop_front();
        if let Some(command) = again {
            return Ok(command);
        }
        let command = self.receiver.try_recv()?;
        script.lock().note(&command);
        Ok(command)
    }

    /// Returns the same orders, kept in `script` as they are taken.
    pub(super) fn noted_in(&self, script: &Arc<Mutex<Script>>) -> Self {
        Self { receiver: self.receiver.clone(), script: Some(script.clone()) }
    }
}

impl Script {
    fn note(&mut self, command: &VoiceCommand) {
        match command {
            VoiceCommand::Speak { turn, clause, text, last } => {
                if self.turn != Some(*turn) {
                    self.clear();
                    self.turn = Some(*turn);
                }
                self.clauses.push((*clause, text.clone(), *last));
            }
            VoiceCommand::Cancel(turn) if self.turn == Some(*turn) => self.clear(),
            VoiceCommand::Cancel(_) => {}
        }
    }

    fn clear(&mut self) {
        self.turn = None;
        self.clauses.clear();
        self.again.clear();
    }

    /// Orders the clauses from `first` on once more. Where all are whole, their end is still to be told.
    pub(super) fn speak_again(&mut self, first: usize) {
        let Some(turn) = self.turn else { return };
        let clauses = self.clauses.iter().skip(first);
        let speak = |(clause, text, last): &(u16, String, bool)| VoiceCommand::Speak {
            turn,
            clause: *clause,
            text: text.clone(),
            last: *last,
        };
        self.again = clauses.map(speak).collect();
        if let (true, Some((clause, _, true))) = (self.again.is_empty(), self.clauses.last()) {
            let end = VoiceCommand::Speak { turn, clause: clause.saturating_add(1), text: String::new(), last: true };
            self.again.push_back(end);
        }
    }
}
