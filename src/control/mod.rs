//! The HTTP control API (reference: the users' scripts; each route is one function).
//!
//! [`server`] moves bytes between sockets and [`routes`], which decides; what the engine can do stands in
//! [`engine::bridge`](crate::engine::bridge).

mod bodies;
mod download;
mod events;
mod guard;
mod openapi;
mod page;
#[cfg(test)]
mod pretend;
pub mod routes;
pub mod server;
mod table;
pub mod webhooks;

pub use crate::engine::bridge::{About, Bridge, ListenError, ListenFrame, Realtime, Running, StartError};
