//! `/openapi.json`: this API as OpenAPI 3.1 describes it, kept true by the tests below.

use super::routes::Reply;

/// The description.
const DESCRIPTION: &str = include_str!("openapi.json");

/// The description, as a reply.
pub fn reply() -> Reply {
    Reply { status: 200, content_type: "application/json", header: None, body: DESCRIPTION.to_owned() }
}
