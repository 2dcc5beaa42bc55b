//! The HTTP control API (reference: the users' scripts; each route is one function).
//!
//! [`server`] moves bytes between sockets and [`routes`], which decides; what the engine can do stands in
//! [`engine::bridge`](crate::engine::bridge).

mod bodies;
mod guard;
#[cfg(test)]
mod pretend;
pub mod routes;
pub mod server;

pub use crate::engine::bridge::{About, Bridge, ListenError, ListenFrame, Realtime, Running, StartError};
