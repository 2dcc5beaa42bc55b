//! Cartesia, Aura and ElevenLabs against their stand-ins.

use super::standin::cartesia::{Fault, Plan, start};
use super::standin::{Refusal, Server, Wall, aura, elevenlabs};
use super::{PATIENCE, Session, assert_secret, endpoint, events, eventually};
use crossbeam_channel::{Receiver, Sender, bounded};
use offhook::agent::{Failure, FailureKind, VoiceEvent};
use offhook::call::VoiceFrame;
use offhook::ids::{CallId, TurnId};
use offhook::providers::aura::Aura;
use offhook::providers::cartesia::Cartesia;
use offhook::providers::elevenlabs::ElevenLabs;
use offhook::providers::{Bell, Listener, Speaker, Stamped, Stop, VoiceCommand, VoiceIo};
use offhook::time::Clock;
use std::sync::Arc;
use std::time::Duration;

/// A session of the voice, and everything that is around it.
struct Voice<P = Plan> {
    session: Session,
    plan: Arc<P>,
    _server: Server,
    commands: Sender<VoiceCommand>,
    frames: rtrb::Consumer<VoiceFrame>,
    events: Receiver<Stamped<(TurnId, VoiceEvent)>>,
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

    fn requests(&self) -> Vec<serde_json::Value> {
        self.plan.seen.lock().requests.clone()
    }

    fn connections(&self) -> usize {
        self.plan.seen.lock().connections
    }

    /// What was asked to be spoken, request by request.
    fn transcripts(&self) -> Vec<String> {
        let text = |request: &serde_json::Value| request["transcript"].as_str().unwrap_or_default().to_owned();
        self.requests().iter().map(text).filter(|text| !text.is_empty()).collect()
    }
}

impl Voice<aura::Plan> {
    fn aura(faults: &[aura::Fault]) -> Self {
        let plan = aura::Plan::default();
        faults.iter().cloned().for_each(|fault| plan.faults.push(fault));
        let (server, plan, url) = aura::start(plan);
        Self::open_at(server, plan, Aura::new(&endpoint(&url, "aura-2-thalia-en"), Wall::start()))
    }
}

impl Voice<elevenlabs::Plan> {
    fn elevenlabs(faults: &[elevenlabs::Fault]) -> Self {
        let plan = elevenlabs::Plan::default();
        faults.iter().cloned().for_each(|fault| plan.faults.push(fault));
        let (server, plan, url) = elevenlabs::start(plan);
        Self::open_at(server, plan, ElevenLabs::new(&endpoint(&url, "eleven_flash_v2_5"), "v1ce", Wall::start()))
    }
}

impl<P> Voice<P> {
    fn open_at(server: Server, plan: Arc<P>, speaker: impl Speaker + 'static) -> Self {
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
        let session = Session::start(bell, stop, move || speaker.run(io));
        let (heard, audio) = (Vec::new(), Vec::new());
        Self { session, plan, _server: server, commands, frames, events, heard, audio }
    }

