//! What the model may do beside talking: hang up, transfer, press keys, and ask the operator's own tools.

use super::schema;
use crate::config;
use serde_json::{Value, json};

/// A tool that the model may call.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Tool {
    /// Its name, such as `hang_up`.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// The JSON schema of its arguments.
    pub parameters: String,
}

/// A call of a tool, as the model wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolUse {
    /// The provider's name for this call.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// JSON, possibly invalid.
    pub arguments: String,
}

impl ToolUse {
    /// Whether the call is to be ended. Arguments do not matter: there is no other way to hang up.
    #[must_use]
    pub fn hangs_up(&self) -> bool {
        self.name == HANG_UP
    }
}

const HANG_UP: &str = "hang_up";
const TRANSFER: &str = "transfer";
const SEND_DTMF: &str = "send_dtmf";

/// The most tool calls of one reply that are looked at: one is usual, and each costs a message.
pub const USES_MAX: usize = 4;
/// Keys of one call of `send_dtmf`: what the media path presses in one go (`rtp/keypad.rs`).
const KEYS_MAX: usize = 32;
/// Bytes of one call's arguments: several times what a form that is filled in by telephone has.
const ARGUMENTS_MAX: usize = 16_384;
/// Characters of what is said before a transfer.
const ANNOUNCEMENT_MAX: usize = 400;

/// What a call of a tool asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    HangUp,
    /// Have the caller's telephone call `to`, after `announcement` was heard, if there is one.
    Transfer {
        to: String,
        announcement: String,
    },
    /// Press these keys.
    SendDtmf(String),
    /// Ask the operator's tool of this number.
    Webhook {
        tool: usize,
        arguments: String,
    },
}

/// The tools of one agent.
#[derive(Clone, Debug)]
pub(super) struct Toolbox {
    offered: Vec<Tool>,
    transfers: Vec<config::Transfer>,
    send_dtmf: bool,
    /// The schema of the arguments of each of the operator's tools, by number.
    webhooks: Vec<(String, Value)>,
}

impl Toolbox {
    pub fn new(settings: &config::Agent) -> Self {
        let schema = |tool: &config::Tool| serde_json::from_str(&tool.parameters).unwrap_or_default();
        let webhooks = settings.tools.iter().map(|tool| (tool.name.clone(), schema(tool))).collect();
        Self {
            offered: offered(settings),
            transfers: settings.transfers.clone(),
            send_dtmf: settings.send_dtmf,
            webhooks,
        }
    }

    /// Returns the tools that the model is told of.
    pub fn offered(&self) -> Vec<Tool> {
        self.offered.clone()
    }

    /// Reads a call.
    ///
    /// # Errors
    /// What the model is told in its place, as JSON.
    pub fn read(&self, call: &ToolUse) -> Result<Order, String> {
        self.order(call).map_err(|why| error(&why))
    }

    fn order(&self, call: &ToolUse) -> Result<Order, String> {
        if call.hangs_up() {
            return Ok(Order::HangUp);
        }
        let webhook = self.webhooks.iter().position(|(name, _)| *name == call.name);
        let (may_transfer, may_press) = (!self.transfers.is_empty(), self.send_dtmf);
        match (call.name.as_str(), webhook) {
            (TRANSFER, _) if may_transfer => self.transfer(&arguments(call)?),
            (SEND_DTMF, _) if may_press => send_dtmf(&arguments(call)?),
            (_, Some(tool)) => {
                let arguments = arguments(call)?;
                let (_, schema) = &self.webhooks[tool];
                schema::check(schema, &arguments)?;
                Ok(Order::Webhook { tool, arguments: arguments.to_string() })
            }
            _ => {
                let wanted: String =
                    call.name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect();
                let names: Vec<&str> = self.offered.iter().map(|tool| tool.name.as_str()).collect();
                Err(format!("there is no tool {wanted}; there is {}", names.join(", ")))
            }
        }
    }

