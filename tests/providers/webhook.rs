//! The operator's own tools against a server that is quick, slow, broken, huge or elsewhere.

use super::{PATIENCE, eventually};
use offhook::config::{Agent, Method, Secret, Tool};
use offhook::ids::CallId;
use offhook::providers::webhook::{Outcome, Webhooks, signature};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tiny_http::{Header, Response, Server};

const SECRET: &str = "operator-secret-0123";
const TOKEN: &str = "Bearer crm-token-0123456789";

/// What the server was asked.
#[derive(Clone, Debug, Default)]
struct Asked {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Asked {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value.as_str())
    }
}

/// A server whose answers are named by the path; returns its address and what it was asked.
fn serve() -> (String, Arc<Mutex<Vec<Asked>>>) {
    let server = Arc::new(Server::http("127.0.0.1:0").expect("a free port"));
    let url = format!("http://{}", server.server_addr());
    let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
    for _ in 0..4 {
        let (server, asked) = (server.clone(), asked.clone());
        std::thread::spawn(move || {
            while let Ok(mut request) = server.recv() {
                let mut body = String::new();
                request.as_reader().read_to_string(&mut body).expect("text");
                let headers = request.headers().iter();
                let headers = headers.map(|header| (header.field.to_string(), header.value.to_string())).collect();
                let (method, url) = (request.method().to_string(), request.url().to_owned());
                asked.lock().push(Asked { method, url: url.clone(), headers, body });
                answer(request, &url);
            }
        });
    }
    (url, asked)
}

fn answer(request: tiny_http::Request, url: &str) {
    let header = |text: &str| text.parse::<Header>().expect("a header");
    let json = |body: &str, status: u16| {
        Response::from_string(body).with_header(header("Content-Type: application/json")).with_status_code(status)
    };
    let path = url.split('?').next().unwrap_or_default();
    // Whoever does not wait for the answer is what some tests are about.
    let _ = match path {
        "/slow" => {
            std::thread::park_timeout(Duration::from_millis(1500));
            request.respond(json("{}", 200))
        }
        "/fails" => request.respond(json(&format!("{{\"error\":\"no such order\",\"sent\":\"{TOKEN}\"}}"), 500)),
        "/huge" => request.respond(Response::from_string("x".repeat(300_000))),
        "/long" => request.respond(Response::from_string("word ".repeat(2_000))),
        "/broken" => request.respond(json("{\"a\":", 200)),
        "/bytes" => request.respond(Response::from_data([0xff, 0xfe, 0x00])),
        "/moved" => request.respond(json("{}", 307).with_header(header("Location: /order"))),
        "/page" => request.respond(Response::from_string("<html>").with_header(header("Content-Type: text/html"))),
        "/empty" => request.respond(Response::empty(204)),
        "/text" => request.respond(Response::from_string("It was sent on Monday.\n")),
        _ => request.respond(json("{ \"state\": \"sent\" }", 200)),
    };
}

fn tool(url: &str, method: Method) -> Tool {
    Tool {
        name: "find_order".into(),
        description: "Finds an order.".into(),
        url: url.into(),
        method,
        parameters: r#"{"type":"object"}"#.into(),
        timeout: Duration::from_millis(400),
        filler: String::new(),
        headers: vec![("Authorization".into(), Secret::new(TOKEN))],
    }
}

fn webhooks(tool: Tool) -> Webhooks {
    Webhooks::new(&Agent { tools: vec![tool], tool_secret: Secret::new(SECRET), ..Agent::default() })
}