    fn command(&self, command: VoiceCommand) {
        self.commands.send(command).expect("the session lives");
        self.session.wake();
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
            self.session.wake();
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

    /// Waits until some of what is spoken has come.
    fn hear(&mut self) {
        eventually("audio", || {
            self.drain();
            !self.audio.is_empty()
        });
    }
}

impl<P> Drop for Voice<P> {
    fn drop(&mut self) {
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
    assert!(voice.connections() <= 2, "one, and perhaps the spare one already");
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
fn an_idle_connection_that_is_closed_is_opened_again() {
    let mut voice = Voice::open(&[Fault::IdleClose(Duration::from_millis(50))]);
    eventually("another connection", || voice.connections() >= 2);
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
fn speech_that_fails_again_and_again_is_told() {
    let fault = Fault::DropAfter(Duration::from_millis(200));
    let mut voice = Voice::open(&vec![fault; 5]);
    voice.speak(1, 0, "One two three four five six seven eight nine ten.", true);
    assert_eq!(voice.failure(1).kind, FailureKind::Dropped);
    voice.plan.faults.push_none();
    voice.speak(2, 0, "Sorry.", true);
    assert_eq!(voice.finish(2).words, "Sorry.");
}

#[test]
fn what_is_told_as_spoken_before_a_failure_is_what_was_made() {
    let mut faults = vec![Fault::DropAfter(Duration::from_millis(700))];
    faults.extend(vec![Fault::Refuse(Refusal::new(503, "down")); 12]);
    let mut voice = Voice::open(&faults);
    voice.speak(1, 0, "One two three four five six seven eight nine ten.", true);
    let spoken = voice.finish(1);
    assert!(matches!(spoken.end, VoiceEvent::Failed(_)), "{:?}", spoken.end);
    assert_eq!(spoken.words, "One two", "the words that 0.7 s hold whole");
    assert_eq!(spoken.length, Duration::from_millis(700), "and what was made is not taken back");
    let tries = voice.plan.seen.lock().keys.len();
    assert!(tries <= 6, "a server that refuses is not besieged: {tries} tries in 1.2 s");
}

#[test]
fn a_warm_spare_connection_takes_over_without_a_handshake() {
    // Whoever comes third is refused: what goes on does so over the two that are there.
    let mut voice = Voice::open(&[Fault::DropAfter(Duration::from_millis(1500))]);
    voice.plan.faults.push_none();
    voice.plan.faults.push(Fault::Refuse(Refusal::new(503, "no more")));
    eventually("the spare connection", || voice.connections() == 2);
    voice.speak(1, 0, "One two three four five six seven eight nine ten.", true);
    let spoken = voice.finish(1);
    assert!(matches!(spoken.end, VoiceEvent::Done { .. }), "{:?}", spoken.end);
    assert_eq!(spoken.words, "One two three four five six seven eight nine ten.", "no word is told twice");
    assert_eq!(voice.transcripts().last().map(String::as_str), Some("six seven eight nine ten."));
}

#[test]
fn idle_connections_are_replaced_before_the_server_closes_them() {
    let idle_close = Fault::IdleClose(Duration::from_secs(3));
    let (server, plan, url) = start(quick(&vec![idle_close; 3]));
    let mut voice = Voice::open_at(server, plan, cartesia(&url).with_idle_max(Duration::from_millis(1800)));
    eventually("both to be replaced", || voice.connections() >= 4);
    voice.speak(1, 0, "Still here.", true);
    let spoken = voice.finish(1);
    assert_eq!((spoken.words.as_str(), voice.transcripts().len()), ("Still here.", 1), "at the first try");
}

#[test]
fn idle_closes_do_not_add_up() {
    let mut voice = Voice::open(&vec![Fault::IdleClose(Duration::from_millis(30)); 6]);
    for turn in 1..4 {
        voice.speak(turn, 0, "Yes.", true);
        assert_eq!(voice.finish(turn).words, "Yes.");
        let before = voice.connections();
        eventually("the next idle close", || voice.connections() > before || before > 5);
    }
}

#[test]
fn a_slow_connection_or_first_audio_is_overtaken_by_the_other_one() {
    for fault in [Fault::SlowOpen(Duration::from_secs(3)), Fault::SlowAudio(Duration::from_secs(3))] {
        let mut voice = Voice::open(std::slice::from_ref(&fault));
        if matches!(fault, Fault::SlowAudio(_)) {
            voice.plan.faults.push_none();
            eventually("the spare connection", || voice.connections() == 2);
        }
        voice.speak(1, 0, "Quick now.", true);
        let spoken = voice.finish(1);
        assert_eq!((spoken.words.as_str(), spoken.length), ("Quick now.", length(&["Quick now."])), "{fault:?}");
    }
}

#[test]
fn a_first_audio_that_is_late_but_quicker_than_the_second_try_is_heard() {
    let mut voice =
        Voice::open(&[Fault::SlowAudio(Duration::from_millis(800)), Fault::SlowAudio(Duration::from_secs(3))]);
    eventually("the spare connection", || voice.connections() == 2);
    voice.speak(1, 0, "Late, but here.", true);
    assert_eq!(voice.finish(1).words, "Late, but here.");
    let requests = voice.requests();
    assert_eq!(voice.transcripts(), ["Late, but here.", "Late, but here."]);
    let cancelled: Vec<_> = requests.iter().filter(|request| request["cancel"] == true).collect();
    assert_eq!(cancelled[0]["context_id"], requests[1]["context_id"], "the second one is not wanted any more");
}

#[test]
fn silence_on_all_connections_is_told_in_time() {
    let mut voice = Voice::open(&vec![Fault::StallAfter(Duration::ZERO); 4]);
    voice.speak(1, 0, "Hello.", true);
    assert_eq!(voice.failure(1).kind, FailureKind::Stalled);
}

#[test]
fn what_is_no_websocket_is_given_up_for_another_connection() {
    let mut voice = Voice::open(&[Fault::GarbageAfter(Duration::from_millis(700))]);
    voice.speak(1, 0, "One two three four five.", true);
    assert_eq!(voice.finish(1).words, "One two three four five.");
}

#[test]
fn too_many_connections_are_told_with_the_time_to_wait() {
    let limited = Refusal::new(429, "slow down").with_header("retry-after", "7");
    let mut voice = Voice::open(&vec![Fault::Refuse(limited); 4]);
    voice.speak(1, 0, "Hello.", true);
    let retry_after = Some(Duration::from_secs(7));
    assert_eq!(voice.failure(1).kind, FailureKind::RateLimited { retry_after });
}

#[test]
fn too_many_contexts_for_ever_are_told_as_that() {
    let (server, plan, url) = start(quick(&vec![Fault::ErrorAlways("concurrency_limited", 429); 8]));
    let mut voice = Voice::open_at(server, plan, cartesia(&url));
    voice.speak(1, 0, "Hello.", true);
    assert!(matches!(voice.failure(1).kind, FailureKind::RateLimited { .. }));
}

#[test]
fn a_key_that_is_revoked_during_a_call_is_told() {
    let refusal = Fault::Refuse(Refusal::new(401, super::standin::KEY));
    let mut voice =
        Voice::open(&[Fault::DropAfter(Duration::from_millis(300)), refusal.clone(), refusal.clone(), refusal]);
    voice.speak(1, 0, "One two three four five six seven eight.", true);
    let failure = voice.failure(1);
    assert_eq!(failure.kind, FailureKind::Refused);
    assert!(failure.text.contains("check CARTESIA_API_KEY"), "{}", failure.text);
}

#[test]
fn a_name_that_is_not_known_any_more_is_told() {
    let (server, plan, _) = start(quick(&[]));
    let mut voice = Voice::open_at(server, plan, cartesia("wss://offhook-has-no-such-host.invalid"));
    voice.speak(1, 0, "Hello.", true);
    let failure = voice.failure(1);
    assert!(matches!(failure.kind, FailureKind::Dropped | FailureKind::Stalled), "{failure:?}");
}

#[test]
fn figures_are_said_as_words_and_told_as_written() {
    let mut voice = Voice::open(&[]);
    voice.speak(1, 0, "That is $12.50, Dr. Smith.", true);
    assert_eq!(voice.finish(1).words, "That is $12.50, Dr. Smith.");
    assert_eq!(voice.transcripts(), ["That is twelve dollars and fifty cents, doctor Smith."]);
}

#[test]
fn aura_speaks_clause_by_clause_on_one_connection() {
    let mut voice = Voice::aura(&[]);
    for turn in 1..4 {
        voice.speak(turn, 0, "Your table is booked.", false);
        voice.speak(turn, 1, "Goodbye!", true);
        let spoken = voice.finish(turn);
        assert_eq!(spoken.words, "Your table is booked. Goodbye!");
        assert_eq!(spoken.length, length(&["Your table is booked.", "Goodbye!"]));
    }
    assert_eq!(voice.plan.seen.lock().connections, 1);
    voice.speak(4, 0, "Yes.", false);
    voice.speak(4, 1, "", true);
    assert_eq!(voice.finish(4).words, "Yes.");
}

#[test]
fn aura_is_cleared_when_it_is_cut() {
    let mut voice = Voice::aura(&[]);
    voice.speak(1, 0, &"many words ".repeat(20), false);
    voice.hear();
    voice.command(VoiceCommand::Cancel(TurnId(1)));
    voice.speak(2, 0, "Yes?", true);
    eventually("the clear", || voice.plan.seen.lock().requests.iter().any(|request| request["type"] == "Clear"));
    while voice.events.try_recv().is_ok_and(|stamped| stamped.event.0 == TurnId(1)) {}
    voice.audio.clear();
    let spoken = voice.finish(2);
    assert_eq!((spoken.words.as_str(), spoken.length), ("Yes?", length(&["Yes?"])));
}

#[test]
fn aura_goes_on_at_the_clause_where_its_connection_broke() {
    let first = length(&["One two three."]);
    let mut voice = Voice::aura(&[aura::Fault::DropAfter(first)]);
    voice.speak(1, 0, "One two three.", false);
    voice.speak(1, 1, "Four five six.", true);
    let spoken = voice.finish(1);
    assert_eq!((spoken.words.as_str(), spoken.length), ("One two three. Four five six.", 2 * first));
}

#[test]
fn aura_that_stops_within_a_clause_is_told_with_what_was_said() {
    let mut voice = Voice::aura(&[aura::Fault::StallAfter(length(&["One two three."]) + Duration::from_millis(100))]);
    voice.speak(1, 0, "One two three.", false);
    voice.speak(1, 1, "Four five six.", true);
    let spoken = voice.finish(1);
    assert_eq!(spoken.words, "One two three.", "the second clause is for another voice to say");
    assert!(matches!(spoken.end, VoiceEvent::Failed(_)));
}

#[test]
fn aura_is_never_asked_for_more_flushes_than_it_takes() {
    let mut voice = Voice::aura(&[]);
    for turn in 1..26 {
        voice.speak(turn, 0, "Yes.", true);
        assert_eq!(voice.finish(turn).words, "Yes.");
    }
    let seen = voice.plan.seen.lock().clone();
    assert_eq!((seen.excesses, seen.connections > 1), (0, true));
}

#[test]
fn auras_errors_and_refusals_are_told_by_the_firm_whose_key_it_is() {
    let mut voice = Voice::aura(&[aura::Fault::Error("NET-0000")]);
    voice.speak(1, 0, "Yes.", true);
    assert_eq!(voice.finish(1).words, "Yes.", "another connection will do");
    let mut voice = Voice::aura(&vec![aura::Fault::Refuse(Refusal::new(401, super::standin::KEY)); 3]);
    voice.speak(1, 0, "Yes.", true);
    let failure = voice.failure(1);
    assert!(
        failure.kind == FailureKind::Refused && failure.text.contains("check DEEPGRAM_API_KEY"),
        "{}",
        failure.text
    );
}

#[test]
fn elevenlabs_speaks_with_the_times_of_its_words() {
    let mut voice = Voice::elevenlabs(&[]);
    for turn in 1..4 {
        voice.speak(turn, 0, "Your table costs $5.", false);
        voice.speak(turn, 1, "Goodbye!", true);
        let spoken = voice.finish(turn);
        assert_eq!(spoken.words, "Your table costs $5. Goodbye!");
        assert_eq!(spoken.length, length(&["Your table costs five dollars. ", "Goodbye! "]));
    }
    voice.speak(4, 0, "Yes.", false);
    voice.speak(4, 1, "", true);
    assert_eq!(voice.finish(4).words, "Yes.");
}

#[test]
fn elevenlabs_goes_on_at_the_word_where_it_stopped() {
    use elevenlabs::Fault::{DropAfter, StallAfter};
    let text = "One two three four five six seven eight nine ten.";
    for fault in [DropAfter(20), StallAfter(20)] {
        let mut voice = Voice::elevenlabs(std::slice::from_ref(&fault));
        voice.speak(1, 0, text, true);
        let spoken = voice.finish(1);
        assert!(matches!(spoken.end, VoiceEvent::Done { .. }), "{fault:?}: {:?}", spoken.end);
        assert_eq!(spoken.words, text, "{fault:?}");
        let requests = voice.plan.seen.lock().requests.clone();
        let again = requests.iter().filter_map(|request| request["text"].as_str()).rfind(|text| *text != " ");
        assert_eq!(again, Some("five six seven eight nine ten. "), "{fault:?}");
    }
}

#[test]
fn elevenlabs_never_has_too_many_contexts() {
    let mut voice = Voice::elevenlabs(&vec![elevenlabs::Fault::SlowToClose; 9]);
    for turn in 1..13 {
        voice.audio.clear();
        voice.speak(turn, 0, &"many words ".repeat(20), false);
        voice.hear();
        voice.command(VoiceCommand::Cancel(TurnId(turn)));
        while voice.events.recv_timeout(Duration::from_millis(20)).is_ok() {}
    }
    assert_eq!(voice.plan.seen.lock().excesses, 0);
}

#[test]
fn elevenlabs_errors_are_tried_again_if_that_is_of_use() {
    use elevenlabs::Fault::{Error, ErrorAlways, Refuse};
    for once in ["system_busy", "voice_not_found"] {
        let mut voice = Voice::elevenlabs(&[Error(once)]);
        voice.speak(1, 0, "Yes.", true);
        assert_eq!(voice.finish(1).words, "Yes.", "{once}");
    }
    for fault in [ErrorAlways("voice_not_found"), Refuse(Refusal::new(401, super::standin::KEY))] {
        let mut voice = Voice::elevenlabs(&vec![fault.clone(); 3]);
        voice.speak(1, 0, "Yes.", true);
        assert_eq!(voice.failure(1).kind, FailureKind::Refused, "{fault:?}");
    }
}

#[test]
fn every_voice_renders_a_phrase() {
    let (_server, _, url) = aura::start(aura::Plan::default());
    let pcm = Aura::new(&endpoint(&url, "aura-2-thalia-en"), Wall::start()).render("Hello.").expect("speech");
    assert_eq!(pcm.len(), 6 * 480);
    let (_server, _, url) = elevenlabs::start(elevenlabs::Plan::default());
    let voice = ElevenLabs::new(&endpoint(&url, "eleven_flash_v2_5"), "v1ce", Wall::start());
    assert_eq!(voice.render("Hello.").expect("speech").len(), 7 * 480);
}

#[test]
fn an_error_that_is_told_once_is_tried_again() {
    for fault in [
        Fault::Error("concurrency_limited", 429, true),
        Fault::Error("", 500, false),
        Fault::Error("voice_not_found", 404, true),
        Fault::Error("model_not_found", 404, true),
        Fault::Error("quota_exceeded", 402, false),
        Fault::Refuse(Refusal::new(401, "who?")),
        Fault::Refuse(Refusal::new(429, "").with_header("retry-after", "0.3")),
    ] {
        let mut voice = Voice::open(std::slice::from_ref(&fault));
        voice.speak(1, 0, "Yes.", true);
        let spoken = voice.finish(1);
        assert!(matches!(spoken.end, VoiceEvent::Done { .. }), "{fault:?}: {:?}", spoken.end);
        assert_eq!(spoken.words, "Yes.", "{fault:?}");
    }
}

#[test]
fn an_error_that_is_told_twice_is_believed() {
    for fault in [
        Fault::ErrorAlways("voice_not_found", 404),
        Fault::ErrorAlways("model_not_found", 404),
        Fault::ErrorAlways("quota_exceeded", 402),
    ] {
        let mut voice = Voice::open(&vec![fault.clone(); 4]);
        voice.speak(1, 0, "Yes.", true);
        assert_eq!(voice.failure(1).kind, FailureKind::Refused, "{fault:?}");
        assert_eq!(voice.transcripts(), ["Yes.", "Yes."], "{fault:?}: it is not asked for a third time");
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