    fn transfer(&self, arguments: &Value) -> Result<Order, String> {
        let wanted = text(arguments, "to")?;
        let Some(transfer) = self.transfers.iter().find(|transfer| transfer.name.eq_ignore_ascii_case(wanted)) else {
            let names: Vec<&str> = self.transfers.iter().map(|transfer| transfer.name.as_str()).collect();
            return Err(format!("callers cannot be transferred there; `to` may be {}", names.join(", ")));
        };
        let announcement = arguments.get("announcement").and_then(Value::as_str).unwrap_or_default();
        let announcement = announcement.chars().take(ANNOUNCEMENT_MAX).collect();
        Ok(Order::Transfer { to: transfer.to.clone(), announcement })
    }
}

fn send_dtmf(arguments: &Value) -> Result<Order, String> {
    let digits: String = text(arguments, "digits")?.chars().filter(|c| !c.is_whitespace()).collect();
    let digits = digits.to_ascii_uppercase();
    let are_keys = digits.chars().all(|key| matches!(key, '0'..='9' | '*' | '#' | 'A'..='D'));
    if are_keys && (1..=KEYS_MAX).contains(&digits.len()) {
        return Ok(Order::SendDtmf(digits));
    }
    Err(format!("`digits` must be 1 to {KEYS_MAX} of 0 to 9, * and #"))
}

/// Reads a call's arguments; no arguments at all are an empty object.
fn arguments(call: &ToolUse) -> Result<Value, String> {
    if call.arguments.len() > ARGUMENTS_MAX {
        return Err(format!("the arguments are longer than {ARGUMENTS_MAX} bytes"));
    }
    let text = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
    let arguments: Value =
        serde_json::from_str(text).map_err(|error| format!("the arguments are not JSON: {error}"))?;
    if arguments.is_object() { Ok(arguments) } else { Err("the arguments are not a JSON object".to_owned()) }
}

fn text<'a>(arguments: &'a Value, name: &str) -> Result<&'a str, String> {
    let text = arguments.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    text.ok_or_else(|| format!("`{name}` is missing, or is no string"))
}

/// Returns an error as the model is told it.
pub(super) fn error(what: &str) -> String {
    json!({ "error": what }).to_string()
}

