//! Threads, sockets, clock.
