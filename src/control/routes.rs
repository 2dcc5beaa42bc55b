//! One function per route, pure: request in, reply out.
