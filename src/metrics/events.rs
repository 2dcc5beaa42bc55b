//! What happens, as it happens: a bounded ring of events that anybody may follow, and that nobody can hold up.
//!
//! Two kinds of news: *events* have a number and are kept, so that a follower who was away takes up where it was; *snapshots*
//! (levels, quality) are only ever the newest of their call, so that a slow follower misses the ones in between and nothing else.
//! A follower who falls behind the ring is told how many events it has lost.

use crate::call::finding::Audio;
use crate::call::meter::Levels;
use crate::ids::{CallId, TurnId};
use crate::metrics::health::{CircuitState, ProviderStage};
use crate::metrics::histogram::Percentiles;
use crate::metrics::slo::Breach;
use crate::metrics::view::{CallView, ProviderFailure, Quality, TurnView};
use crate::time::Instant;
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Events that are kept: several minutes of a busy engine, and long enough for a browser to come back.
pub const EVENTS_KEPT: usize = 2_048;
/// Bytes of text in the events that are kept, whatever their number: hostile headers and endless speech fill it, and no more.
pub const BYTES_KEPT: usize = 2 << 20;
/// What an event takes beside its text.
const EVENT_BYTES: usize = 256;

/// One thing that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its number, from 1 in the order of events; `None`: a snapshot, which is not kept.
    pub number: Option<u64>,
    /// When.
    pub at: Instant,
    /// The Call-ID of the call in which it happened, if in one.
    pub call_id: Option<Arc<str>>,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum What {
    /// A call came in.
    Ringing(Box<CallView>),
    /// It was answered.
    Answered(Box<CallView>),
    /// It is over.
    Ended(Box<CallView>),
    /// The caller's voice began or stopped, by the local detector.
    Speaking(bool),
    /// What the caller has said so far in the turn under way.
    Partial(String),
    /// What is known of a turn has changed.
    Turn(Box<TurnView>),
    /// A turn took longer than its budget.
    SloBreach(TurnId, Breach),
    /// How the call's audio is has changed.
    Audio(Audio),
    /// A provider failed.
    ProviderFailed(Box<ProviderFailure>),
    /// A provider is left alone, tried, or asked again, in all calls.
    ProviderCircuit {
        /// Its stage.
        stage: ProviderStage,
        /// Its name.
        provider: &'static str,
        /// From here on.
        circuit: CircuitState,
    },
    /// The bridge serves SIP here.
    BridgeStarted(SocketAddr),
    /// The bridge is stopped.
    BridgeStopped,
    /// A snapshot: how loud both sides are.
    Levels(Levels),
    /// A snapshot: how well the media flow.
    Quality(Box<Flow>),
}

/// How well a call's media flow, with the distributions behind it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flow {
    /// The counts.
    pub quality: Quality,
    /// Interarrival jitter.
    pub jitter: Percentiles,
    /// How long gaps held speech back.
    pub gap_wait: Percentiles,
    /// How far from their slots packets were sent.
    pub pacing_error: Percentiles,
}

impl What {
    /// Returns the event's type, as `/api/v1/events` and webhooks name it; [`EVENTS`](crate::config::EVENTS) are those with a number.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ringing(_) => "call.ringing",
            Self::Answered(_) => "call.answered",
            Self::Ended(_) => "call.ended",
            Self::Speaking(_) => "caller.speaking",
            Self::Partial(_) => "transcript.partial",
            Self::Turn(_) => "turn",
            Self::SloBreach(..) => "slo.breach",
            Self::Audio(_) => "audio",
            Self::ProviderFailed(_) => "provider.failed",
            Self::ProviderCircuit { .. } => "provider.circuit",
            Self::BridgeStarted(_) => "bridge.started",
            Self::BridgeStopped => "bridge.stopped",
            Self::Levels(_) => "levels",
            Self::Quality(_) => "quality",
        }
    }

    fn text_bytes(&self) -> usize {
        match self {
            Self::Ringing(call) | Self::Answered(call) | Self::Ended(call) => {
                call.from.len() + call.to.len() + call.ended.as_ref().map_or(0, |ended| ended.reason.len())
            }
            Self::Partial(text) => text.len(),
            Self::ProviderFailed(failure) => failure.text.len(),
            Self::Turn(turn) => turn.record.caller.len() + turn.record.agent.len(),
            _ => 0,
        }
    }
}