fn run(url: &str, path: &str) -> Outcome {
    let mut tool = tool(&format!("{url}{path}"), Method::Post);
    if path != "/slow" {
        tool.timeout = PATIENCE;
    }
    webhooks(tool).run(CallId(7), 0, r#"{"number":5}"#, 1_700_000_000)
}

#[test]
fn arguments_go_as_a_signed_body_with_the_operators_headers() {
    let (url, asked) = serve();
    let outcome = run(&url, "/order?shop=1");
    assert_eq!(outcome, Outcome { result: r#"{"state":"sent"}"#.into(), failure: None });
    let asked = asked.lock()[0].clone();
    assert_eq!((asked.method.as_str(), asked.url.as_str()), ("POST", "/order?shop=1"));
    assert_eq!((asked.body.as_str(), asked.header("Content-Type")), (r#"{"number":5}"#, "application/json"));
    assert_eq!((asked.header("X-Offhook-Tool"), asked.header("X-Offhook-Call")), ("find_order", "7"));
    assert_eq!(asked.header("Authorization"), TOKEN);
    let expected = signature(&Secret::new(SECRET), 1_700_000_000, r#"{"number":5}"#);
    assert_eq!(asked.header("X-Offhook-Signature"), expected);
}

#[test]
fn a_get_carries_them_in_its_query_which_is_signed_too() {
    let (url, asked) = serve();
    let hooks = webhooks(Tool { timeout: PATIENCE, ..tool(&format!("{url}/order?shop=1"), Method::Get) });
    let outcome = hooks.run(CallId(7), 0, r#"{"name":"J. Doe & son"}"#, 5);
    assert_eq!(outcome.failure, None);
    let asked = asked.lock()[0].clone();
    assert_eq!((asked.method.as_str(), asked.url.as_str()), ("GET", "/order?shop=1&name=J.%20Doe%20%26%20son"));
    assert_eq!(asked.header("X-Offhook-Signature"), signature(&Secret::new(SECRET), 5, &asked.url));
    assert_eq!(asked.body, "");
}

#[test]
fn whatever_goes_wrong_is_an_error_that_the_model_can_explain() {
    let (url, asked) = serve();
    for (path, what) in [
        ("/slow", "did not answer within 400 ms"),
        ("/fails", "answered 500: {\\\"error\\\":\\\"no such order\\\""),
        ("/huge", "answered with more than 262144 bytes"),
        ("/broken", "answered with broken JSON"),
        ("/bytes", "answered with bytes that are no text"),
        ("/moved", "answered with a redirect (307), which is not followed"),
        ("/page", "answered with a web page"),
    ] {
        let outcome = run(&url, path);
        assert!(outcome.failure.is_some(), "{path}: {outcome:?}");
        assert!(outcome.result.starts_with("{\"error\":\"find_order "), "{outcome:?}");
        assert!(outcome.result.contains(what), "{path}: {outcome:?}");
        assert!(!format!("{outcome:?}").contains("crm-token"), "{outcome:?}");
        serde_json::from_str::<serde_json::Value>(&outcome.result).expect("it is JSON");
    }
    assert!(!asked.lock().iter().any(|asked| asked.url == "/order"), "the redirect was not followed");
    let outcome = run("http://127.0.0.1:9", "/");
    assert!(outcome.result.contains("could not be asked"), "{outcome:?}");
}

#[test]
fn text_and_nothing_are_answers_and_long_ones_are_cut() {
    let (url, _) = serve();
    assert_eq!(run(&url, "/text").result, "It was sent on Monday.");
    assert_eq!(run(&url, "/empty").result, r#"{"status":"done"}"#);
    let long = run(&url, "/long").result;
    assert!(long.len() < 3_000 && long.ends_with("(the rest is left out)"));
}

#[test]
fn several_run_side_by_side() {
    let (url, asked) = serve();
    let hooks = Arc::new(webhooks(Tool { timeout: PATIENCE, ..tool(&format!("{url}/order"), Method::Post) }));
    let done: Arc<Mutex<usize>> = Arc::default();
    for _ in 0..4 {
        let (hooks, done) = (hooks.clone(), done.clone());
        std::thread::spawn(move || {
            assert_eq!(hooks.run(CallId(1), 0, "{}", 0).failure, None);
            *done.lock() += 1;
        });
    }
    eventually("all answers", || *done.lock() == 4);
    assert_eq!(asked.lock().len(), 4);
    assert!(hooks.run(CallId(1), 9, "{}", 0).failure.is_some(), "there is no tenth tool");
}