/// Returns the tools that the model is told of.
fn offered(settings: &config::Agent) -> Vec<Tool> {
    let mut tools = vec![Tool {
        name: HANG_UP.into(),
        description: "Ends the telephone call once your farewell has been heard. Say goodbye first, in the same reply."
            .into(),
        parameters: r#"{"type":"object","properties":{},"additionalProperties":false}"#.into(),
    }];
    if !settings.transfers.is_empty() {
        let names: Vec<&str> = settings.transfers.iter().map(|transfer| transfer.name.as_str()).collect();
        let described = settings.transfers.iter().filter(|transfer| !transfer.description.is_empty());
        let described: String = described
            .map(|transfer| format!(" {}: {}.", transfer.name, transfer.description.trim_end_matches('.')))
            .collect();
        let parameters = json!({
            "type": "object",
            "properties": {
                "to": {"type": "string", "enum": names},
                "announcement": {"type": "string", "description": "What you say to the caller before, in one short sentence."},
            },
            "required": ["to"],
        });
        tools.push(Tool {
            name: TRANSFER.into(),
            description: format!(
                "Transfers the caller to somebody else, which ends your part of the call. You are told if it fails.{described}"
            ),
            parameters: parameters.to_string(),
        });
    }
    if settings.send_dtmf {
        let digits = json!({"type": "string", "description": "Such as 12#"});
        tools.push(Tool {
            name: SEND_DTMF.into(),
            description: "Presses keys of the telephone, for a menu that a machine reads out. The caller hears them."
                .into(),
            parameters: json!({"type": "object", "properties": {"digits": digits}, "required": ["digits"]}).to_string(),
        });
    }
    tools.extend(settings.tools.iter().map(|tool| Tool {
        name: tool.name.clone(),
        description: tool.description.clone(),
        parameters: tool.parameters.clone(),
    }));
    tools
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toolbox() -> Toolbox {
        let transfer = |name: &str, to: &str| config::Transfer {
            name: name.into(),
            to: to.into(),
            description: "Offers and prices.".into(),
        };
        Toolbox::new(&config::Agent {
            transfers: vec![transfer("sales", "sip:200@pbx.example"), transfer("the workshop", "sip:300@pbx.example")],
            send_dtmf: true,
            tools: vec![config::Tool {
                name: "find_order".into(),
                description: "Finds an order.".into(),
                url: "https://crm.example/orders".into(),
                method: config::Method::Post,
                parameters: r#"{"type":"object","required":["number"],"properties":{"number":{"type":"integer"}}}"#
                    .into(),
                timeout: std::time::Duration::from_secs(5),
                filler: String::new(),
                headers: Vec::new(),
            }],
            ..config::Agent::default()
        })
    }

    fn read(name: &str, arguments: &str) -> Result<Order, String> {
        toolbox().read(&ToolUse { id: "1".into(), name: name.into(), arguments: arguments.into() })
    }

    fn refused(name: &str, arguments: &str, what: &str) {
        let told = read(name, arguments).expect_err(arguments);
        let told: Value = serde_json::from_str(&told).expect("it is JSON");
        assert!(told["error"].as_str().is_some_and(|error| error.contains(what)), "{told}");
    }

    #[test]
    fn each_tools_parameters_are_a_json_schema_of_an_object() {
        let tools = toolbox().offered();
        assert_eq!(
            tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(),
            ["hang_up", "transfer", "send_dtmf", "find_order"]
        );
        for tool in tools {
            let schema: Value = serde_json::from_str(&tool.parameters).expect("it is JSON");
            assert_eq!(schema["type"], "object", "{}", tool.name);
        }
        let usual = Toolbox::new(&config::Agent::default()).offered();
        assert_eq!(usual.len(), 1, "nothing but hang_up is to be had unasked");
    }

    #[test]
    fn a_refusal_is_json_whatever_the_model_called() {
        refused("we\"ath\ner\\ 2", "{", "there is no tool weather2; there is hang_up, transfer");
        let bare = Toolbox::new(&config::Agent::default());
        for name in ["transfer", "send_dtmf"] {
            let call =
                ToolUse { id: "1".into(), name: name.into(), arguments: r#"{"to":"sales","digits":"1"}"#.into() };
            assert!(bare.read(&call).is_err_and(|told| told.contains("there is no tool")), "{name} was not allowed");
        }
    }

    #[test]
    fn callers_are_transferred_to_who_is_listed_and_to_nobody_else() {
        let order = |announcement: &str| {
            Ok(Order::Transfer { to: "sip:200@pbx.example".into(), announcement: announcement.into() })
        };
        assert_eq!(read("transfer", r#"{"to":"Sales"}"#), order(""));
        assert_eq!(read("transfer", r#"{"to":"sales","announcement":"One moment."}"#), order("One moment."));
        refused("transfer", r#"{"to":"sip:+49900123456@evil.example"}"#, "`to` may be sales, the workshop");
        refused("transfer", "{}", "`to` is missing");
        refused("transfer", "[]", "not a JSON object");
    }

    #[test]
    fn only_keys_are_pressed() {
        assert_eq!(read("send_dtmf", r#"{"digits":" 12 34#d"}"#), Ok(Order::SendDtmf("1234#D".into())));
        refused("send_dtmf", r#"{"digits":"12w3"}"#, "`digits` must be");
        refused("send_dtmf", &json!({"digits": "1".repeat(33)}).to_string(), "`digits` must be");
        refused("send_dtmf", r#"{"digits":12}"#, "is no string");
    }

    #[test]
    fn arguments_that_do_not_fit_are_the_models_fault_not_the_callers() {
        let fits = Ok(Order::Webhook { tool: 0, arguments: r#"{"number":7}"#.into() });
        assert_eq!(read("find_order", "{ \"number\": 7 }"), fits);
        refused("find_order", "{\"number\":", "not JSON");
        refused("find_order", "", "`number` is missing");
        refused("find_order", r#"{"number":"seven"}"#, "`number` must be integer");
        refused("find_order", &format!("{{\"number\":7,\"x\":\"{}\"}}", "x".repeat(20_000)), "longer than");
    }
}
