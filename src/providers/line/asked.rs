//! One request to the minds: who works on it, what was tried, what of the reply was passed on; pure.

use super::going_on::{self, Rest};
use crate::agent::{Message, MindEvent};
use crate::providers::Request;
use crate::providers::groq::Patience;
use crate::providers::groq::connection::Tap;
use crate::providers::groq::exchange::Retry;
use crate::providers::groq::reply::Piece;
use crate::time::Instant;
use std::sync::Arc;

/// Tries of one request that end before the first word, hedges and idle connections apart.
pub(super) const TRIES_MAX: u32 = 3;
/// Connections in a row that the server had closed while they were idle; the next one is a fresh one by then.
const STALE_MAX: u32 = 3;
/// Messages that remain of a conversation that a model could not read whole: the last four turns.
const SHORT_MESSAGES: usize = 8;

/// The request that is being answered.
pub(super) struct Asked {
    pub(super) request: Request,
    /// Who works on it: one, or two while a hedge is out.
    pub(super) attempts: Vec<Attempt>,
    /// By place: whether it was asked.
    pub(super) tried: Vec<bool>,
    pub(super) tries: u32,
    pub(super) stalls: u32,
    stale: u32,
    pub(super) continuations: u32,
    pub(super) with_tools: bool,
    /// Whether only the end of the conversation is sent.
    short: bool,
    /// Whether `Sent` was told.
    pub(super) sent: bool,
    /// What was passed on.
    pub(super) said: String,
    /// Whether a tool call was passed on: it must not be made twice.
    pub(super) called: bool,
    /// What of a reply that goes on is to be said.
    pub(super) rest: Option<Rest>,
    /// When it is late.
    pub(super) hedge_at: Option<Instant>,
    /// Who is to be asked again, and when.
    pub(super) again: Option<(usize, Instant)>,
}

/// One mind that works on a request.
pub(super) struct Attempt {
    pub(super) job: u64,
    pub(super) place: usize,
    pub(super) tap: Option<Arc<Tap>>,
    pub(super) begun: Instant,
    /// When patience ends.
    pub(super) due: Instant,
    pub(super) patience: Patience,
    /// Whether anything of use came.
    pub(super) useful: bool,
    /// Whose late answer it is to outrun.
    pub(super) hedges: Option<usize>,
}

impl Asked {
    /// Begins the account of a request that nobody was given yet; `tried` has a `false` for each place in the line.
    pub(super) fn new(request: Request, tried: Vec<bool>, hedge_at: Option<Instant>) -> Self {
        Self {
            request,
            attempts: Vec::with_capacity(2),
            tried,
            tries: 0,
            stalls: 0,
            stale: 0,
            continuations: 0,
            with_tools: true,
            short: false,
            sent: false,
            said: String::new(),
            called: false,
            rest: None,
            hedge_at,
            again: None,
        }
    }

    /// Whether some of the reply is with the caller, or on its way.
    pub(super) fn spoke(&self) -> bool {
        self.called || !self.said.is_empty()
    }

    /// Returns the request as the next mind gets it.
    pub(super) fn request(&self) -> Request {
        let mut request = self.request.clone();
        if self.short {
            request.messages = shortened(&request.messages);
        }
        if self.rest.is_some() {
            request.messages = going_on::messages(&request.messages, &self.said);
        }
        request
    }

    /// Takes what the server makes of the request; returns whether it is to be asked again at once, in another way.
    pub(super) fn is_put_otherwise(&mut self, retry: Retry) -> bool {
        match retry {
            Retry::Stale if self.stale < STALE_MAX => {
                // A connection that was closed while it was idle is no try.
                (self.stale, self.tries) = (self.stale + 1, self.tries.saturating_sub(1));
                true
            }
            Retry::WithoutTools => std::mem::take(&mut self.with_tools),
            Retry::Shorter if self.request.messages.len() > SHORT_MESSAGES => !std::mem::replace(&mut self.short, true),
            Retry::Reworded => self.tries < TRIES_MAX,
            _ => false,
        }
    }

    /// Returns what a piece of the reply comes to, where it is to be said.
    pub(super) fn piece(&mut self, piece: Piece) -> Option<MindEvent> {
        match piece {
            Piece::Text(text) => {
                let text = match &mut self.rest {
                    Some(rest) => rest.token(&text),
                    None => text,
                };
                self.said.push_str(&text);
                (!text.is_empty()).then_some(MindEvent::Token(text))
            }
            Piece::Call { id, name, arguments } => {
                self.called = true;
                Some(MindEvent::ToolCall { id, name, arguments })
            }
        }
    }
}

/// Returns what the system says, and the end of the conversation; it begins with words of the caller's, since results of tools
/// make no sense without their calls.
fn shortened(messages: &[Message]) -> Vec<Message> {
    let is_system = |message: &&Message| matches!(message, Message::System(_));
    let (system, rest): (Vec<&Message>, Vec<&Message>) = messages.iter().partition(is_system);
    let end = rest.get(rest.len().saturating_sub(SHORT_MESSAGES)..).unwrap_or_default();
    let begin = end.iter().position(|message| matches!(message, Message::Caller(_))).unwrap_or(0);
    system.into_iter().chain(end.iter().skip(begin).copied()).cloned().collect()
}
