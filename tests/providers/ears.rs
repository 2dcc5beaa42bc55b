//! Flux against its stand-in.

use super::standin::flux::{Fault, Plan, start};
use super::standin::{Refusal, Server, Wall};
use super::{PATIENCE, Session, assert_secret, endpoint, events, eventually};
use crossbeam_channel::{Receiver, Sender};
use offhook::agent::{EarsEvent, Failure, FailureKind};
use offhook::call::{EarFrame, FRAME_8K, FRAME_16K};
use offhook::config::SttFormat;
use offhook::ids::CallId;
use offhook::providers::deepgram::Flux;
use offhook::providers::{EarsCommand, EarsIo, Listener, Stamped, Stop, Transcriber};
use offhook::time::Clock;
use std::sync::Arc;
use std::time::Duration;

/// A session of the ears, and everything that is around it.
pub struct Ears {
    session: Session,
    pub plan: Arc<Plan>,
    _server: Server,
    clock: Arc<dyn Clock>,
    frames: rtrb::Producer<EarFrame>,
    commands: Sender<EarsCommand>,
    events: Receiver<Stamped<EarsEvent>>,
    pub heard: Vec<EarsEvent>,
}

impl Ears {
    pub fn open(faults: &[Fault], format: SttFormat) -> Self {
        let (server, plan, url) = start(Plan::default());
        faults.iter().cloned().for_each(|fault| plan.faults.push(fault));
        Self::open_at(server, plan, Flux::new(&endpoint(&url, "flux-general-en"), format))
    }

    pub fn open_at(server: Server, plan: Arc<Plan>, flux: Flux) -> Self {
        Self::open_shared(server, plan, Arc::new(flux))
    }

    pub fn open_shared(server: Server, plan: Arc<Plan>, flux: Arc<Flux>) -> Self {
        let mut ears = Self::of(server, flux);
        ears.plan = plan;
        ears
    }

    /// Ears of any kind: `plan` is empty, and nothing is noted in it.
    pub fn of(server: Server, ears: Arc<dyn Transcriber>) -> Self {
        let plan = Arc::default();
        let clock: Arc<dyn Clock> = Wall::start();
        let (bell, listener) = Listener::new().expect("a listener");
        let (frames, consumer) = rtrb::RingBuffer::new(256);
        let (send, events) = events(&clock);
        let stop = Stop::default();
        let (call, frames_in, stopped) = (CallId(1), consumer, stop.clone());
        let (commands, orders) = crossbeam_channel::bounded(4);
        let clock_in = clock.clone();
        let io = EarsIo {
            call,
            clock: clock_in,
            frames: frames_in.into(),
            commands: orders,
            listener,
            events: send,
            stop: stopped,
        };
        let session = Session::start(bell, stop, move || ears.run(io));
        Self { session, plan, _server: server, clock, frames, commands, events, heard: Vec::new() }
    }

    /// Plays `length` of speech or silence, in real time, and hears what comes meanwhile.
    pub fn play(&mut self, speech: bool, length: Duration) {
        for n in 0..length.as_millis() / 20 {
            let sample = if speech { if n % 2 == 0 { 6000 } else { 5000 } } else { 0 };
            let ulaw = [if speech { 0x10 } else { 0xff }; FRAME_8K];
            let arrived = self.clock.now();
            let frame = EarFrame { pcm: [sample; FRAME_16K], ulaw, arrived, speech, concealed: false };
            // A session that is over takes no more frames.
            let _ = self.frames.push(frame);
            self.session.wake();
            let due = arrived + Duration::from_millis(20);
            while let Ok(stamped) = self.events.recv_timeout(due.since(self.clock.now())) {
                self.heard.push(stamped.event);
            }
        }
    }

    pub fn force_end_turn(&self) {
        self.commands.send(EarsCommand::ForceEndTurn).expect("the session is there");
        self.session.wake();
    }

