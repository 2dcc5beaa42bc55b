//! `/openapi.json`: this API as OpenAPI 3.1 describes it, kept true by the tests below.

use super::routes::Reply;

/// The description, but for the version.
const DESCRIPTION: &str = include_str!("openapi.json");

/// The description, as a reply.
pub fn reply() -> Reply {
    let body = DESCRIPTION.replacen("\"VERSION\"", concat!("\"", env!("CARGO_PKG_VERSION"), "\""), 1);
    Reply { status: 200, content_type: "application/json", header: None, body }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Failure, FailureKind, TurnRecord};
    use crate::call::meter::Meter;
    use crate::control::pretend::Pretend;
    use crate::control::routes::{Answer, Request, answer};
    use crate::control::table::ROUTES;
    use crate::ids::{CallId, TurnId};
    use crate::metrics::health::{CircuitState, Health, ProviderStage};
    use crate::metrics::{Kind, Quality, Sample};
    use crate::sip::EndedBy;
    use crate::time::Instant;
    use crate::turn::timeline::{Mark, Timeline};
    use serde_json::Value;
    use std::sync::Arc;
    use std::time::Duration;

    fn description() -> Value {
        serde_json::from_str(&reply().body).expect("JSON")
    }

    fn methods(of: &Value) -> Vec<String> {
        let mut methods: Vec<_> = of.as_object().expect("methods").keys().map(|key| key.to_uppercase()).collect();
        methods.sort();
        methods
    }

    #[test]
    fn every_route_is_described_with_its_methods_and_no_other() {
        let description = description();
        let paths = description["paths"].as_object().expect("paths");
        for row in &ROUTES {
            let mut taken: Vec<_> = row.methods.split(", ").filter(|m| !matches!(*m, "HEAD" | "OPTIONS")).collect();
            taken.sort_unstable();
            let path = paths.get(row.path).unwrap_or_else(|| panic!("{} is not described in openapi.json", row.path));
            assert_eq!(methods(path), taken, "{}", row.path);
        }
        assert_eq!(paths.len(), ROUTES.len(), "openapi.json describes a route that is not there");
        assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let description = description();
        let text = description.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(description.pointer(reference).is_some(), "{reference}");
        }
    }

    /// What of `value` is not as `schema` says: fields that are not described, or described and not there, and types.
    fn offences(root: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        if let Some(reference) = schema["$ref"].as_str() {
            return offences(root, root.pointer(&reference[1..]).expect("a schema"), value, at);
        }
        if let Some(choices) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
            let mut told: Vec<_> = choices.iter().map(|choice| offences(root, choice, value, at)).collect();
            told.sort_by_key(Vec::len);
            return told.into_iter().next().unwrap_or_default();
        }
        let is = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let may_be: Vec<_> = match &schema["type"] {
            Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect(),
        };
        if !may_be.iter().any(|may| *may == is || (*may == "number" && is == "integer")) {
            return vec![format!("{at} is {is} and may be {may_be:?}")];
        }
        let mut told = Vec::new();
        if let (Some(choices), Some(_)) = (schema["enum"].as_array(), value.as_str())
            && !choices.contains(value)
        {
            told.push(format!("{at} is {value}, which is not described"));
        }
        for item in value.as_array().into_iter().flatten() {
            told.extend(offences(root, &schema["items"], item, &format!("{at}[]")));
        }
        let Some(fields) = value.as_object() else { return told };
        let is_map = schema["additionalProperties"].is_object();
        for (name, field) in fields {
            match schema["properties"].get(name) {
                Some(schema) => told.extend(offences(root, schema, field, &format!("{at}.{name}"))),
                None if is_map => {}
                None => told.push(format!("{at}.{name} is not described in openapi.json")),
            }
        }
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        told.extend(required.filter(|name| !fields.contains_key(*name)).map(|name| format!("{at}.{name} is missing")));
        told
    }

    /// A bridge with a call that has everything, and one that is over.
    fn busy() -> Pretend {
        let bridge = Pretend::started();
        let call = CallId(1);
        bridge.invite(1, "live");
        bridge.invite(2, "over");
        bridge.board.answered(call, "PCMA", Instant::from_millis(5));
        bridge.board.metered(call, Arc::new(Meter::default()));
        bridge.board.turn(call, &TurnRecord { turn: TurnId(1), caller: "Hi.".into(), ..TurnRecord::default() });
        let mut timeline = Timeline::default();
        timeline.mark(Mark::SpeechArrived, Instant::ZERO);
        timeline.mark(Mark::FirstPacket, Instant::from_millis(400));
        bridge.board.latency(call, TurnId(1), &timeline.stages().expect("both ends"));
        bridge.board.samples([Sample { kind: Kind::Jitter, call, value: Duration::from_millis(2) }]);
        let health = Arc::new(Health::new(ProviderStage::Tts, "cartesia"));
        health.report_to(&bridge.board);
        health.failed(call, &Failure { kind: FailureKind::Dropped, text: "cartesia: 503".into() });
        health.circuit(CircuitState::Open(Instant::from_millis(9_000)));
        health.circuit(CircuitState::Closed);
        bridge.board.quality(call, Quality::default());
        bridge.board.ended(CallId(2), EndedBy::Agent, "goodbye", Instant::from_millis(9));
        bridge
    }

    #[test]
    fn replies_are_what_is_described() {
        let description = description();
        let mut told = Vec::new();
        let mut check = |bridge: &Pretend, line: &str, body: &str| {
            let (method, target) = line.split_once(' ').expect("a method and a target");
            let request = Request { method, target, body: body.as_bytes(), ..Request::default() };
            let Answer::Reply(reply) = answer(&request, None, bridge) else { panic!("{line}: no reply") };
            let value: Value = serde_json::from_str(&reply.body).expect("JSON");
            let path = target.split('?').next().unwrap_or(target);
            let path = path.replace("/calls/live", "/calls/{call_id}").replace("/calls/over", "/calls/{call_id}");
            let path = path.replace("/calls/nobody", "/calls/{call_id}");
            let replies = &description["paths"][&path][method.to_lowercase()]["responses"];
            let schema = &replies[reply.status.to_string()]["content"]["application/json"]["schema"];
            assert!(schema.is_object(), "{line}: {} is not described", reply.status);
            told.extend(offences(&description, schema, &value, line));
        };
        let busy = busy();
        for line in [
            "GET /",
            "GET /api/v1/sip/status",
            "GET /api/v1/sip/calls",
            "GET /api/v1/sip/calls?state=ended",
            "GET /api/v1/sip/calls?state=over",
            "GET /api/v1/sip/calls/live",
            "GET /api/v1/sip/calls/over",
            "GET /api/v1/sip/calls/nobody",
            "POST /api/v1/sip/start",
            "DELETE /api/v1/sip/calls/nobody",
            "POST /api/v1/sip/calls/live/say",
        ] {
            check(&busy, line, "");
        }
        check(&busy, "POST /api/v1/sip/calls/live/say", r#"{"text":"Hi."}"#);
        check(&busy, "POST /api/v1/sip/calls/live/transfer", r#"{"to":"sip:a@b"}"#);
        check(&busy, "POST /api/v1/sip/calls/live/packets.pcap", "");
        check(&busy, "GET /api/v1/sip/calls/live/packets.pcap", "");
        check(&busy, "DELETE /api/v1/sip/calls/live", "");
        check(&busy, "POST /api/v1/sip/stop", "");
        let idle = Pretend::default();
        check(&idle, "POST /api/v1/sip/calls/nobody/packets.pcap", "");
        for line in [
            "GET /api/v1/sip/status",
            "POST /api/v1/sip/stop",
            "POST /api/v1/sip/start?port=5999",
            "POST /api/v1/sip/start?port=x",
            "POST /api/v1/sip/start",
        ] {
            check(&idle, line, "");
        }
        assert!(told.is_empty(), "\n{}", told.join("\n"));
    }

    #[test]
    fn events_are_what_is_described() {
        let description = description();
        let bridge = busy();
        let _watch = bridge.board.events().watch();
        bridge.board.show_levels();
        bridge.board.quality(CallId(1), Quality::default());
        bridge.board.audio(CallId(1), crate::call::finding::Audio::default(), false);
        bridge.board.bridge(None);
        bridge.board.bridge(Some(([127, 0, 0, 1], 5060).into()));
        let mut cursor = bridge.board.events().after(0);
        let events = bridge.board.events().follow(&mut cursor, Duration::ZERO).events;
        let schema = &description["components"]["schemas"]["Event"];
        let mut told = Vec::new();
        for event in &events {
            told.extend(offences(&description, schema, &super::super::events::body(event, &bridge), event.what.name()));
        }
        assert!(told.is_empty(), "\n{}", told.join("\n"));
        assert!(events.len() > 10);
    }
}
