//! Cartesia against its stand-in.

use super::standin::cartesia::{Fault, Plan, start};
use super::standin::{Refusal, Server, Wall};
use super::{PATIENCE, assert_secret, endpoint, events, eventually};
use crossbeam_channel::{Receiver, Sender, bounded};
use offhook::agent::{Failure, FailureKind, VoiceEvent};
use offhook::call::VoiceFrame;
use offhook::ids::{CallId, TurnId};
use offhook::providers::cartesia::Cartesia;
use offhook::providers::{Bell, Listener, Speaker, Stamped, Stop, VoiceCommand, VoiceIo};
use offhook::time::Clock;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// A session of the voice, and everything that is around it.
struct Voice {
    plan: Arc<Plan>,
    _server: Server,
    commands: Sender<VoiceCommand>,
    bell: Bell,
    stop: Stop,
    frames: rtrb::Consumer<VoiceFrame>,
    events: Receiver<Stamped<(TurnId, VoiceEvent)>>,
    thread: Option<JoinHandle<()>>,
    heard: Vec<(TurnId, VoiceEvent)>,
    /// Samples of each frame, and whether it was the last one.
    audio: Vec<(TurnId, usize, bool)>,
}

/// What a turn came to.
struct Spoken {
    words: String,
    length: Duration,
    end: VoiceEvent,
}

fn quick(faults: &[Fault]) -> Plan {
    let plan = Plan { first_audio: Duration::from_millis(20), ..Plan::default() };
    faults.iter().cloned().for_each(|fault| plan.faults.push(fault));
    plan
}

fn cartesia(url: &str) -> Cartesia {
    Cartesia::new(&endpoint(url, "sonic-3.5"), "f786b574", Wall::start())
}

impl Voice {
    fn open(faults: &[Fault]) -> Self {
        let (server, plan, url) = start(quick(faults));
        Self::open_at(server, plan, cartesia(&url))
    }

    fn open_at(server: Server, plan: Arc<Plan>, cartesia: Cartesia) -> Self {
        let clock: Arc<dyn Clock> = Wall::start();
        let (bell, listener) = Listener::new().expect("a listener");
        let (commands, receiver) = bounded(64);
        let (producer, frames) = rtrb::RingBuffer::new(512);
        let (send, events) = events(&clock);
        let stop = Stop::default();
        let media = Bell::for_thread(std::thread::current());
        let (call, stopped) = (CallId(1), stop.clone());
        let io = VoiceIo {
            call,
            clock,
            commands: receiver.into(),
            listener,
            frames: producer.into(),
            media,
            events: send,
            stop: stopped,
        };
        let thread = Some(std::thread::spawn(move || cartesia.run(io)));
        let (heard, audio) = (Vec::new(), Vec::new());
        Self { plan, _server: server, commands, bell, stop, frames, events, thread, heard, audio }
    }

    fn command(&self, command: VoiceCommand) {
        self.commands.send(command).expect("the session lives");
        self.bell.ring();
    }

    fn speak(&self, turn: u32, clause: u16, text: &str, last: bool) {
        self.command(VoiceCommand::Speak { turn: TurnId(turn), clause, text: text.into(), last });
    }

    /// Takes what is in the ring.
    fn drain(&mut self) {
        let mut taken = false;
        while let Ok(frame) = self.frames.pop() {
            self.audio.push((frame.turn, usize::from(frame.len), frame.last));
            taken = true;
        }
        if taken {
            self.bell.ring();
        }
    }

    /// Waits for the end of a turn; returns what was spoken of it.
    fn finish(&mut self, turn: u32) -> Spoken {
        let mut words = Vec::new();
        loop {
            self.drain();
            let (of, event) = self.events.recv_timeout(PATIENCE).expect("an event").event;
            self.heard.push((of, event.clone()));
            assert_eq!(of, TurnId(turn), "{event:?}");
            match event {
                VoiceEvent::Spoken { text, .. } => words.push(text),
                VoiceEvent::Done { .. } | VoiceEvent::Failed(_) => {
                    // The turn's last frame follows its end closely.
                    let whole = || self.audio.iter().any(|(of, _, last)| of.0 == turn && *last);
                    if !whole() {
                        std::thread::park_timeout(Duration::from_millis(50));
                        self.drain();
                    }
                    let samples: usize = self.audio.iter().filter(|(of, ..)| of.0 == turn).map(|(_, len, _)| len).sum();
                    let length = Duration::from_micros(samples as u64 * 125);
                    return Spoken { words: words.join(" "), length, end: event };
                }
                _ => {}
            }
        }
    }

    fn failure(&mut self, turn: u32) -> Failure {
        match self.finish(turn).end {
            VoiceEvent::Failed(failure) => failure,
            event => panic!("{event:?}"),
        }
    }

    fn requests(&self) -> Vec<serde_json::Value> {
        self.plan.seen.lock().requests.clone()
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        self.stop.raise();
        self.bell.ring();
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || std::thread::panicking(), "the session panicked");
        }
        self.heard.iter().for_each(|event| assert_secret(&format!("{event:?}")));
    }
}

