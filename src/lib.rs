//! Offhook answers the phone with an AI agent: SIP and G.711 RTP in, speech to text, a language model, text to speech, and
//! back, on dedicated threads and without async. This is the map; each folder's `mod.rs` opens with its own half page.
//!
//! In the order in which a call meets them:
//!
//! | folder | question | touches the world |
//! |---|---|---|
//! | [`sip`] | who calls, and what is answered: a user agent server (RFC 3261) | |
//! | [`sdp`] | what both sides agree to send (RFC 3264) | |
//! | [`engine`] | which thread does what: sockets, rings, clock, start and stop | yes |
//! | [`call`] | one call's media: a packet or a tick in, everything it causes out | |
//! | [`rtp`] | what stands in a packet, whose it is, and who may send it | |
//! | [`jitter`] | in which order, how long a gap is waited for, what fills it | |
//! | [`audio`] | G.711, G.722, sample rates, voice activity | |
//! | [`turn`] | who holds the floor, and where a turn's milliseconds went | |
//! | [`agent`] | what the agent understands and says: text, history, clauses, tools | |
//! | [`providers`] | its ears, mind and voice: Deepgram, Groq, Cartesia, and this machine's own | yes |
//! | [`metrics`] | what is measured, under which name, in which unit | |
//! | [`capture`], [`replay`] | what is kept of a call, and how it is run again from that | [`replay`] |
//! | [`control`] | the HTTP API | yes |
//! | [`phone`] | a telephone that calls an agent and measures its replies: `offhook call` | yes |
//! | [`config`] | every tunable, its unit, default and reason | reads |
//! | [`time`], [`ids`] | when, and which | |
//!
//! ```text
//! caller ─UDP─▶ engine/net ─rx ring─▶ engine/media ─ear ring─▶ providers: ears ─▶ agent ─▶ mind ─▶ voice
//!    ▲                                  │ packet: rtp ▶ jitter ▶ audio ▶ turn                          │
//!    └──────────────UDP─────────────────┘ tick:   playout ▶ audio ▶ rtp  ◀────────voice ring──────────┘
//! ```
//!
//! Everything that decides is a machine that is told what happened and when (`handle_input`, `handle_timeout`) and asked what
//! it wants done (`poll_output`, `poll_timeout`). Imports point one way, and `tests/tidy.rs` refuses the other:
//!
//! ```text
//! time ids < config < sdp rtp audio sip turn agent < jitter < call < metrics capture < providers < engine
//!     < control phone replay < main
//! ```

pub mod agent;
pub mod audio;
pub mod call;
pub mod capture;
pub mod config;
pub mod control;
pub mod engine;
pub mod ids;
pub mod jitter;
pub mod metrics;
pub mod phone;
pub mod providers;
pub mod replay;
pub mod rtp;
pub mod sdp;
pub mod sip;
pub mod time;
pub mod turn;
