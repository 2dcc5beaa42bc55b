//! What SRTP costs: a 20 ms packet protected and unprotected, a forged one refused, a key's session keys derived.

use divan::{Bencher, black_box};
use offhook::rtp::packet::{HEADER_LEN, Header};
use offhook::rtp::srtp::{Inbound, Outbound, Profile, TRAILER_LEN_MAX};
use offhook::rtp::{Discard, PayloadType, RtpTimestamp, SequenceNumber, Ssrc};

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

const PACKET: usize = HEADER_LEN + 160;
const MASTER: [u8; 46] = [7; 46];
const PROFILES: [Profile; 2] = [Profile::Aes128Sha80, Profile::Aes256Sha80];

fn main() {
    let (mut ours, mut theirs) = pair(Profile::Aes128Sha80);
    let (mut packet, len) = protected(&mut ours, 1);
    assert_eq!(theirs.unprotect_rtp(&mut packet[..len]), Ok(PACKET));
    assert_eq!(packet[HEADER_LEN..PACKET], [0xd5; 160]);
    divan::main();
}

fn pair(profile: Profile) -> (Outbound, Inbound) {
    let master = &MASTER[..profile.key_len() + 14];
    (Outbound::new(profile, master, None).expect("a key"), Inbound::new(profile, master, None).expect("a key"))
}

/// Packet `n` as it goes out, and its length.
fn protected(ours: &mut Outbound, n: u16) -> ([u8; PACKET + TRAILER_LEN_MAX], usize) {
    let mut packet = [0xd5; PACKET + TRAILER_LEN_MAX];
    let header = Header {
        marker: false,
        payload_type: PayloadType(8),
        sequence: SequenceNumber(n),
        timestamp: RtpTimestamp(u32::from(n) * 160),
        ssrc: Ssrc(7),
    };
    assert!(header.write(&mut packet));
    let len = ours.protect_rtp(&mut packet, PACKET).expect("it follows upon the one before");
    (packet, len)
}

#[divan::bench(args = PROFILES)]
fn protect(bencher: Bencher<'_, '_>, profile: Profile) {
    let (mut ours, _) = pair(profile);
    let mut n = 0u16;
    bencher.bench_local(|| {
        n = n.wrapping_add(1);
        black_box(protected(&mut ours, n)).1
    });
}

#[divan::bench(args = PROFILES)]
fn protect_and_unprotect(bencher: Bencher<'_, '_>, profile: Profile) {
    let (mut ours, mut theirs) = pair(profile);
    let mut n = 0u16;
    bencher.bench_local(|| {
        n = n.wrapping_add(1);
        let (mut packet, len) = protected(&mut ours, n);
        let len = theirs.unprotect_rtp(black_box(&mut packet[..len]));
        assert_eq!(len, Ok(PACKET));
        packet
    });
}

/// What a stranger's packet costs us, once a source is known.
#[divan::bench]
fn refuse(bencher: Bencher<'_, '_>) {
    let (mut ours, mut theirs) = pair(Profile::Aes128Sha80);
    let (mut packet, len) = protected(&mut ours, 1);
    assert_eq!(theirs.unprotect_rtp(&mut packet[..len]), Ok(PACKET));
    let (mut forged, len) = protected(&mut ours, 2);
    forged[len - 1] ^= 1;
    bencher.bench_local(|| {
        assert_eq!(theirs.unprotect_rtp(black_box(&mut forged[..len])), Err(Discard::Authentication));
    });
}

#[divan::bench(args = PROFILES)]
fn derive_keys(bencher: Bencher<'_, '_>, profile: Profile) {
    let master = &MASTER[..profile.key_len() + 14];
    bencher.bench_local(|| Inbound::new(profile, black_box(master), None).is_some());
}