/// How long the stand-in takes to say a clause: 60 ms per character.
fn length(clauses: &[&str]) -> Duration {
    Duration::from_millis(60) * clauses.iter().map(|clause| clause.len()).sum::<usize>() as u32
}

#[test]
fn a_turn_is_spoken_in_one_context_with_its_words() {
    let mut voice = Voice::open(&[]);
    voice.speak(1, 0, "Your table is booked.", false);
    voice.speak(1, 1, "Goodbye!", true);
    let spoken = voice.finish(1);
    assert_eq!(spoken.words, "Your table is booked. Goodbye!");
    assert_eq!(spoken.length, length(&["Your table is booked.", "Goodbye!"]));
    assert_eq!(spoken.end, VoiceEvent::Done { length: spoken.length });
    let events: Vec<_> = voice.heard.iter().map(|(_, event)| event).collect();
    let sent = |clause| events.iter().position(|event| **event == VoiceEvent::Sent { clause });
    let first = events.iter().position(|event| **event == VoiceEvent::FirstAudio);
    assert!(sent(0).is_some() && sent(1).is_some() && first > sent(0));
    assert_eq!(voice.audio.iter().filter(|(.., last)| *last).count(), 1);
    let requests = voice.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!((&requests[0]["context_id"], &requests[0]["continue"]), (&"t1-1".into(), &true.into()));
    assert_eq!((&requests[1]["context_id"], &requests[1]["continue"]), (&"t1-1".into(), &false.into()));
    assert_eq!(requests[0]["transcript"], "Your table is booked. ");
    assert_eq!(requests[0]["max_buffer_delay_ms"], 0);
}

#[test]
fn every_turn_has_its_own_context_on_the_same_connection() {
    let mut voice = Voice::open(&[]);
    for turn in 1..4 {
        voice.speak(turn, 0, "Yes.", true);
        assert_eq!(voice.finish(turn).words, "Yes.");
    }
    let ids: Vec<_> = voice.requests().iter().map(|request| request["context_id"].clone()).collect();
    assert_eq!(ids, ["t1-1", "t2-2", "t3-3"]);
    assert_eq!(voice.plan.seen.lock().connections, 1);
}

#[test]
fn a_turn_that_ends_without_more_words_is_whole() {
    let mut voice = Voice::open(&[]);
    voice.speak(1, 0, "Yes.", false);
    voice.speak(1, 1, "", true);
    assert_eq!(voice.finish(1).words, "Yes.");
    voice.speak(2, 0, "", true);
    assert_eq!(voice.finish(2).end, VoiceEvent::Done { length: Duration::ZERO });
}

#[test]
fn a_cancelled_turn_is_cancelled_there_and_silent_here() {
    for faults in [&[][..], &[Fault::DeafToCancel]] {
        let mut voice = Voice::open(faults);
        voice.speak(1, 0, &"many words ".repeat(20), false);
        eventually("audio", || {
            voice.drain();
            !voice.audio.is_empty()
        });
        voice.command(VoiceCommand::Cancel(TurnId(1)));
        eventually("the cancellation", || voice.requests().iter().any(|request| request["cancel"] == true));
        while voice.events.try_recv().is_ok() {}
        voice.drain();
        voice.audio.clear();
        voice.speak(2, 0, "Yes?", true);
        assert_eq!(voice.finish(2).words, "Yes?");
        assert!(voice.audio.iter().all(|(turn, ..)| turn.0 == 2), "{:?}", voice.audio);
    }
}

#[test]
fn a_kept_phrase_needs_no_server() {
    let (server, plan, _) = start(quick(&[]));
    let mut voice = Voice::open_at(server, plan, cartesia("ws://127.0.0.1:1"));
    let pcm: Arc<[i16]> = vec![100; 1000].into();
    voice.command(VoiceCommand::Play { turn: TurnId(0), text: "Hello.".into(), pcm });
    let spoken = voice.finish(0);
    assert_eq!((spoken.words.as_str(), spoken.length), ("Hello.", Duration::from_millis(125)));
}

#[test]
fn an_idle_connection_that_is_closed_is_opened_again() {
    let mut voice = Voice::open(&[Fault::IdleClose(Duration::from_millis(50))]);
    eventually("another connection", || voice.plan.seen.lock().connections == 2);
    voice.speak(1, 0, "Still here.", true);
    assert_eq!(voice.finish(1).words, "Still here.");
}

#[test]
fn an_expired_context_is_followed_by_another_one() {
    let (server, plan, url) = start(Plan { expiry: Duration::from_millis(50), ..quick(&[]) });
    let mut voice = Voice::open_at(server, plan, cartesia(&url));
    voice.speak(1, 0, "One moment.", false);
    eventually("the audio and its expiry", || {
        voice.drain();
        voice.audio.iter().map(|(_, len, _)| len).sum::<usize>() >= 5000
    });
    std::thread::park_timeout(Duration::from_millis(200));
    voice.speak(1, 1, "Here it is.", true);
    let spoken = voice.finish(1);
    assert_eq!(spoken.words, "One moment. Here it is.");
    assert_eq!(spoken.length, length(&["One moment.", "Here it is."]));
    let ends: Vec<Duration> = voice
        .heard
        .iter()
        .filter_map(|(_, event)| match event {
            VoiceEvent::Spoken { end, .. } => Some(*end),
            _ => None,
        })
        .collect();
    assert!(ends.is_sorted() && ends.last() <= Some(&spoken.length), "{ends:?}");
}

