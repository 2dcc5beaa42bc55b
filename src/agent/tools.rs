//! What the model may do beside talking: hang up.

/// A tool that the model may call.
#[derive(Clone, Debug, PartialEq, Eq)]
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

    /// Returns what the model is told about a tool that is not there.
    #[must_use]
    pub fn refusal(&self) -> String {
        let name: String = self.name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect();
        format!("{{\"error\":\"there is no tool {name}; {HANG_UP} is the only one\"}}")
    }
}

const HANG_UP: &str = "hang_up";

/// The most tool calls of one reply that are looked at: one is usual, and each costs a message.
pub const USES_MAX: usize = 4;

/// Returns the tools that the model may call.
#[must_use]
pub fn all() -> Vec<Tool> {
    vec![Tool {
        name: HANG_UP.into(),
        description: "Ends the telephone call once your farewell has been heard. Say goodbye first, in the same reply."
            .into(),
        parameters: r#"{"type":"object","properties":{},"additionalProperties":false}"#.into(),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tools_parameters_are_a_json_schema_of_an_object() {
        for tool in all() {
            let schema: serde_json::Value = serde_json::from_str(&tool.parameters).expect("it is JSON");
            assert_eq!(schema["type"], "object", "{}", tool.name);
        }
    }

    #[test]
    fn a_refusal_is_json_whatever_the_model_called() {
        let call = ToolUse { id: "1".into(), name: "we\"ath\ner\\ 2".into(), arguments: "{".into() };
        assert!(!call.hangs_up());
        let refusal: serde_json::Value = serde_json::from_str(&call.refusal()).expect("it is JSON");
        assert!(refusal["error"].as_str().is_some_and(|error| error.contains("weather2")));
    }
}
