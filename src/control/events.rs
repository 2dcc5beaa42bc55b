//! Events as JSON, and their stream as browsers read it (HTML Standard, server-sent events).

use super::Bridge;
use super::bodies::{Audio, Broken, Listed, Quality, Turn};
use crate::metrics::events::{Cursor, News};
use crate::metrics::health::CircuitState;
use crate::metrics::journal::Utc;
use crate::metrics::{Event, ProviderFailure, What};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a stream stays silent before a comment is sent, by which a reader that is gone is noticed: proxies give up after 30 s.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long a stream waits for news before it looks whether the server stops.
const PATIENCE: Duration = Duration::from_millis(500);
/// How soon a reader is to come back: what happens meanwhile is kept for it.
const RETRY_MS: u32 = 1_000;
/// Events that an engine may number in a second, so that the numbers of a later engine are greater.
const NUMBERS_PER_SECOND: u64 = 1_000_000;

/// What is added to an event's number: no two engines on this machine use the same.
fn base(bridge: &dyn Bridge) -> u64 {
    bridge.unix_time(crate::time::Instant::ZERO).as_secs() * NUMBERS_PER_SECOND
}

/// Returns the number of the event whose id this is, if it is one of this engine's.
pub fn number(id: &str, bridge: &dyn Bridge) -> Option<u64> {
    id.parse::<u64>().ok()?.checked_sub(base(bridge))
}

/// Returns an event as it is told, by streams and webhooks alike: `type`, `id`, `time`, `call_id`, and what happened under a
/// name of its own.
pub fn body(event: &Event, bridge: &dyn Bridge) -> Value {
    let wall = |at| bridge.unix_time(at);
    let mut body = match &event.what {
        What::Ringing(call) | What::Answered(call) | What::Ended(call) => {
            json!({"call": Listed::new((**call).clone(), &wall)})
        }
        What::Speaking(speaking) => json!({"speaking": speaking}),
        What::Partial(text) => json!({"caller": text}),
        What::Turn(turn) => json!({"turn": Turn::new((**turn).clone())}),
        What::SloBreach(turn, breach) => json!({"of_turn": turn.number(), "slo_breach": Broken::from(*breach)}),
        What::Audio(audio) => json!({"audio": Audio::from(*audio)}),
        What::ProviderFailed(failure) => {
            let ProviderFailure { stage, provider, kind, text, .. } = &**failure;
            json!({"role": stage.name(), "provider": provider, "kind": kind.name(), "failure": text})
        }
        What::ProviderCircuit { stage, provider, circuit } => {
            let mut body = json!({"role": stage.name(), "provider": provider, "circuit": circuit.name()});
            if let CircuitState::Open(until) = circuit {
                body["until"] = Utc(wall(*until)).to_string().into();
            }
            body
        }
        What::BridgeStarted(listen) => json!({"host": listen.ip().to_string(), "sip_port": listen.port()}),
        What::BridgeStopped => json!({}),
        What::Levels(levels) => json!({"caller_db": levels.caller_db, "agent_db": levels.agent_db}),
        What::Quality(flow) => json!({"quality": Quality::new(flow)}),
    };
    body["type"] = event.what.name().into();
    body["time"] = Utc(wall(event.at)).to_string().into();
    if let Some(number) = event.number {
        body["id"] = (base(bridge) + number).into();
    }
    if let Some(call_id) = &event.call_id {
        body["call_id"] = (**call_id).into();
    }
    body
}

/// Writes events to `out` until it is closed or the server stops; those of one call where there is a `call_id`.
///
/// # Errors
/// The reader is gone, or takes nothing.
pub fn stream(
    out: &mut impl Write,
    bridge: &dyn Bridge,
    call_id: Option<&str>,
    after: Option<u64>,
    stopping: &AtomicBool,
) -> io::Result<()> {
    let events = bridge.board().events();
    let mut cursor = after.map_or_else(|| events.end(), |number| events.after(number));
    let _watch = events.watch();
    out.write_all(format!("retry: {RETRY_MS}\n: offhook\n\n").as_bytes())?;
    out.flush()?;
    let mut silent = Duration::ZERO;
    while !stopping.load(Ordering::Acquire) {
        let text = news(bridge, &mut cursor, call_id);
        if text.is_empty() {
            silent += PATIENCE;
            if silent < HEARTBEAT {
                continue;
            }
        }
        silent = Duration::ZERO;
        out.write_all(if text.is_empty() { b": here\n\n" } else { text.as_bytes() })?;
        out.flush()?;
    }
    Ok(())
}

/// Returns what is new, as it goes into the stream; empty where nothing has happened for a while.
fn news(bridge: &dyn Bridge, cursor: &mut Cursor, call_id: Option<&str>) -> String {
    let News { lost, events } = bridge.board().events().follow(cursor, PATIENCE);
    let mut text = String::new();
    if lost > 0 {
        push(&mut text, "lost", None, &json!({"type": "lost", "lost": lost}));
    }
    for event in events {
        // What is about no call is about each of them.
        let other = matches!((call_id, event.call_id.as_deref()), (Some(wanted), Some(of)) if wanted != of);
        if !other {
            let body = body(&event, bridge);
            push(&mut text, event.what.name(), body["id"].as_u64(), &body);
        }
    }
    text
}

