//! The echo agent and the scripted roles, through their threads and rings.

use super::standin::Wall;
use super::{PATIENCE, events, eventually};
use crossbeam_channel::{Receiver, Sender, bounded};
use offhook::agent::{EarsEvent, Message, MindEvent, VoiceEvent};
use offhook::call::{EarFrame, FRAME_8K, FRAME_16K, VoiceFrame};
use offhook::ids::{CallId, TurnId};
use offhook::providers::scripted::{HANG_UP, ScriptedEars, ScriptedMind, ScriptedVoice};
use offhook::providers::{
    Bell, EarsIo, Listener, MindCommand, MindIo, Request, Responder, Speaker, Stamped, Stop, Transcriber, VoiceCommand,
    VoiceIo, echo,
};
use offhook::time::Clock;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// One call with all three roles.
struct Call {
    clock: Arc<dyn Clock>,
    stop: Stop,
    bells: [Bell; 3],
    ears: rtrb::Producer<EarFrame>,
    heard: Receiver<Stamped<EarsEvent>>,
    mind: Sender<MindCommand>,
    thought: Receiver<Stamped<(TurnId, MindEvent)>>,
    voice: Sender<VoiceCommand>,
    spoken: Receiver<Stamped<(TurnId, VoiceEvent)>>,
    frames: rtrb::Consumer<VoiceFrame>,
    threads: Vec<JoinHandle<()>>,
}

impl Call {
    fn open(ears: impl Transcriber + 'static, mind: impl Responder + 'static, voice: impl Speaker + 'static) -> Self {
        let clock: Arc<dyn Clock> = Wall::start();
        let stop = Stop::default();
        let call = CallId(7);
        let bells_and_listeners = || Listener::new().expect("a listener");
        let ((b0, l0), (b1, l1), (b2, l2)) = (bells_and_listeners(), bells_and_listeners(), bells_and_listeners());
        let (ear_in, ear_out) = rtrb::RingBuffer::new(256);
        let (voice_in, frames) = rtrb::RingBuffer::new(1024);
        let ((ears_events, heard), (mind_events, thought), (voice_events, spoken)) =
            (events(&clock), events(&clock), events(&clock));
        let ((mind_to, mind_from), (voice_to, voice_from)) = (bounded(16), bounded(16));
        let ears_io = EarsIo {
            call,
            clock: clock.clone(),
            frames: ear_out,
            commands: crossbeam_channel::never(),
            listener: l0,
            events: ears_events,
            stop: stop.clone(),
        };
        let mind_io = MindIo {
            call,
            clock: clock.clone(),
            commands: mind_from,
            listener: l1,
            events: mind_events,
            stop: stop.clone(),
        };
        let voice_io = VoiceIo {
            call,
            clock: clock.clone(),
            commands: voice_from,
            listener: l2,
            frames: voice_in,
            media: Bell::for_thread(std::thread::current()),
            events: voice_events,
            stop: stop.clone(),
        };
        let threads = vec![
            std::thread::spawn(move || ears.run(ears_io)),
            std::thread::spawn(move || mind.run(mind_io)),
            std::thread::spawn(move || voice.run(voice_io)),
        ];
        let (ears, mind, voice) = (ear_in, mind_to, voice_to);
        Self { clock, stop, bells: [b0, b1, b2], ears, heard, mind, thought, voice, spoken, frames, threads }
    }

    /// Hands over frames that have just arrived, all at once.
    fn say(&mut self, frames: usize) {
        for _ in 0..frames {
            let arrived = self.clock.now();
            let frame =
                EarFrame { pcm: [5000; FRAME_16K], ulaw: [0x10; FRAME_8K], arrived, speech: true, concealed: false };
            self.ears.push(frame).expect("room");
        }
        self.bells[0].ring();
    }

    fn ask(&self, turn: u32, text: &str) {
        let messages = vec![Message::Caller(text.into())];
        self.mind.send(MindCommand::Ask(Request { turn: TurnId(turn), messages, tools: vec![] })).expect("open");
        self.bells[1].ring();
    }

