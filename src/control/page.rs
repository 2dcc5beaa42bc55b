//! The page at `/`, as it is served: its files are part of the program, and nothing is fetched from anywhere else.

use super::routes::{Reply, Request};
use super::table;

/// What the page is made of: file, type, text.
const ASSETS: [(&str, &str, &str); 11] = [
    ("style.css", "text/css; charset=utf-8", include_str!("page/style.css")),
    ("app.js", SCRIPT, include_str!("page/app.js")),
    ("call.js", SCRIPT, include_str!("page/call.js")),
    ("facts.js", SCRIPT, include_str!("page/facts.js")),
    ("numbers.js", SCRIPT, include_str!("page/numbers.js")),
    ("past.js", SCRIPT, include_str!("page/past.js")),
    ("stream.js", SCRIPT, include_str!("page/stream.js")),
    ("turns.js", SCRIPT, include_str!("page/turns.js")),
    ("view.js", SCRIPT, include_str!("page/view.js")),
    ("waterfall.js", SCRIPT, include_str!("page/waterfall.js")),
    ("listen.js", SCRIPT, include_str!("page/listen.js")),
];

const INDEX: &str = include_str!("page/index.html");
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// What the page may do: run its own scripts, ask its own server, and nothing else; and it makes no HTML of text, whatever the
/// text is (Trusted Types).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// Whether a browser asks for the page or a part of it, and not a program for the list of routes.
pub fn is_asked_for(request: &Request<'_>) -> bool {
    let reads = matches!(request.method, "GET" | "HEAD");
    let (path, _) = table::split_target(request.target);
    reads && (path == "/" && request.accept.contains("text/html") || path.starts_with("/page/"))
}

/// The page.
pub fn index() -> Reply {
    reply("text/html; charset=utf-8", INDEX)
}

/// A part of it.
pub fn asset(name: &str) -> Option<Reply> {
    let (_, content_type, text) = ASSETS.iter().find(|(file, ..)| *file == name)?;
    Some(reply(content_type, text))
}

fn reply(content_type: &'static str, text: &'static str) -> Reply {
    Reply { status: 200, content_type, header: Some(("Content-Security-Policy", POLICY)), body: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_only_what_is_served_and_fetches_nothing_from_elsewhere() {
        let texts = ASSETS.iter().map(|(.., text)| *text).chain([INDEX]);
        for text in texts {
            for quoted in text.split(['"', '\'']).filter(|text| text.starts_with("/page/") || text.starts_with("./")) {
                let name = quoted.trim_start_matches("/page/").trim_start_matches("./");
                assert!(ASSETS.iter().any(|(file, ..)| *file == name), "{quoted} is not served");
            }
            for sign in
                ["http://", "https://", "innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "document.write"]
            {
                let own = text.replace("http://www.w3.org/2000/svg", "");
                assert!(!own.contains(sign), "the page shows {sign}");
            }
        }
        assert!(!INDEX.contains("style=") && !INDEX.contains("onclick"), "the policy forbids inline code");
    }
}
