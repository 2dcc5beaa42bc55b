//! What reading and writing one packet costs: the RTP header, the latch, the source's books, and a whole RTCP report.

use divan::{Bencher, black_box};
use offhook::rtp::latch::{self, Expected, Latch};
use offhook::rtp::packet::{HEADER_LEN, Header, Packet};
use offhook::rtp::receiver::Receiver;
use offhook::rtp::rtcp::{Compound, Report, ReportBlock, SENT_LEN_MAX, SenderInfo};
use offhook::rtp::{PayloadType, RtpTimestamp, SequenceNumber, Ssrc};
use offhook::time::Instant;
use std::net::SocketAddr;

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

const DATAGRAM: usize = HEADER_LEN + 160;

fn main() {
    let datagram = datagram(1);
    let packet = Packet::parse(&datagram).expect("it is RTP");
    assert_eq!((packet.header, packet.payload.len()), (header(1), 160));
    assert_eq!(Compound::parse(&report()).expect("it is RTCP").count(), 2);
    divan::main();
}

fn header(n: u16) -> Header {
    Header {
        marker: false,
        payload_type: PayloadType(0),
        sequence: SequenceNumber(n),
        timestamp: RtpTimestamp(u32::from(n) * 160),
        ssrc: Ssrc(7),
    }
}

fn datagram(n: u16) -> [u8; DATAGRAM] {
    let mut datagram = [0xff; DATAGRAM];
    assert!(header(n).write(&mut datagram));
    datagram
}

fn report() -> Vec<u8> {
    let mut out = [0; SENT_LEN_MAX];
    let block = Some(ReportBlock::default());
    let report = Report { ssrc: Ssrc(7), sender: Some(SenderInfo::default()), block, cname: "offhook", bye: false };
    let len = report.write(&mut out).expect("it fits");
    out[..len].to_vec()
}

#[divan::bench]
fn parse(bencher: Bencher<'_, '_>) {
    let datagram = datagram(1);
    bencher.bench_local(|| Packet::parse(black_box(&datagram)).is_ok());
}

#[divan::bench]
fn write_header(bencher: Bencher<'_, '_>) {
    let (header, mut datagram) = (header(1), datagram(1));
    bencher.bench_local(|| black_box(&header).write(black_box(&mut datagram)));
}

/// From the datagram to the packet's place in its stream.
#[divan::bench]
fn admit(bencher: Bencher<'_, '_>) {
    let source: SocketAddr = ([198, 51, 100, 1], 4000).into();
    let expected = Expected { ip: Some(source.ip()), port: 4000, rtcp_port: 4001, signalling: source.ip() };
    let (mut latch, mut receiver) = (Latch::new(expected, latch::Settings::default()), Receiver::new());
    let mut n = 0u16;
    let mut now = Instant::ZERO;
    bencher.bench_local(|| {
        n = n.wrapping_add(1);
        now += std::time::Duration::from_millis(20);
        let datagram = datagram(n);
        let packet = Packet::parse(black_box(&datagram)).ok()?;
        latch.admit(source, &packet.header, now).ok()?;
        receiver.receive(&packet.header, now, true).ok()
    });
}

#[divan::bench]
fn parse_rtcp(bencher: Bencher<'_, '_>) {
    let report = report();
    bencher.bench_local(|| Compound::parse(black_box(&report)).map(Iterator::count));
}

#[divan::bench]
fn write_rtcp(bencher: Bencher<'_, '_>) {
    let mut out = [0; SENT_LEN_MAX];
    let block = Some(ReportBlock::default());
    let report = Report { ssrc: Ssrc(7), sender: Some(SenderInfo::default()), block, cname: "offhook", bye: false };
    bencher.bench_local(|| black_box(&report).write(black_box(&mut out)));
}