#[test]
fn speech_goes_on_where_a_connection_broke() {
    let text = "One two three four five six seven eight nine ten.";
    for fault in [Fault::DropAfter(Duration::from_millis(1500)), Fault::StallAfter(Duration::from_millis(1500))] {
        let mut voice = Voice::open(std::slice::from_ref(&fault));
        voice.speak(1, 0, text, true);
        let spoken = voice.finish(1);
        assert!(matches!(spoken.end, VoiceEvent::Done { .. }), "{fault:?}: {:?}", spoken.end);
        let again = voice.requests().last().expect("a second request")["transcript"].clone();
        let again = again.as_str().expect("text").to_owned();
        assert!(text.ends_with(&again) && again.len() < text.len(), "{fault:?}: {again}");
        assert!(spoken.length >= length(&[&again]) + Duration::from_millis(1500));
    }
}

#[test]
fn speech_that_fails_twice_is_told() {
    let fault = Fault::DropAfter(Duration::from_millis(500));
    let mut voice = Voice::open(&[fault.clone(), fault]);
    voice.speak(1, 0, "One two three four five six seven eight nine ten.", true);
    assert_eq!(voice.failure(1).kind, FailureKind::Dropped);
    voice.speak(2, 0, "Sorry.", true);
    assert_eq!(voice.finish(2).words, "Sorry.");
}

#[test]
fn errors_of_a_context_are_tried_again_if_that_is_of_use() {
    for (fault, told) in [
        (Fault::Error("concurrency_limited", 429, true), None),
        (Fault::Error("", 500, false), None),
        (Fault::Error("voice_not_found", 404, true), Some(FailureKind::Refused)),
        (Fault::Error("quota_exceeded", 402, false), Some(FailureKind::Refused)),
    ] {
        let mut voice = Voice::open(std::slice::from_ref(&fault));
        voice.speak(1, 0, "Yes.", true);
        match told {
            None => assert_eq!(voice.finish(1).words, "Yes.", "{fault:?}"),
            Some(kind) => assert_eq!(voice.failure(1).kind, kind, "{fault:?}"),
        }
    }
}

#[test]
fn a_wrong_key_is_told_when_there_is_something_to_say() {
    let refusal = Refusal::new(401, &format!("{{\"message\":\"bad key {}\"}}", super::standin::KEY));
    let mut voice = Voice::open(&vec![Fault::Refuse(refusal); 3]);
    voice.speak(1, 0, "Hello.", true);
    let failure = voice.failure(1);
    assert_eq!(failure.kind, FailureKind::Refused);
    assert!(failure.text.contains("CARTESIA_API_KEY") && failure.text.contains("<key>"), "{}", failure.text);
}

#[test]
fn a_server_that_is_not_there_is_told_in_time() {
    let (server, plan, _) = start(quick(&[]));
    let mut voice = Voice::open_at(server, plan, cartesia("ws://127.0.0.1:1"));
    voice.speak(1, 0, "Hello.", true);
    assert!(matches!(voice.failure(1).kind, FailureKind::Dropped | FailureKind::Stalled));
}

#[test]
fn strange_messages_and_frames_of_others_are_passed_over() {
    let mut voice = Voice::open(&[Fault::Strange]);
    voice.speak(1, 0, "Quite strange.", true);
    let spoken = voice.finish(1);
    assert_eq!((spoken.words.as_str(), spoken.length), ("Quite strange.", length(&["Quite strange."])));
}

#[test]
fn an_end_that_is_not_told_is_understood() {
    let mut voice = Voice::open(&[Fault::NoDone]);
    voice.speak(1, 0, "No end.", true);
    assert!(matches!(voice.finish(1).end, VoiceEvent::Done { .. }));
}

#[test]
fn a_voice_without_word_times_tells_the_whole_text() {
    let mut voice = Voice::open(&[Fault::NoTimes]);
    voice.speak(1, 0, "No times", false);
    voice.speak(1, 1, "at all.", true);
    assert_eq!(voice.finish(1).words, "No times at all.");
}

#[test]
fn a_phrase_is_rendered_whole_or_refused() {
    let (_server, plan, url) = start(quick(&[]));
    let pcm = cartesia(&url).render("Hello, who is there?").expect("speech");
    assert_eq!(pcm.len(), 20 * 480);
    assert!(pcm.iter().any(|sample| sample.abs() > 4000));
    plan.faults.push(Fault::Refuse(Refusal::new(402, super::standin::KEY)));
    let failure = cartesia(&url).render("Hello?").expect_err("no credit");
    assert_eq!(failure.kind, FailureKind::Refused);
    assert_secret(&failure.text);
    plan.faults.push(Fault::Error("model_not_found", 404, false));
    assert_eq!(cartesia(&url).render("Hello?").expect_err("no model").kind, FailureKind::Refused);
}