fn push(text: &mut String, name: &str, id: Option<u64>, body: &Value) {
    if let Some(id) = id {
        *text += &format!("id: {id}\n");
    }
    // JSON holds no line feed of its own.
    *text += &format!("event: {name}\ndata: {body}\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Failure, FailureKind, TurnRecord};
    use crate::control::pretend::Pretend;
    use crate::ids::{CallId, TurnId};
    use crate::metrics::health::ProviderStage;
    use crate::sip::EndedBy;
    use crate::time::Instant;

    fn told(bridge: &Pretend, cursor: &mut Cursor, call_id: Option<&str>) -> Vec<Value> {
        let text = news(bridge, cursor, call_id);
        text.lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).expect("JSON"))
            .collect()
    }

    #[test]
    fn a_call_is_told_from_its_first_ring_to_its_end() {
        let bridge = Pretend::started();
        let mut cursor = bridge.board.events().end();
        let call = CallId(1);
        bridge.invite(1, "abc@host");
        bridge.board.answered(call, "PCMA", Instant::from_millis(1_500));
        bridge.board.speaking(call, true);
        bridge.board.partial(call, "are you");
        bridge.board.turn(
            call,
            &TurnRecord { turn: TurnId(1), caller: "Are you <b>open</b>?\nYes".into(), ..TurnRecord::default() },
        );
        let failure = Failure { kind: FailureKind::Dropped, text: "groq: 503".into() };
        bridge.board.provider_failed(call, ProviderStage::Llm, "groq", &failure);
        bridge.board.ended(call, EndedBy::Caller, "BYE", Instant::from_millis(9_000));
        let told = told(&bridge, &mut cursor, None);
        let types: Vec<_> = told.iter().map(|event| event["type"].as_str().expect("a type")).collect();
        let expected = [
            "call.ringing",
            "call.answered",
            "caller.speaking",
            "transcript.partial",
            "turn",
            "provider.failed",
            "call.ended",
        ];
        assert_eq!(types, expected);
        assert!(told.iter().all(|event| event["call_id"] == "abc@host"));
        assert!(types.iter().all(|name| crate::config::EVENTS.contains(name)), "a webhook may ask for each");
        let ids: Vec<_> = told.iter().map(|event| event["id"].as_u64().expect("a number")).collect();
        assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "{ids:?}");
        assert_eq!(
            (told[1]["call"]["codec"].as_str(), &told[1]["time"]),
            (Some("PCMA"), &json!("2026-11-22T17:19:17.500Z"))
        );
        assert_eq!(told[3]["caller"], "are you");
        assert_eq!(told[4]["turn"]["caller"], "Are you <b>open</b>?\nYes");
        let failed = ["role", "provider", "kind", "failure"].map(|name| told[5][name].as_str().unwrap_or_default());
        assert_eq!(failed, ["llm", "groq", "dropped", "groq: 503"]);
        assert_eq!(told[6]["call"]["ended"], json!({"by": "caller", "reason": "BYE"}));
        assert_eq!(number(&ids[2].to_string(), &bridge), Some(3));
    }

    #[test]
    fn only_the_call_that_is_asked_for_is_told_and_what_concerns_all() {
        let bridge = Pretend::started();
        let mut cursor = bridge.board.events().end();
        bridge.invite(1, "a");
        bridge.invite(2, "b");
        bridge.board.bridge(None);
        let types: Vec<_> = told(&bridge, &mut cursor, Some("b")).iter().map(|e| e["type"].to_string()).collect();
        assert_eq!(types, ["\"call.ringing\"", "\"bridge.stopped\""]);
    }

    #[test]
    fn a_stream_begins_with_when_to_come_back_and_says_what_was_lost() {
        let bridge = Pretend::started();
        for _ in 0..crate::metrics::events::EVENTS_KEPT + 3 {
            bridge.board.bridge(None);
        }
        let mut out = Vec::new();
        stream(&mut out, &bridge, None, Some(1), &AtomicBool::new(true)).expect("a vector takes all");
        assert_eq!(out, b"retry: 1000\n: offhook\n\n");
        let mut cursor = bridge.board.events().after(1);
        assert_eq!(told(&bridge, &mut cursor, None)[0], json!({"type": "lost", "lost": 2}));
    }

    #[test]
    fn whoever_watches_is_shown_levels_and_quality() {
        use crate::call::meter::Meter;
        use std::sync::Arc;
        let bridge = Pretend::started();
        bridge.invite(1, "a");
        let meter = Arc::new(Meter::default());
        bridge.board.metered(CallId(1), meter.clone());
        let mut cursor = bridge.board.events().end();
        bridge.board.show_levels();
        assert!(told(&bridge, &mut cursor, None).is_empty(), "nobody watches");
        let _watch = bridge.board.events().watch();
        meter.caller(16_384);
        bridge.board.show_levels();
        bridge.board.quality(CallId(1), crate::metrics::Quality { lost: 3, ..Default::default() });
        let told = told(&bridge, &mut cursor, None);
        assert_eq!((told[0]["type"].as_str(), told[0]["caller_db"].as_f64()), (Some("levels"), Some(-6.0)));
        assert!(told[0].get("id").is_none(), "what is not kept has no number to come back with");
        assert_eq!((told[1]["type"].as_str(), &told[1]["quality"]["lost"]), (Some("quality"), &json!(3)));
    }
}