/// The ring, shared by those who tell and those who follow.
#[derive(Default)]
pub struct Events {
    ring: Mutex<Ring>,
    news: Condvar,
    watchers: AtomicUsize,
}

#[derive(Default)]
struct Ring {
    /// How many events there have been.
    count: u64,
    /// The newest of them, oldest first, and what they take.
    kept: VecDeque<(Arc<Event>, usize)>,
    bytes: usize,
    /// How many snapshots there have been.
    revision: u64,
    /// The newest of each call, by type, with its revision.
    snapshots: BTreeMap<(CallId, &'static str), (u64, Arc<Event>)>,
}

/// How far a follower has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The number of the last event that it has.
    event: u64,
    revision: u64,
}

/// What is new to a follower.
#[derive(Debug, Default)]
pub struct News {
    /// Events that came and went before it read them.
    pub lost: u64,
    /// Events in their order, and after them snapshots.
    pub events: Vec<Arc<Event>>,
}

impl Events {
    /// Tells everybody. Locks for a moment: never on the media path.
    pub fn tell(&self, at: Instant, call_id: Option<Arc<str>>, what: What) {
        let bytes = what.text_bytes() + call_id.as_ref().map_or(0, |call_id| call_id.len()) + EVENT_BYTES;
        let mut ring = self.ring.lock();
        ring.count += 1;
        let event = Arc::new(Event { number: Some(ring.count), at, call_id, what });
        ring.kept.push_back((event, bytes));
        ring.bytes += bytes;
        while ring.kept.len() > EVENTS_KEPT || ring.bytes > BYTES_KEPT {
            let Some((_, bytes)) = ring.kept.pop_front() else { break };
            ring.bytes -= bytes;
        }
        drop(ring);
        self.news.notify_all();
    }

    /// Shows snapshots, each in place of the last one of its call and type.
    pub fn show(&self, at: Instant, snapshots: impl IntoIterator<Item = (CallId, Arc<str>, What)>) {
        let mut ring = self.ring.lock();
        for (call, call_id, what) in snapshots {
            ring.revision += 1;
            let (revision, key) = (ring.revision, (call, what.name()));
            let event = Arc::new(Event { number: None, at, call_id: Some(call_id), what });
            ring.snapshots.insert(key, (revision, event));
        }
        drop(ring);
        self.news.notify_all();
    }

    /// Forgets the snapshots of a call that is over.
    pub fn forget(&self, call: CallId) {
        let mut ring = self.ring.lock();
        let of_call: Vec<_> = ring.snapshots.range((call, "")..).map(|(key, _)| *key).collect();
        for key in of_call.into_iter().take_while(|key| key.0 == call) {
            ring.snapshots.remove(&key);
        }
    }

    /// Returns where somebody begins who wants to know what happens from here on.
    #[must_use]
    pub fn end(&self) -> Cursor {
        let ring = self.ring.lock();
        Cursor { event: ring.count, revision: ring.revision }
    }

    /// Returns where somebody goes on who has had the event of this number. A number that is still to come is none of this
    /// engine's: what is kept is told anew.
    #[must_use]
    pub fn after(&self, number: u64) -> Cursor {
        let count = self.ring.lock().count;
        Cursor { event: if number > count { 0 } else { number }, revision: 0 }
    }