    fn speak(&self, turn: u32, clause: u16, text: &str, last: bool) {
        self.voice.send(VoiceCommand::Speak { turn: TurnId(turn), clause, text: text.into(), last }).expect("open");
        self.bells[2].ring();
    }

    fn hear(&self) -> EarsEvent {
        self.heard.recv_timeout(PATIENCE).expect("an event").event
    }

    /// Returns the events of a reply up to its end.
    fn reply(&self) -> Vec<MindEvent> {
        let mut events = Vec::new();
        while events.last() != Some(&MindEvent::Done) {
            events.push(self.thought.recv_timeout(PATIENCE).expect("an event").event.1);
        }
        events
    }

    /// Returns the samples of a turn up to its last frame, after its events said that it is done.
    fn samples(&mut self) -> usize {
        while !matches!(self.spoken.recv_timeout(PATIENCE).expect("an event").event.1, VoiceEvent::Done { .. }) {}
        let (mut samples, mut whole) = (0, false);
        eventually("the last frame", || {
            while let Ok(frame) = self.frames.pop() {
                samples += usize::from(frame.len);
                whole |= frame.last;
            }
            whole
        });
        samples
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.stop.raise();
        self.bells.iter().for_each(Bell::ring);
        for thread in self.threads.drain(..) {
            assert!(thread.join().is_ok() || std::thread::panicking(), "a role panicked");
        }
    }
}

#[test]
fn the_echo_agent_says_back_what_it_heard() {
    let (ears, mind, voice) = echo::agent();
    let mut call = Call::open(ears, mind, voice);
    assert_eq!(call.hear(), EarsEvent::Connected);
    call.say(50);
    assert_eq!(call.hear(), EarsEvent::StartOfTurn { transcript: echo::UNHEARD.into() });
    let EarsEvent::EndOfTurn { transcript, speech } = call.hear() else { panic!("no end of turn") };
    assert!(speech.handed >= speech.arrived);
    call.ask(1, &transcript);
    assert_eq!(call.reply(), [MindEvent::Sent, MindEvent::Token(transcript), MindEvent::Done]);
    call.speak(1, 0, "", true);
    assert_eq!(call.samples(), 50 * FRAME_8K, "the caller's second of speech, whole");
    // There is nothing left to play back: two soft notes.
    call.speak(2, 0, "Are you still there?", true);
    assert_eq!(call.samples(), 3200);
}

#[test]
fn the_script_is_followed() {
    let ears = ScriptedEars {
        turns: vec!["Hello there.".into(), "Bye.".into()],
        start_after: Duration::from_millis(100),
        end_after: Duration::from_millis(200),
    };
    let mind = ScriptedMind {
        replies: vec!["Hi you!".into(), format!("Bye {HANG_UP}")],
        first_token: Duration::from_millis(10),
        token_every: Duration::from_millis(1),
    };
    let voice = ScriptedVoice { first_audio: Duration::from_millis(10), speed: 10 };
    let mut call = Call::open(ears, mind, voice);
    assert_eq!(call.hear(), EarsEvent::Connected);
    for transcript in ["Hello there.", "Bye.", "Bye."] {
        call.say(20);
        assert!(matches!(call.hear(), EarsEvent::StartOfTurn { .. }));
        assert!(matches!(call.hear(), EarsEvent::EndOfTurn { transcript: heard, .. } if heard == transcript));
    }
    call.ask(1, "x");
    let tokens = ["Hi ", "you!"].map(|token| MindEvent::Token(token.into()));
    assert_eq!(call.reply(), [&[MindEvent::Sent][..], &tokens, &[MindEvent::Done]].concat());
    call.ask(2, "x");
    assert!(matches!(&call.reply()[2], MindEvent::ToolCall { name, .. } if name == "hang_up"));
    call.speak(1, 0, "Hi", false);
    call.speak(1, 1, "you!", true);
    assert_eq!(call.samples(), 6 * 480);
}
