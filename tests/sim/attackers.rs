//! Strangers who send media into a call: not one sample of theirs is heard, and the call goes on.

use super::support::network::{Datagram, Port};
use super::support::{Script, World, caller_voice, ms};
use offhook::config;
use offhook::rtp::packet::{HEADER_LEN, Header};
use offhook::rtp::rtcp::{Report, ReportBlock, SENT_LEN_MAX, SenderInfo};
use offhook::rtp::{PayloadType, RtpTimestamp, SequenceNumber, Ssrc};
use std::net::SocketAddr;
use std::time::Duration;

/// What a stranger says: the loudest code of µ-law, which no caller of these tests comes near.
const SHOUT: u8 = 0x80;

/// A packet of a stranger's that would go on where the caller's stream is.
fn packet(sequence: u16, timestamp: u32, ssrc: u32, payload_type: u8) -> Vec<u8> {
    let header = Header {
        marker: false,
        payload_type: PayloadType(payload_type),
        sequence: SequenceNumber(sequence),
        timestamp: RtpTimestamp(timestamp),
        ssrc: Ssrc(ssrc),
    };
    let mut bytes = vec![0; HEADER_LEN];
    assert!(header.write(&mut bytes));
    bytes.extend([SHOUT; 160]);
    bytes
}

fn send(world: &mut World, from: &str, port: Port, bytes: Vec<u8>) {
    let (source, now): (SocketAddr, _) = (from.parse().expect("an address"), world.now);
    let rtp = world.caller().media.expect("the call is answered");
    let media = SocketAddr::new(rtp.ip(), rtp.port() + u16::from(port == Port::Rtcp));
    world.network.send(Datagram { port, source, to: media, bytes }, true, now);
}

/// Lets everybody but the caller send one packet of each kind that one slot of a call could see.
fn spray(world: &mut World, round: u16) {
    let (sequence, timestamp, ssrc) = {
        let caller = world.caller();
        (caller.sequence.wrapping_add(1), caller.timestamp.wrapping_add(160), caller.ssrc)
    };
    for host in 2..10u32 {
        let from = format!("10.0.9.{host}:4000");
        // The stream itself, known to the last bit; a stream of its own; a guess.
        send(world, &from, Port::Rtp, packet(sequence, timestamp, ssrc, 0));
        send(world, &from, Port::Rtp, packet(round, u32::from(round) * 160, host, 0));
        send(world, &from, Port::Rtp, packet(round.wrapping_mul(31), timestamp, ssrc ^ host, 0));
    }
    // What comes from the caller's very port and is not its stream, once there is one.
    if !world.caller().said.is_empty() {
        send(world, "10.0.0.10:4000", Port::Rtp, packet(round.wrapping_mul(977), timestamp, ssrc ^ 1, 0));
        send(world, "10.0.0.10:4000", Port::Rtp, packet(sequence, timestamp, ssrc, 3));
    }
}

/// Forged RTCP: a BYE for the caller's stream, and an SR and RR that would skew its clock and our round trip.
fn forge(world: &mut World) {
    let ssrc = world.caller().ssrc;
    let ours = world.caller().heard.last().map_or(0, |packet| packet.ssrc);
    let info = SenderInfo { ntp: u64::MAX, ..SenderInfo::default() };
    let block = ReportBlock { ssrc: Ssrc(ours), fraction_lost: 255, last_sr: 1, ..ReportBlock::default() };
    for (from, ssrc) in [("10.0.9.2:4001", ssrc), ("10.0.9.3:4000", ssrc), ("10.0.0.10:4001", ssrc ^ 1)] {
        let report = Report { ssrc: Ssrc(ssrc), sender: Some(info), block: Some(block), cname: "x", bye: true };
        let mut bytes = [0; SENT_LEN_MAX];
        let len = report.write(&mut bytes).expect("it fits");
        send(world, from, Port::Rtcp, bytes[..len].to_vec());
    }
}