    /// Plays silence until an event of this kind comes; returns it.
    pub fn until(&mut self, what: &str, wanted: impl Fn(&EarsEvent) -> bool) -> EarsEvent {
        let mut seen = 0;
        for _ in 0..PATIENCE.as_millis() / 100 {
            if let Some(event) = self.heard.iter().skip(seen).find(|event| wanted(event)) {
                return event.clone();
            }
            seen = self.heard.len();
            self.play(false, Duration::from_millis(100));
        }
        panic!("{what} did not come, but {:?}", self.heard);
    }

    pub fn until_failed(&mut self) -> Failure {
        match self.until("a failure", |event| matches!(event, EarsEvent::Failed(_))) {
            EarsEvent::Failed(failure) => failure,
            event => panic!("{event:?}"),
        }
    }

    pub fn until_end(&mut self) -> (String, offhook::agent::SpeechMark) {
        match self.until("an end of turn", |event| matches!(event, EarsEvent::EndOfTurn { .. })) {
            EarsEvent::EndOfTurn { transcript, speech } => (transcript, speech),
            event => panic!("{event:?}"),
        }
    }

    fn starts(&self) -> usize {
        self.heard.iter().filter(|event| matches!(event, EarsEvent::StartOfTurn { .. })).count()
    }
}

impl Drop for Ears {
    fn drop(&mut self) {
        self.heard.iter().for_each(|event| assert_secret(&format!("{event:?}")));
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_turn_is_heard_with_its_words_and_its_times() {
    let mut ears = Ears::open(&[], SttFormat::Pcm16);
    ears.until("connected", |event| *event == EarsEvent::Connected);
    ears.play(true, SECOND);
    let (transcript, speech) = ears.until_end();
    assert_eq!(transcript, "Hello there.");
    assert_eq!(ears.starts(), 1);
    assert!(speech.handed >= speech.arrived && speech.arrived.as_nanos() > 0);
    let seen = ears.plan.seen.lock().clone();
    assert!(seen.paths[0].starts_with(
        "/v2/listen?model=flux-general-en&encoding=linear16&sample_rate=16000&eot_threshold=0.7&eot_timeout_ms=5000"
    ));
    assert!(seen.frames.iter().all(|len| *len == 640), "each frame is a message: {:?}", seen.frames);
    assert!(seen.authorizations[0].starts_with("Token "));
}

#[test]
fn mulaw_goes_through_as_it_came() {
    let mut ears = Ears::open(&[], SttFormat::Mulaw);
    ears.play(true, SECOND);
    assert_eq!(ears.until_end().0, "Hello there.");
    let seen = ears.plan.seen.lock().clone();
    assert!(seen.paths[0].contains("encoding=mulaw&sample_rate=8000"));
    assert!(seen.frames.iter().all(|len| *len == 160));
}

#[test]
fn what_was_said_before_the_connection_was_ready_is_not_lost() {
    let mut ears = Ears::open(&[Fault::Refuse(Refusal::new(503, "busy"))], SttFormat::Pcm16);
    ears.play(true, SECOND);
    assert_eq!(ears.until_end().0, "Hello there.");
}

#[test]
fn the_call_ends_with_a_goodbye() {
    let mut ears = Ears::open(&[], SttFormat::Pcm16);
    ears.until("connected", |event| *event == EarsEvent::Connected);
    let plan = ears.plan.clone();
    drop(ears);
    assert_eq!(plan.seen.lock().texts, [r#"{"type":"CloseStream"}"#]);
}

#[test]
fn a_frame_is_sent_as_it_comes_and_not_kept_for_a_chunk_of_4096_bytes() {
    let mut ears = Ears::open(&[], SttFormat::Pcm16);
    ears.until("connected", |event| *event == EarsEvent::Connected);
    let sent = |plan: &Plan| plan.seen.lock().audio.first().copied().unwrap_or_default();
    let plan = ears.plan.clone();
    // Each of them is with the server before there is another one.
    for _ in 0..6 {
        let before = sent(&plan);
        ears.play(true, Duration::from_millis(20));
        eventually("the frame", || sent(&plan) > before);
    }
}

#[test]
fn a_wrong_key_is_told_and_not_shown() {
    let body = format!("{{\"err_code\":\"INVALID_AUTH\",\"err_msg\":\"no such key {}\"}}", super::standin::KEY);
    let refused = Fault::Refuse(Refusal::new(401, &body).with_header("dg-error", "Invalid"));
    let mut ears = Ears::open(&[refused.clone(), refused], SttFormat::Pcm16);
    let failure = ears.until_failed();
    assert_eq!(failure.kind, FailureKind::Refused);
    assert!(failure.text.contains("401") && failure.text.contains("<key>"), "{}", failure.text);
    assert!(failure.text.contains("DEEPGRAM_API_KEY"));
}

#[test]
fn a_refusal_that_is_told_once_is_not_believed() {
    for status in [400, 401, 403, 404] {
        let mut ears = Ears::open(&[Fault::Refuse(Refusal::new(status, "mistaken"))], SttFormat::Pcm16);
        ears.play(true, SECOND);
        assert_eq!(ears.until_end().0, "Hello there.", "{status}");
        assert_eq!(reconnected(&ears).len(), 1, "{status}");
    }
}

#[test]
fn a_model_that_is_not_to_be_had_is_told() {
    let (server, plan, url) = start(Plan::default());
    let flux = Flux::new(&endpoint(&url, "flux&general"), SttFormat::Pcm16);
    let mut ears = Ears::open_at(server, plan, flux);
    let failure = ears.until_failed();
    assert!(failure.text.contains("INSUFFICIENT_PERMISSIONS"), "{}", failure.text);
    assert!(ears.plan.seen.lock().paths[0].contains("model=flux%26general&"));
}

#[test]
fn too_many_streams_are_waited_out_and_then_told() {
    let refusal = Fault::Refuse(Refusal::new(429, "TOO_MANY_REQUESTS").with_header("retry-after", "1"));
    let mut ears = Ears::open(&[refusal.clone(), refusal.clone()], SttFormat::Pcm16);
    ears.play(true, SECOND);
    assert_eq!(ears.until_end().0, "Hello there.");
    let mut ears = Ears::open(&vec![refusal; 5], SttFormat::Pcm16);
    let failure = ears.until_failed();
    assert_eq!(failure.kind, FailureKind::RateLimited { retry_after: Some(SECOND) });
}

#[test]
fn a_server_that_is_not_there_is_told() {
    let (server, plan, _) = start(Plan::default());
    let flux = Flux::new(&endpoint("ws://127.0.0.1:1", "flux-general-en"), SttFormat::Pcm16);
    let failure = Ears::open_at(server, plan, flux).until_failed();
    assert_eq!(failure.kind, FailureKind::Dropped);
    assert!(failure.text.contains("127.0.0.1") && failure.text.contains("DEEPGRAM_BASE_URL"), "{}", failure.text);
}

#[test]
fn audio_is_not_sent_in_the_clear_over_a_network() {
    for url in ["ws://api.deepgram.com", "http://127.0.0.1", "", "wss://"] {
        let (server, plan, _) = start(Plan::default());
        let failure = Ears::open_at(server, plan, Flux::new(&endpoint(url, "m"), SttFormat::Pcm16)).until_failed();
        assert_eq!(failure.kind, FailureKind::Refused, "{url}");
    }
}

#[test]
fn a_turn_goes_on_over_a_connection_that_breaks() {
    for fault in [
        Fault::DropAfter(Duration::from_millis(600)),
        Fault::CloseAfter(Duration::from_millis(600)),
        Fault::ErrorAfter(Duration::from_millis(600), "INTERNAL_SERVER_ERROR"),
    ] {
        let mut ears = Ears::open(std::slice::from_ref(&fault), SttFormat::Pcm16);
        ears.play(true, SECOND);
        assert_eq!(ears.until_end().0, "Hello there.", "{fault:?}");
        assert_eq!(ears.starts(), 1, "a turn that is replayed starts once: {fault:?}");
        assert_eq!(ears.plan.seen.lock().audio.len(), 2);
    }
}

#[test]
fn a_connection_that_breaks_after_the_words_ends_the_turn_with_them() {
    // The speech is over when the connection breaks; the next one hears it all from the replay.
    let mut ears = Ears::open(&[Fault::DropAfter(Duration::from_millis(680))], SttFormat::Pcm16);
    ears.until("connected", |event| *event == EarsEvent::Connected);
    ears.play(true, Duration::from_millis(500));
    assert_eq!(ears.until_end().0, "Hello there.");
}

#[test]
fn a_message_that_flux_cannot_parse_is_not_repeated() {
    let fault = Fault::ErrorAfter(Duration::from_millis(100), "UNPARSABLE_CLIENT_MESSAGE");
    let failure = Ears::open(&[fault], SttFormat::Pcm16).until_failed();
    assert_eq!(failure.kind, FailureKind::Refused);
}

#[test]
fn a_server_that_stalls_is_left_for_another_connection() {
    let mut ears = Ears::open(&[Fault::StallAfter(Duration::from_millis(600))], SttFormat::Pcm16);
    ears.play(true, SECOND);
    assert_eq!(ears.until_end().0, "Hello there.");
    assert_eq!(ears.plan.seen.lock().audio.len(), 2);
}

#[test]
fn a_server_that_tells_only_news_is_stayed_with_while_nobody_speaks_and_through_long_turns() {
    let mut ears = Ears::open(&[Fault::NoUpdates], SttFormat::Pcm16);
    ears.play(false, 3 * SECOND);
    ears.play(true, 3 * SECOND);
    assert_eq!(ears.until_end().0, "Hello there.");
    assert_eq!(ears.plan.seen.lock().audio.len(), 1, "one connection");
}

#[test]
fn a_server_that_never_says_connected_is_left_for_another_connection() {
    let mut ears = Ears::open(&[Fault::NoConnected], SttFormat::Pcm16);
    ears.until("connected", |event| *event == EarsEvent::Connected);
    ears.play(true, SECOND);
    assert_eq!(ears.until_end().0, "Hello there.");
    assert_eq!(ears.plan.seen.lock().audio[0], 0, "nothing is sent to a server that is not ready");
}

#[test]
fn a_turn_that_flux_leaves_open_is_ended_here() {
    let mut ears = Ears::open(&[Fault::NoEnd], SttFormat::Pcm16);
    ears.play(true, SECOND);
    assert_eq!(ears.until_end().0, "Hello there.");
}

#[test]
fn nonsense_and_news_of_the_future_are_passed_over() {
    for fault in [Fault::Garbage, Fault::Strange] {
        let mut ears = Ears::open(std::slice::from_ref(&fault), SttFormat::Pcm16);
        ears.play(true, SECOND);
        assert_eq!(ears.until_end().0, "Hello there.", "{fault:?}");
    }
}

#[test]
fn an_end_without_a_start_is_a_turn() {
    let mut ears = Ears::open(&[Fault::NoStart], SttFormat::Pcm16);
    ears.until("connected", |event| *event == EarsEvent::Connected);
    // Nothing at all is told of this turn before its end, and for much longer that would be a stall.
    ears.play(true, SECOND / 2);
    assert_eq!(ears.until_end().0, "Hello there.");
    assert_eq!(ears.starts(), 0);
}

#[test]
fn a_call_that_ends_while_connecting_ends_at_once() {
    // Loopback, but nobody answers: the listener's queue takes the connection, and no upgrade follows.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("ws://{}", silent.local_addr().expect("an address"));
    let (server, plan, _) = start(Plan::default());
    let mut ears = Ears::open_at(server, plan, Flux::new(&endpoint(&url, "m"), SttFormat::Pcm16));
    ears.play(false, Duration::from_millis(100));
    drop(ears);
}

/// A turn of a second that its recogniser would end only after a minute.
fn endless(faults: &[Fault]) -> Ears {
    let (server, plan, url) = start(Plan { end_after: 60 * SECOND, ..Plan::default() });
    faults.iter().cloned().for_each(|fault| plan.faults.push(fault));
    let mut ears = Ears::open_at(server, plan, Flux::new(&endpoint(&url, "flux-general-en"), SttFormat::Pcm16));
    ears.until("connected", |event| *event == EarsEvent::Connected);
    ears.play(true, SECOND);
    ears
}

#[test]
fn a_turn_ends_by_order_and_without_one_the_order_is_nothing() {
    let mut ears = endless(&[]);
    ears.force_end_turn();
    assert_eq!(ears.until_end().0, "Hello there.");
    ears.force_end_turn();
    ears.play(false, SECOND / 4);
    assert_eq!(ears.plan.seen.lock().texts, [r#"{"type":"ForceEndTurn"}"#], "there is no turn to be ended");
    assert_eq!(ears.plan.seen.lock().audio.len(), 1);
}

#[test]
fn an_account_that_cannot_end_turns_is_asked_once_and_its_turns_are_ended_here() {
    let (server, plan, url) = start(Plan { end_after: 60 * SECOND, ..Plan::default() });
    plan.faults.push(Fault::NoForce);
    plan.faults.push(Fault::NoForce);
    let mut ears = Ears::open_at(server, plan, Flux::new(&endpoint(&url, "flux-general-en"), SttFormat::Pcm16));
    ears.until("connected", |event| *event == EarsEvent::Connected);
    for _ in 0..2 {
        ears.heard.clear();
        ears.play(true, SECOND);
        ears.force_end_turn();
        assert_eq!(ears.until_end().0, "Hello there.");
    }
    let asked = |texts: &[String]| texts.iter().filter(|text| text.contains("ForceEndTurn")).count();
    assert_eq!(asked(&ears.plan.seen.lock().texts), 1);
    assert_eq!(ears.plan.seen.lock().audio.len(), 2, "one connection was closed for it");
}

#[test]
fn an_order_that_is_not_answered_is_carried_out_here() {
    let mut ears = endless(&[Fault::DeafToForce]);
    ears.force_end_turn();
    assert_eq!(ears.until_end().0, "Hello there.");
    assert_eq!(ears.plan.seen.lock().audio.len(), 1);
}

/// Returns what the operator is told of lost connections.
fn reconnected(ears: &Ears) -> Vec<String> {
    let told = |event: &EarsEvent| match event {
        EarsEvent::Reconnecting(failure) => Some(failure.text.clone()),
        _ => None,
    };
    ears.heard.iter().filter_map(told).collect()
}

#[test]
fn a_connection_that_is_lost_is_told_with_its_cause() {
    let after = Duration::from_millis(600);
    for (fault, cause) in [
        (Fault::DropAfter(after), "broke"),
        (Fault::CloseWith(after, 1000, "connection idle timeout"), "1000"),
        (Fault::CloseWith(after, 1011, "NET-0001"), "NET-0001"),
        (Fault::StallAfter(after), "says nothing while audio flows"),
        (Fault::ErrorAfter(after, "INTERNAL_SERVER_ERROR"), "INTERNAL_SERVER_ERROR"),
    ] {
        let mut ears = Ears::open(std::slice::from_ref(&fault), SttFormat::Pcm16);
        ears.play(true, SECOND);
        assert_eq!(ears.until_end().0, "Hello there.", "{fault:?}");
        let told = reconnected(&ears);
        assert!(told.len() == 1 && told[0].contains(cause) && told[0].contains("deepgram"), "{fault:?}: {told:?}");
    }
}

#[test]
fn a_handshake_that_hangs_is_left_for_another_and_nothing_said_meanwhile_is_lost() {
    let mut ears = Ears::open(&[Fault::SlowHandshake], SttFormat::Pcm16);
    ears.play(true, SECOND);
    assert_eq!(ears.until_end().0, "Hello there.");
    assert!(reconnected(&ears)[0].contains("in time"), "{:?}", reconnected(&ears));
    assert_eq!(ears.starts(), 1);
}

#[test]
fn a_key_that_is_revoked_in_the_call_ends_the_turn_with_its_words_and_is_told() {
    let refused = Fault::Refuse(Refusal::new(401, "INVALID_AUTH"));
    let dropped = Fault::CloseWith(Duration::from_millis(800), 1008, "revoked");
    let mut ears = Ears::open(&[dropped, refused.clone(), refused], SttFormat::Pcm16);
    ears.play(true, SECOND);
    let failure = ears.until_failed();
    assert!(failure.kind == FailureKind::Refused && failure.text.contains("DEEPGRAM_API_KEY"), "{}", failure.text);
    assert_eq!(ears.until_end().0, "Hello there.", "what was heard of the turn is not lost");
}

#[test]
fn a_name_that_is_not_found_is_told() {
    let (server, plan, _) = start(Plan::default());
    let flux = Flux::new(&endpoint("wss://nowhere.invalid", "flux-general-en"), SttFormat::Pcm16);
    let failure = Ears::open_at(server, plan, flux).until_failed();
    let text = &failure.text;
    assert!(text.contains("nowhere.invalid cannot be reached") && text.contains("DEEPGRAM_BASE_URL"), "{text}");
}

#[test]
fn who_asks_for_a_wait_that_no_caller_has_is_given_up_at_once() {
    let refusal = Refusal::new(429, "TOO_MANY_REQUESTS").with_header("retry-after", "60");
    let mut ears = Ears::open(&[Fault::Refuse(refusal)], SttFormat::Pcm16);
    let failure = ears.until_failed();
    assert_eq!(failure.kind, FailureKind::RateLimited { retry_after: Some(60 * SECOND) });
    assert_eq!(ears.plan.seen.lock().paths.len(), 1);
}

fn with_eager_ends(plan: Plan, waste_max: f64) -> Ears {
    let (server, plan, url) = start(plan);
    let flux = Flux::new(&endpoint(&url, "flux-general-en"), SttFormat::Pcm16).with_eager_ends(waste_max);
    Ears::open_at(server, plan, flux)
}

#[test]
fn a_turn_ends_eagerly_before_it_ends_where_that_is_asked_for() {
    let mut ears = with_eager_ends(Plan::default(), 0.35);
    ears.play(true, SECOND);
    let (transcript, _) = ears.until_end();
    assert!(ears.plan.seen.lock().paths[0].ends_with("&eager_eot_threshold=0.40"));
    let eager = EarsEvent::EagerEndOfTurn { transcript };
    let at = ears.heard.iter().position(|event| *event == eager).expect("it ended eagerly with the same text");
    assert!(matches!(ears.heard.last(), Some(EarsEvent::EndOfTurn { .. })) && at < ears.heard.len() - 1);

    let mut ears = Ears::open(&[], SttFormat::Pcm16);
    ears.play(true, SECOND);
    ears.until_end();
    assert!(!ears.heard.iter().any(|event| matches!(event, EarsEvent::EagerEndOfTurn { .. })), "nobody asked for it");
}

#[test]
fn speech_after_an_eager_end_resumes_the_turn() {
    let mut ears = with_eager_ends(Plan { end_after: SECOND, ..Plan::default() }, 0.35);
    ears.play(true, SECOND);
    ears.play(false, SECOND / 4);
    ears.play(true, SECOND / 4);
    ears.until_end();
    let count = |wanted: fn(&EarsEvent) -> bool| ears.heard.iter().filter(|event| wanted(event)).count();
    assert_eq!(count(|event| matches!(event, EarsEvent::EagerEndOfTurn { .. })), 2);
    assert_eq!(count(|event| matches!(event, EarsEvent::TurnResumed { .. })), 1);
}

#[test]
fn wasted_drafts_make_a_running_session_less_eager_and_the_next_one_from_its_start() {
    let (server, plan, url) = start(Plan::default());
    let flux = Arc::new(Flux::new(&endpoint(&url, "flux-general-en"), SttFormat::Pcm16).with_eager_ends(0.35));
    let mut ears = Ears::open_shared(server, plan, flux.clone());
    ears.play(true, SECOND / 2);
    (0..4).for_each(|_| flux.learn(false));
    ears.play(false, SECOND / 2);
    let texts = ears.plan.seen.lock().texts.clone();
    assert_eq!(texts, [r#"{"type":"Configure","thresholds":{"eager_eot_threshold":0.53}}"#]);
    (0..4).for_each(|_| flux.learn(true));
    ears.play(false, SECOND / 4);
    assert_eq!(ears.plan.seen.lock().texts.len(), 2, "the first was acknowledged");
}
