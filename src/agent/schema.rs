//! Whether what the model passes to a tool is what the tool's JSON schema asks for: the part of the language that tools use.
//!
//! `type`, `enum`, `required`, `properties`, `items` and `additionalProperties: false` are looked at (JSON Schema 2020-12, 6.1 and
//! 10.3); other words constrain more than models get wrong, and are left to the tool itself.

use serde_json::Value;

/// How deep arguments may be nested; the model is told of the outermost part that is wrong.
const DEPTH_MAX: usize = 16;
/// Values of an `enum` that the model is reminded of.
const CHOICES_SHOWN: usize = 20;

/// Checks `value`, which stands at `place` (empty: the arguments themselves), against `schema`.
///
/// # Errors
/// What is wrong, as a sentence for the model.
pub fn check(schema: &Value, value: &Value) -> Result<(), String> {
    check_at(schema, value, "", 0)
}

fn check_at(schema: &Value, value: &Value, place: &str, depth: usize) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err(format!("{} is nested too deeply", name(place)));
    }
    if let Some(types) = schema.get("type") {
        let types: Vec<&str> = match types {
            Value::String(one) => vec![one],
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !types.is_empty() && !types.iter().any(|of| is_a(of, value)) {
            return Err(format!("{} must be {}, and is {}", name(place), types.join(" or "), kind(value)));
        }
    }
    if let Some(choices) = schema.get("enum").and_then(Value::as_array)
        && !choices.contains(value)
    {
        let shown: Vec<String> = choices.iter().take(CHOICES_SHOWN).map(Value::to_string).collect();
        return Err(format!("{} must be one of {}", name(place), shown.join(", ")));
    }
    if let Value::Array(items) = value
        && let Some(of) = schema.get("items").filter(|of| of.is_object())
    {
        for (n, item) in items.iter().enumerate() {
            check_at(of, item, &format!("{place}[{n}]"), depth + 1)?;
        }
    }
    let Value::Object(fields) = value else { return Ok(()) };
    let inner = |field: &str| if place.is_empty() { field.to_owned() } else { format!("{place}.{field}") };
    for required in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
        if let Some(required) = required.as_str().filter(|required| !fields.contains_key(*required)) {
            return Err(format!("{} is missing", name(&inner(required))));
        }
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    let is_closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
    for (field, value) in fields {
        match properties.and_then(|properties| properties.get(field)) {
            Some(of) => check_at(of, value, &inner(field), depth + 1)?,
            None if is_closed => return Err(format!("there is no argument {}", name(&inner(field)))),
            None => {}
        }
    }
    Ok(())
}

/// Whether `value` is of the schema's type `of`; an unknown type is any.
fn is_a(of: &str, value: &Value) -> bool {
    match of {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        // 3.0 is an integer (JSON Schema 2020-12, 6.1.1).
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn name(place: &str) -> String {
    if place.is_empty() { "the arguments".to_owned() } else { format!("`{place}`") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn arguments_that_fit_pass_and_others_say_what_is_wrong() {
        let schema = json!({
            "type": "object",
            "required": ["order", "day"],
            "additionalProperties": false,
            "properties": {
                "order": {"type": "integer"},
                "day": {"enum": ["monday", "tuesday"]},
                "note": {"type": ["string", "null"]},
                "items": {"type": "array", "items": {"type": "object", "required": ["sku"], "properties": {"sku": {"type": "string"}}}},
            },
        });
        for fits in [
            json!({"order": 5, "day": "monday"}),
            json!({"order": 5.0, "day": "tuesday", "note": null, "items": [{"sku": "a", "n": 1}]}),
        ] {
            assert_eq!(check(&schema, &fits), Ok(()), "{fits}");
        }
        for (wrong, what) in [
            (json!([]), "the arguments must be object, and is an array"),
            (json!({"order": 5}), "`day` is missing"),
            (json!({"order": "5", "day": "monday"}), "`order` must be integer, and is a string"),
            (json!({"order": 5.5, "day": "monday"}), "`order` must be integer, and is a number"),
            (json!({"order": 5, "day": "sunday"}), "`day` must be one of \"monday\", \"tuesday\""),
            (json!({"order": 5, "day": "monday", "note": 1}), "`note` must be string or null, and is a number"),
            (json!({"order": 5, "day": "monday", "colour": 1}), "there is no argument `colour`"),
            (json!({"order": 5, "day": "monday", "items": [{"sku": "a"}, {}]}), "`items[1].sku` is missing"),
        ] {
            assert_eq!(check(&schema, &wrong), Err(what.to_owned()), "{wrong}");
        }
    }

    #[test]
    fn a_schema_of_nonsense_refuses_nothing_and_depth_has_an_end() {
        for schema in [json!(null), json!({"type": 5}), json!({"type": "thing"}), json!({"properties": []})] {
            assert_eq!(check(&schema, &json!({"a": [1]})), Ok(()), "{schema}");
        }
        let (mut schema, mut value) = (json!({}), json!(1));
        for _ in 0..40 {
            schema = json!({"items": schema});
            value = json!([value]);
        }
        assert!(check(&schema, &value).is_err_and(|error| error.ends_with("is nested too deeply")));
    }
}
