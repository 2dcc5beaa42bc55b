//! Egress by the clock: a packet in every slot, never two at once, and a reply that does not wait for its slot.

use super::support::{Script, World, caller_voice, ms, seeds};
use offhook::config;
use std::time::Duration;

const SLOT_US: u64 = 20_000;

/// A minute of turns.
fn minute(seed: u64) -> World {
    let settings = config::Agent { greeting: "Hello, who is there?".into(), ..config::Agent::default() };
    let script = Script { transcripts: Some([].into()), ..Script::default() };
    let mut world = World::talking(seed, settings, script);
    let mut rng = fastrand::Rng::with_seed(seed);
    for _ in 0..15 {
        world.run_for(ms(3000) + Duration::from_micros(rng.u64(..20_000)));
        world.caller().say(&caller_voice(600));
    }
    world.run_for(ms(4000));
    world
}

#[test]
fn every_slot_has_one_packet_and_no_two_leave_at_once() {
    for seed in seeds(3) {
        let mut world = minute(seed);
        let heard = world.caller().heard.clone();
        let at = |n: usize| heard[n].at.as_nanos() / 1000;
        let last = heard.len() - 1;
        let slots = (at(last) - at(0)) / SLOT_US;
        assert!((last as u64).abs_diff(slots) <= 1, "{last} packets in {slots} slots");
        for n in 1..=last {
            let (gap, before, packet) = (at(n) - at(n - 1), &heard[n - 1], &heard[n]);
            assert!((2_000..=21_000).contains(&gap), "{gap} us between packets");
            assert_eq!(packet.sequence, before.sequence.wrapping_add(1));
            assert_eq!(packet.timestamp, before.timestamp.wrapping_add(160));
            assert_eq!((packet.ssrc, packet.payload_type), (before.ssrc, 0));
            assert_eq!(packet.pcm.len(), 160);
            // A talkspurt may end within a packet, and begin only with one.
            assert_eq!(packet.marker, packet.loud() && !before.loud(), "packet {n}");
        }
        assert!(heard[0].marker);
        assert_eq!(world.line().pacing_max, Duration::ZERO, "a worker that wakes in time serves each slot in time");
        assert!(world.caller().rtcp_heard >= 8, "{} reports", world.caller().rtcp_heard);
    }
}

#[test]
fn a_reply_leaves_at_once_and_silence_gives_the_time_back() {
    let mut pulled = 0;
    for seed in seeds(3) {
        let mut world = minute(seed);
        let heard = world.caller().heard.clone();
        let at = |n: usize| heard[n].at.as_nanos() / 1000;
        let mut owed = 0;
        for n in 1..heard.len() {
            let gap = at(n) - at(n - 1);
            let starts = heard[n].loud() && !heard[n - 1].loud();
            if gap < SLOT_US {
                assert!(starts, "only the first packet of a talkspurt is early");
                owed += SLOT_US - gap;
                pulled += 1;
            } else {
                owed -= gap - SLOT_US;
                assert!(gap == SLOT_US || !heard[n - 1].loud(), "speech is never stretched");
            }
            assert!(owed <= SLOT_US, "the grid is {owed} us early");
        }
        assert_eq!(owed, 0, "4 s of silence give everything back");
    }
    assert!(pulled >= 20, "{pulled} replies moved the grid");
}

#[test]
fn a_reply_s_first_packet_leaves_with_its_first_audio() {
    let mut world = minute(1);
    let line = world.line();
    let turns = line.turns.len();
    assert!(turns >= 15, "{turns} turns");
    // By the clock a packet waits 10 ms on average; the events of the conductor tell when each left.
    let first_packets = line.events.iter().filter_map(|(at, event)| match event {
        offhook::call::CallEvent::FirstPacket { turn, at: sent } => Some((*turn, *at, *sent)),
        _ => None,
    });
    for (turn, told, sent) in first_packets {
        assert_eq!(told, sent, "{turn}");
    }
}
