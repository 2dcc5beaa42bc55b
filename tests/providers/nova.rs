//! Nova against its stand-in: words from there, turns from here.

use super::ears::Ears;
use super::endpoint;
use super::standin::nova::{Fault, Plan, start};
use super::standin::{Refusal, deepgram, flux};
use offhook::agent::{EarsEvent, FailureKind};
use offhook::config::SttFormat;
use offhook::providers::deepgram::{Flux, Nova};
use offhook::providers::line::ears::EarsLine;
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Ears that hear one word in each 0.3 s of speech.
fn open(words: &str, faults: &[Fault], format: SttFormat) -> (Ears, Arc<Plan>) {
    let (server, plan, url) = start(Plan::saying(words));
    faults.iter().cloned().for_each(|fault| plan.faults.push(fault));
    let mut ears = Ears::of(server, Arc::new(Nova::new(&endpoint(&url, Nova::MODEL), format)));
    if !matches!(faults.first(), Some(Fault::Refuse(_))) {
        ears.until("connected", |event| *event == EarsEvent::Connected);
    }
    (ears, plan)
}

#[test]
fn words_are_turns_that_end_here() {
    for format in [SttFormat::Pcm16, SttFormat::Mulaw] {
        let (mut ears, plan) = open("Do you open? Thank you very much.", &[], format);
        ears.play(true, SECOND);
        let (transcript, speech) = ears.until_end();
        assert_eq!(transcript, "Do you open?");
        assert!(speech.handed >= speech.arrived && speech.arrived.as_nanos() > 0);
        assert!(matches!(ears.heard[1], EarsEvent::StartOfTurn { .. }));
        let words = ears.heard.iter().find_map(|event| match event {
            EarsEvent::Words(words) => Some(words.clone()),
            _ => None,
        });
        let words = words.expect("Nova tells when");
        assert_eq!(words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" "), transcript);
        assert!(words.iter().all(|word| word.from < word.to && word.from <= speech.arrived), "{words:?} {speech:?}");
        assert!(words.windows(2).all(|pair| pair[0].to <= pair[1].from), "{words:?}");
        let eager = EarsEvent::EagerEndOfTurn { transcript };
        assert!(ears.heard.contains(&eager), "{:?}", ears.heard);
        ears.heard.clear();
        ears.play(true, SECOND + SECOND / 4);
        assert_eq!(ears.until_end().0, "Thank you very much.");
        let seen = plan.seen.lock().clone();
        assert!(seen.paths[0].starts_with("/v1/listen?model=nova-3&encoding="), "{}", seen.paths[0]);
        assert!(seen.texts.iter().all(|text| text == r#"{"type":"Finalize"}"#) && seen.texts.len() >= 2);
    }
}

#[test]
fn the_caller_need_not_repeat_what_a_broken_connection_has_not_understood() {
    let after = Duration::from_millis(900);
    for fault in [Fault::DropAfter(after), Fault::CloseWith(after, 1011, "NET-0001")] {
        let (mut ears, plan) = open("Do you open?", std::slice::from_ref(&fault), SttFormat::Pcm16);
        ears.play(true, SECOND);
        // Nova takes a replay hardly faster than it was said: the words so far are a turn, and the rest is another.
        let whole = |event: &EarsEvent| matches!(event, EarsEvent::EndOfTurn { transcript, .. } if transcript.ends_with("open?"));
        ears.until("the rest", whole);
        let ends = ears.heard.iter().filter_map(|event| match event {
            EarsEvent::EndOfTurn { transcript, .. } => Some(transcript.as_str()),
            _ => None,
        });
        assert_eq!(ends.collect::<Vec<_>>().join(" "), "Do you open?", "{fault:?}");
        assert!(ears.heard.iter().any(|event| matches!(event, EarsEvent::Reconnecting(_))));
        assert_eq!(plan.seen.lock().audio.len(), 2);
    }
}

#[test]
fn a_server_that_has_no_words_for_speech_is_left_for_another_connection() {
    let (mut ears, plan) = open("Do you open?", &[Fault::StallAfter(Duration::ZERO)], SttFormat::Pcm16);
    ears.play(true, SECOND);
    assert_eq!(ears.until_end().0, "Do you open?");
    assert_eq!(plan.seen.lock().audio.len(), 2);
}

#[test]
fn words_that_are_never_settled_are_a_turn_all_the_same() {
    let (mut ears, _) = open("Do you open?", &[Fault::NeverSettles], SttFormat::Pcm16);
    ears.play(true, SECOND);
    assert_eq!(ears.until_end().0, "Do you open?");
}

#[test]
fn an_order_ends_the_turn() {
    let (mut ears, _) = open("My number is", &[], SttFormat::Pcm16);
    ears.play(true, SECOND);
    ears.play(false, SECOND / 4);
    ears.force_end_turn();
    ears.play(false, SECOND / 4);
    assert!(ears.heard.iter().any(|event| matches!(event, EarsEvent::EndOfTurn { .. })), "{:?}", ears.heard);
}

#[test]
fn nonsense_is_passed_over_and_the_call_ends_with_a_goodbye() {
    let (mut ears, plan) = open("Do you open?", &[Fault::Garbage], SttFormat::Pcm16);
    ears.play(true, SECOND);
    assert_eq!(ears.until_end().0, "Do you open?");
    drop(ears);
    assert_eq!(plan.seen.lock().texts.last().map(String::as_str), Some(r#"{"type":"CloseStream"}"#));
}

#[test]
fn a_refusal_is_told_with_its_cause_and_cure() {
    for (status, kind) in [(401, FailureKind::Refused), (403, FailureKind::Refused)] {
        let refused = Fault::Refuse(Refusal::new(status, "no").with_header("dg-error", "no such model"));
        let (mut ears, _) = open("", &[refused.clone(), refused], SttFormat::Pcm16);
        let failure = ears.until_failed();
        assert_eq!(failure.kind, kind);
        assert!(
            failure.text.contains("DEEPGRAM_API_KEY") && failure.text.contains("no such model"),
            "{}",
            failure.text
        );
    }
}

/// Flux with these faults, and Nova behind it.
fn line(words: &str, faults: &[flux::Fault]) -> (Ears, Arc<Plan>) {
    let (server, flux, nova, url) = deepgram::start(flux::Plan::default(), Plan::saying(words));
    faults.iter().cloned().for_each(|fault| flux.faults.push(fault));
    let ears = EarsLine::new(vec![
        Arc::new(Flux::new(&endpoint(&url, "flux-general-en"), SttFormat::Pcm16)),
        Arc::new(Nova::new(&endpoint(&url, Nova::MODEL), SttFormat::Pcm16)),
    ]);
    (Ears::of(server, Arc::new(ears)), nova)
}

#[test]
fn who_stands_behind_flux_hears_all_that_the_caller_has_said_meanwhile() {
    use flux::Fault;
    let refused = || Fault::Refuse(Refusal::new(401, "INVALID_AUTH"));
    let after = Duration::from_millis(600);
    for faults in [
        // In the middle of a turn that is told, and of one that is not; and before there is any.
        vec![Fault::CloseWith(after, 1008, "revoked"), refused(), refused()],
        vec![Fault::StallAfter(after), Fault::StallAfter(Duration::ZERO)],
        vec![Fault::StallAfter(Duration::ZERO), Fault::SlowHandshake],
        vec![Fault::SlowHandshake, Fault::SlowHandshake],
        vec![refused(), refused()],
        // They begin sooner than a wait that Flux asks for is over.
        vec![Fault::Refuse(Refusal::new(429, "").with_header("retry-after", "2"))],
    ] {
        let (mut ears, nova) = line("Do you open?", &faults);
        ears.play(true, SECOND);
        assert_eq!(ears.until_end().0, "Do you open?", "{faults:?}");
        let ends = ears.heard.iter().filter(|event| matches!(event, EarsEvent::EndOfTurn { .. })).count();
        assert_eq!(ends, 1, "{faults:?}: {:?}", ears.heard);
        assert!(!ears.heard.iter().any(|event| matches!(event, EarsEvent::Failed(_))), "{faults:?}");
        assert_eq!(nova.seen.lock().audio.len(), 1, "{faults:?}");
    }
}

#[test]
fn a_backlogs_silence_is_not_waited_for() {
    let (mut ears, nova) = open("Do you open?", &[Fault::DropAfter(Duration::from_millis(1200))], SttFormat::Pcm16);
    ears.play(false, SECOND);
    ears.play(true, SECOND);
    assert_eq!(ears.until_end().0, "Do you open?");
    let again = nova.seen.lock().audio[1];
    assert!(again < 2 * 16_000 * 2, "{again} bytes of two seconds, one of them silent");
}
