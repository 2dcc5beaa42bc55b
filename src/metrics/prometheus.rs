//! The text that `GET /metrics` answers with (Prometheus text format 0.0.4).
