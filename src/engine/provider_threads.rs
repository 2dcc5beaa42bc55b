//! Runs a call's ears, mind and voice on threads of their own, away from the media path.

use crate::call::{EarFrame, VoiceFrame};
use crate::engine::affinity::{self, Role};
use crate::engine::clock::SystemClock;
use crate::engine::conductor::Event;
use crate::ids::CallId;
use crate::providers::{
    Bell, EarsCommand, EarsIo, Events, Listener, MindCommand, MindIo, Responder, Speaker, Stop, Transcriber,
    VoiceCommand, VoiceIo,
};
use crossbeam_channel::Sender;
use rtrb::{Consumer, Producer};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

/// The most orders that wait for a mind or a voice: many more than a reply has clauses. A queue that is full means that
/// its thread hangs.
const ORDERS_MAX: usize = 256;

/// Orders that wait for the ears, which look at them every 20 ms. One that finds no room is of no use any more.
const EARS_ORDERS_MAX: usize = 16;

/// Stack of a provider's thread: TLS and JSON are shallow, and so is inference, whose tensors are on the heap.
const STACK_BYTES: usize = 2 << 20;

/// Who hears, thinks and speaks; shared by all calls.
#[derive(Clone)]
pub struct Cast {
    /// The ears.
    pub ears: Arc<dyn Transcriber>,
    /// The mind.
    pub mind: Arc<dyn Responder>,
    /// The voice.
    pub voice: Arc<dyn Speaker>,
}

/// One call's provider threads.
pub struct Crew {
    ears: Arc<dyn Transcriber>,
    ears_orders: Sender<EarsCommand>,
    mind: Sender<MindCommand>,
    mind_bell: Bell,
    voice: Sender<VoiceCommand>,
    voice_bell: Bell,
    ears_bell: Bell,
    stop: Stop,
    threads: Vec<JoinHandle<()>>,
}

/// What connects a crew to the rest of its call.
pub struct Ends {
    /// The call.
    pub call: CallId,
    /// Caller audio.
    pub frames: Consumer<EarFrame>,
    /// Heard by the ears.
    pub ears: (Bell, Listener),
    /// Agent speech.
    pub speech: Producer<VoiceFrame>,
    /// Wakes the media worker.
    pub media: Bell,
    /// The conductor's channel and bell.
    pub events: Sender<Event>,
    /// Wakes the conductor.
    pub conductor: Bell,
    /// Raised when the call is over.
    pub stop: Stop,
    /// The clock.
    pub clock: Arc<SystemClock>,
}

/// How a thread that panicked tells the conductor, so that the call ends with words and not in silence.
#[derive(Clone)]
struct Crashed {
    events: Sender<Event>,
    conductor: Bell,
}

impl Crew {
    /// Starts the three threads of a call.
    ///
    /// # Errors
    /// What the system says when it has no thread or file descriptor left.
    pub fn start(cast: &Cast, ends: Ends) -> io::Result<Self> {
        let Ends { call, frames, ears: (ears_bell, ears_listener), speech, media, events, conductor, stop, clock } =
            ends;
        let (ears_orders, orders) = crossbeam_channel::bounded(EARS_ORDERS_MAX);
        let (mind, mind_orders) = crossbeam_channel::bounded(ORDERS_MAX);
        let (voice, voice_orders) = crossbeam_channel::bounded(ORDERS_MAX);
        let (mind_bell, mind_listener) = Listener::new()?;
        let (voice_bell, voice_listener) = Listener::new()?;
        let (crash_events, crash_bell) = (events.clone(), conductor.clone());
        let ears_io = EarsIo {
            call,
            clock: clock.clone(),
            frames: frames.into(),
            commands: orders,
            listener: ears_listener,
            events: Events::new(clock.clone(), events.clone(), conductor.clone(), Event::Ears),
            stop: stop.clone(),
        };
        let mind_io = MindIo {
            call,
            clock: clock.clone(),
            commands: mind_orders,
            listener: mind_listener,
            events: Events::new(clock.clone(), events.clone(), conductor.clone(), Event::Mind),
            stop: stop.clone(),
        };
        let voice_io = VoiceIo {
            call,
            clock: clock.clone(),
            commands: voice_orders.into(),
            listener: voice_listener,
            frames: speech.into(),
            media,
            events: Events::new(clock, events, conductor, Event::Voice),
            stop: stop.clone(),
        };
        let learner = cast.ears.clone();
        let mut crew = Self {
            ears: learner,
            ears_orders,
            mind,
            mind_bell,
            voice,
            voice_bell,
            ears_bell,
            stop,
            threads: Vec::with_capacity(3),
        };
        let Cast { ears, mind, voice } = cast.clone();
        let crashed = Crashed { events: crash_events, conductor: crash_bell };
        let [hears, thinks, speaks] = [ears.computes(), mind.computes(), voice.computes()];
        crew.spawn("ears", call, hears, crashed.clone(), move || ears.run(ears_io))?;
        crew.spawn("mind", call, thinks, crashed.clone(), move || mind.run(mind_io))?;
        crew.spawn("voice", call, speaks, crashed, move || voice.run(voice_io))?;
        Ok(crew)
    }

    /// Gives the ears an order; ears that hang with a full queue get no more.
    pub fn ears(&self, command: EarsCommand) {
        let _ = self.ears_orders.try_send(command);
        self.ears_bell.ring();
    }

    /// Gives the mind an order; one that hangs with a full queue gets no more.
    pub fn mind(&self, command: MindCommand) {
        let _ = self.mind.try_send(command);
        self.mind_bell.ring();
    }

    /// Gives the voice an order; one that hangs with a full queue gets no more.
    pub fn voice(&self, command: VoiceCommand) {
        let _ = self.voice.try_send(command);
        self.voice_bell.ring();
    }

    /// Tells the ears what came of the reply that was drafted on their eager end of turn.
    pub fn learn(&self, kept: bool) {
        self.ears.learn(kept);
    }

    /// Returns the confidence at which the ears take a turn for probably ended, in hundredths.
    pub fn eager_threshold(&self) -> Option<u32> {
        self.ears.eager_threshold()
    }

    /// Ends the threads and waits for them; each ends within its provider's own deadlines.
    pub fn end(mut self) {
        self.raise();
        for thread in self.threads.drain(..) {
            // A panic was caught in the thread itself, so there is nothing to be learnt from joining it.
            let _ = thread.join();
        }
    }

    fn raise(&self) {
        self.stop.raise();
        self.mind_bell.ring();
        self.voice_bell.ring();
        self.ears_bell.ring();
    }

    fn spawn(
        &mut self,
        role: &'static str,
        call: CallId,
        computes: bool,
        crashed: Crashed,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let name = format!("{role}-{}", call.0);
        let guarded = move || {
            if !computes {
                let _ = affinity::settle(Role::Session);
            }
            if catch_unwind(AssertUnwindSafe(body)).is_err() && crashed.events.try_send(Event::Crashed(role)).is_ok() {
                crashed.conductor.ring();
            }
        };
        match std::thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(guarded) {
            Ok(thread) => {
                self.threads.push(thread);
                Ok(())
            }
            Err(error) => {
                self.raise();
                Err(error)
            }
        }
    }
}