    /// Returns what is new since `cursor`, and moves it there; waits for something new for as long as `patience`.
    pub fn follow(&self, cursor: &mut Cursor, patience: Duration) -> News {
        let mut ring = self.ring.lock();
        if ring.count == cursor.event && ring.revision == cursor.revision {
            self.news.wait_for(&mut ring, patience);
        }
        let first = ring.kept.front().and_then(|(event, _)| event.number).unwrap_or(ring.count + 1);
        let lost = first.saturating_sub(cursor.event + 1);
        let known = usize::try_from((cursor.event + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        let mut events: Vec<_> = ring.kept.iter().skip(known).map(|(event, _)| event.clone()).collect();
        let newer = ring.snapshots.values().filter(|(revision, _)| *revision > cursor.revision);
        events.extend(newer.map(|(_, event)| event.clone()));
        *cursor = Cursor { event: ring.count, revision: ring.revision };
        News { lost, events }
    }

    /// Wakes whoever follows, so that it looks whether it is to end.
    pub fn wake(&self) {
        self.news.notify_all();
    }

    /// Says that somebody watches snapshots, for as long as what is returned lives.
    #[must_use]
    pub fn watch(self: &Arc<Self>) -> Watch {
        self.watchers.fetch_add(1, Ordering::AcqRel);
        Watch(self.clone())
    }

    /// Whether anybody watches snapshots, so that it is worth making them.
    #[must_use]
    pub fn watched(&self) -> bool {
        self.watchers.load(Ordering::Acquire) > 0
    }
}

/// Somebody who watches snapshots.
pub struct Watch(Arc<Events>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Instant = Instant::ZERO;

    fn partial(events: &Events, text: &str) {
        events.tell(AT, Some("a".into()), What::Partial(text.into()));
    }

    fn levels(events: &Events, call: u32, caller_db: f32) {
        let levels = What::Levels(Levels { caller_db, agent_db: 0.0 });
        events.show(AT, [(CallId(call), "a".into(), levels)]);
    }

    fn read(events: &Events, cursor: &mut Cursor) -> (u64, Vec<Option<u64>>) {
        let News { lost, events } = events.follow(cursor, Duration::ZERO);
        (lost, events.iter().map(|event| event.number).collect())
    }

    #[test]
    fn whoever_comes_hears_what_happens_from_then_on_and_once() {
        let events = Events::default();
        partial(&events, "before");
        let mut cursor = events.end();
        assert_eq!(read(&events, &mut cursor), (0, vec![]));
        partial(&events, "one");
        partial(&events, "two");
        assert_eq!(read(&events, &mut cursor), (0, vec![Some(2), Some(3)]));
        assert_eq!(read(&events, &mut cursor), (0, vec![]));
    }

    #[test]
    fn whoever_comes_back_takes_up_where_it_was() {
        let events = Events::default();
        for _ in 0..5 {
            partial(&events, "x");
        }
        let mut cursor = events.after(3);
        assert_eq!(read(&events, &mut cursor), (0, vec![Some(4), Some(5)]));
        let mut stranger = events.after(1_000);
        assert_eq!(read(&events, &mut stranger).1.len(), 5, "a number of another engine");
    }

    #[test]
    fn whoever_is_slow_loses_the_oldest_and_is_told_how_many() {
        let events = Events::default();
        let mut cursor = events.end();
        for _ in 0..EVENTS_KEPT + 7 {
            partial(&events, "x");
        }
        let (lost, numbers) = read(&events, &mut cursor);
        assert_eq!((lost, numbers.len(), numbers[0]), (7, EVENTS_KEPT, Some(8)));
        let long = "x".repeat(BYTES_KEPT / 4);
        for _ in 0..10 {
            partial(&events, &long);
        }
        let (lost, numbers) = read(&events, &mut cursor);
        assert_eq!((lost, numbers.len()), (7, 3), "bytes are bounded, too");
        partial(&events, &"x".repeat(2 * BYTES_KEPT));
        assert_eq!(read(&events, &mut cursor), (1, vec![]), "what never fits is lost, and told");
    }

    #[test]
    fn of_snapshots_only_the_newest_counts() {
        let events = Events::default();
        let mut cursor = events.end();
        levels(&events, 1, -40.0);
        levels(&events, 1, -10.0);
        levels(&events, 2, -20.0);
        let News { events: news, .. } = events.follow(&mut cursor, Duration::ZERO);
        let shown: Vec<_> = news.iter().map(|event| (event.number, &event.what)).collect();
        assert!(matches!(
            shown[..],
            [
                (None, What::Levels(Levels { caller_db: -10.0, .. })),
                (None, What::Levels(Levels { caller_db: -20.0, .. }))
            ]
        ));
        events.forget(CallId(1));
        assert_eq!(read(&events, &mut events.after(0)), (0, vec![None]));
    }

    #[test]
    fn a_follower_wakes_as_soon_as_there_is_news() {
        let events = Arc::new(Events::default());
        let mut cursor = events.end();
        let follower = std::thread::spawn({
            let events = events.clone();
            move || {
                let mut news = News::default();
                while news.events.is_empty() {
                    news = events.follow(&mut cursor, Duration::from_secs(60));
                }
                news.events.len()
            }
        });
        partial(&events, "x");
        assert_eq!(follower.join().expect("no panic"), 1);
    }

    #[test]
    fn who_watches_is_known_while_it_does() {
        let events = Arc::new(Events::default());
        let watch = events.watch();
        assert!(events.watched());
        drop(watch);
        assert!(!events.watched());
    }
}