fn loudest(ulaw: &[u8]) -> i16 {
    let mut pcm = vec![0; ulaw.len()];
    offhook::audio::g711::Codec::Pcmu.decode(ulaw, &mut pcm);
    pcm.iter().map(|sample| sample.saturating_abs()).max().unwrap_or(0)
}

#[test]
fn no_stranger_is_heard_before_the_latch_or_after_it() {
    let settings = config::Agent { reprompt_after: Duration::from_secs(600), ..config::Agent::default() };
    let mut world = World::with(1, settings);
    world.script(Script::default());
    world.add_caller();
    // It is slow to open its audio.
    world.caller().holds = true;
    let now = world.now;
    world.caller().invite(now);
    assert!(world.run_until(ms(2000), |world| world.callers[0].media.is_some()), "the call is answered");
    world.run_until(ms(50), |world| world.lines.values().any(|line| line.call.is_some()));
    world.line().providers.keep_audio = true;
    for round in 0..50 {
        spray(&mut world, round);
        world.run_for(ms(20));
    }
    assert_eq!(world.line().call.as_ref().and_then(|call| call.remote()), None, "nobody was taken for the caller");
    let now = world.now;
    world.caller().resume_sending(now);
    let quiet: Vec<i16> = caller_voice(5000).iter().map(|sample| sample / 8).collect();
    world.caller().say(&quiet);
    for round in 50..300 {
        spray(&mut world, round);
        if round % 25 == 10 {
            forge(&mut world);
        }
        world.run_for(ms(20));
    }
    // A flood within one slot.
    for n in 0..5000u16 {
        let ssrc = world.caller().ssrc;
        send(&mut world, "10.0.9.4:4000", Port::Rtp, packet(n, u32::from(n) * 160, ssrc, 0));
    }
    world.run_for(ms(1000));
    let heard = world.line().providers.heard.ulaw.clone();
    assert!(heard.len() > 5 * 8000, "{} samples", heard.len());
    assert!(loudest(&heard) < 6000, "{}", loudest(&heard));
    assert!(loudest(&heard) > 1000, "and the caller was heard");
    let from = world.caller().rtp;
    let call = world.line().call.as_ref().expect("there is one");
    assert_eq!(call.remote(), Some(from));
    assert_eq!((call.round_trip(), call.remote_inbound()), (None, None), "nobody was believed");
    assert!(call.discards().total() > 10_000, "{:?}", call.discards());
    assert_eq!(call.stats().packets_lost, 0, "{:?}", call.stats());
    assert!(world.line().ended.is_none());
    assert!(world.caller().heard.len() > 300, "and the agent's packets went to the caller");
}

#[test]
fn another_ssrc_of_the_callers_own_is_another_stream() {
    let settings = config::Agent { reprompt_after: Duration::from_secs(600), ..config::Agent::default() };
    let mut world = World::talking(1, settings, Script::default());
    world.line().providers.keep_audio = true;
    world.run_for(ms(1000));
    // A transfer at the far end: SSRC, sequence and timestamp begin anew.
    let caller = world.caller();
    (caller.ssrc, caller.sequence, caller.timestamp) = (caller.ssrc ^ 0xff, 7, 7);
    caller.say(&caller_voice(1000));
    world.line().providers.heard.ulaw.clear();
    world.run_for(ms(1500));
    assert!(loudest(&world.line().providers.heard.ulaw) > 5000, "it is heard");

    // Ours, by chance: we take another, and say goodbye for the old one.
    let ours = world.caller().heard.last().expect("there are packets").ssrc;
    let (rtcp, caller) = (world.caller().rtcp_heard, world.caller());
    (caller.ssrc, caller.sequence) = (ours, 40_000);
    world.run_for(ms(200));
    assert_ne!(world.caller().heard.last().expect("there are packets").ssrc, ours);
    assert!(world.caller().rtcp_heard > rtcp);
}
