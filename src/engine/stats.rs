//! Empties the media workers' rings into the table of calls.

use crate::engine::media::WorkerCounters;
use crate::ids::CallId;
use crate::metrics::{Board, Counter, Quality, Sample};
use crate::providers::Stop;
use rtrb::Consumer;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the rings are emptied: the samples' ring holds seconds of them.
const INTERVAL: Duration = Duration::from_millis(50);

/// Rounds after which it is shown how loud the calls are: ten times a second, as fast as an eye follows a meter.
const ROUNDS_PER_LEVEL: u64 = 2;

/// The ends of one worker's rings.
pub struct Ends {
    /// Measurements.
    pub samples: Consumer<Sample>,
    /// How well each call's media flow, once a second; the last word comes with the call's end.
    pub quality: Consumer<(CallId, Quality)>,
    /// What the worker counts.
    pub counters: Arc<WorkerCounters>,
}

/// Starts the thread; it ends, with the rings emptied, after `stop` is raised and the workers are gone.
///
/// # Errors
/// What the system says when it has no thread left.
pub fn start(mut ends: Vec<Ends>, board: Arc<Board>, stop: Stop) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("stats".into()).spawn(move || {
        let mut counted = vec![[0; 4]; ends.len()];
        let mut rounds = 0_u64;
        loop {
            // Asked before the rings are emptied, so that what comes before the stop is never left behind.
            let last = stop.raised() && ends.iter().all(|worker| worker.samples.is_abandoned());
            for (worker, counted) in ends.iter_mut().zip(&mut counted) {
                empty(worker, counted, &board);
            }
            rounds += 1;
            if rounds.is_multiple_of(ROUNDS_PER_LEVEL) {
                board.show_levels();
            }
            if last {
                return;
            }
            std::thread::park_timeout(INTERVAL);
        }
    })
}

fn empty(worker: &mut Ends, counted: &mut [u64; 4], board: &Board) {
    board.samples(std::iter::from_fn(|| worker.samples.pop().ok()));
    while let Ok((call, quality)) = worker.quality.pop() {
        board.quality(call, quality);
    }
    let WorkerCounters { sent, send_errors, samples_dropped, panics } = &*worker.counters;
    let named: [(&'static str, &'static str, &AtomicU64); 4] = [
        ("media_packets_sent", "RTP and RTCP packets sent", sent),
        ("media_send_errors", "Media packets that the kernel did not take", send_errors),
        ("media_samples_dropped", "Measurements dropped because their ring was full", samples_dropped),
        ("media_panics", "Calls ended by a fault in the media path", panics),
    ];
    for ((name, help, counter), counted) in named.into_iter().zip(counted) {
        let count = counter.load(Ordering::Relaxed);
        board.count(Counter { name, help }, count - std::mem::replace(counted, count));
    }
}
