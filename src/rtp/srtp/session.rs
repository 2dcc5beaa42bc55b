//! Session keys: derived from a master key and salt, and put to use (RFC 3711 §4, RFC 6188).

use super::SALT_LEN;
use crate::rtp::Ssrc;
use aes::cipher::{InnerIvInit, KeyInit, StreamCipher};
use aes::{Aes128Enc, Aes256Enc};
use ctr::{Ctr128BE, CtrCore, flavors::Ctr128BE as Counter};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Bytes of a session authentication key (RFC 3711 §8.2).
const AUTH_KEY_LEN: usize = 20;
/// Bytes of the longest cipher key.
const KEY_LEN_MAX: usize = 32;

/// What the session keys of a stream are for; the numbers are their labels (RFC 3711 §4.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// SRTP.
    Rtp = 0,
    /// SRTCP.
    Rtcp = 3,
}

/// AES in counter mode, under one key.
enum Cipher {
    Aes128(Aes128Enc),
    Aes256(Aes256Enc),
}

impl Cipher {
    /// `None` where `key` is neither 16 nor 32 bytes.
    fn new(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Aes128Enc::new_from_slice(key).ok().map(Self::Aes128),
            32 => Aes256Enc::new_from_slice(key).ok().map(Self::Aes256),
            _ => None,
        }
    }

    /// Adds the key stream that begins at `iv` to `bytes`: at most 2^16 blocks, which no datagram reaches.
    fn apply(&self, iv: [u8; 16], bytes: &mut [u8]) {
        match self {
            Self::Aes128(aes) => {
                let core = CtrCore::<_, Counter>::inner_iv_init(aes, &iv.into());
                Ctr128BE::from_core(core).apply_keystream(bytes);
            }
            Self::Aes256(aes) => {
                let core = CtrCore::<_, Counter>::inner_iv_init(aes, &iv.into());
                Ctr128BE::from_core(core).apply_keystream(bytes);
            }
        }
    }

    /// Derives a key (RFC 3711 §4.3.3), with a key derivation rate of 0: one set of session keys for the whole session.
    fn derive(&self, salt: &[u8; SALT_LEN], label: u8, out: &mut [u8]) {
        let mut iv = [0; 16];
        iv[..SALT_LEN].copy_from_slice(salt);
        iv[7] ^= label;
        out.zeroize();
        self.apply(iv, out);
    }
}

/// The keys that protect one direction's SRTP, or its SRTCP.
pub struct Session {
    cipher: Cipher,
    salt: [u8; SALT_LEN],
    mac: Hmac<Sha1>,
    tag_len: usize,
}

impl Session {
    /// Derives from `master`, a key of 16 or 32 bytes with its salt behind it; `None` where it is of another length.
    pub fn new(master: &[u8], purpose: Purpose, tag_len: usize) -> Option<Self> {
        let (key, salt) = master.split_last_chunk::<SALT_LEN>()?;
        let master = Cipher::new(key)?;
        let label = purpose as u8;
        let mut cipher_key = [0; KEY_LEN_MAX];
        let (mut auth_key, mut session_salt) = ([0; AUTH_KEY_LEN], [0; SALT_LEN]);
        let derived = cipher_key.get_mut(..key.len())?;
        master.derive(salt, label, derived);
        let cipher = Cipher::new(derived)?;
        master.derive(salt, label + 1, &mut auth_key);
        master.derive(salt, label + 2, &mut session_salt);
        let mac = Hmac::new_from_slice(&auth_key).ok()?;
        cipher_key.zeroize();
        auth_key.zeroize();
        Some(Self { cipher, salt: session_salt, mac, tag_len })
    }

    /// Returns the bytes of a tag.
    pub const fn tag_len(&self) -> usize {
        self.tag_len
    }

    /// Encrypts, or decrypts, the part of packet `index` of `ssrc` that is secret (RFC 3711 §4.1.1).
    ///
    /// # Real-time
    /// Bounded by the packet; no heap.
    pub fn apply(&self, ssrc: Ssrc, index: u64, secret: &mut [u8]) {
        let mut iv = [0; 16];
        iv[..SALT_LEN].copy_from_slice(&self.salt);
        let [_, _, index @ ..] = index.to_be_bytes();
        let packet = ssrc.0.to_be_bytes().into_iter().chain(index);
        for (byte, own) in iv.iter_mut().skip(4).zip(packet) {
            *byte ^= own;
        }
        self.cipher.apply(iv, secret);
    }

    /// Writes the tag of `signed` and `index` into `tag`.
    ///
    /// # Real-time
    /// Bounded by the packet; no heap.
    pub fn sign(&self, signed: &[u8], index: &[u8], tag: &mut [u8]) {
        let whole = self.digest(signed, index);
        for (to, from) in tag.iter_mut().zip(whole) {
            *to = from;
        }
    }

    /// Whether `tag` is the tag of `signed` and `index`; how long it takes does not depend on how much of it is right.
    ///
    /// # Real-time
    /// Bounded by the packet; no heap.
    pub fn is_signed(&self, signed: &[u8], index: &[u8], tag: &[u8]) -> bool {
        let whole = self.digest(signed, index);
        whole.get(..self.tag_len).is_some_and(|own| own.ct_eq(tag).into())
    }

    fn digest(&self, signed: &[u8], index: &[u8]) -> [u8; 20] {
        let mut mac = self.mac.clone();
        mac.update(signed);
        mac.update(index);
        mac.finalize().into_bytes().into()
    }
}

/// The ciphers and the MAC wipe themselves.
impl Drop for Session {
    fn drop(&mut self) {
        self.salt.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).expect("ASCII"), 16).expect("hex");
        digits.chunks(2).map(byte).collect()
    }

    /// The blocks of key stream that begin at each of these counters, under the salt of the RFCs' tests.
    fn key_stream(key: &str, counters: [u16; 6]) -> Vec<Vec<u8>> {
        let cipher = Cipher::new(&hex(key)).expect("a key");
        let block = |counter: u16| {
            let mut iv = hex("f0f1f2f3f4f5f6f7f8f9fafbfcfd0000");
            iv[14..].copy_from_slice(&counter.to_be_bytes());
            let mut block = vec![0; 16];
            cipher.apply(iv.try_into().expect("16 bytes"), &mut block);
            block
        };
        counters.map(block).into()
    }

    const COUNTERS: [u16; 6] = [0, 1, 2, 0xfeff, 0xff00, 0xff01];

    #[test]
    fn the_key_stream_of_aes_128_is_that_of_rfc_3711_b_2() {
        let blocks = [
            "E03EAD0935C95E80E166B16DD92B4EB4",
            "D23513162B02D0F72A43A2FE4A5F97AB",
            "41E95B3BB0A2E8DD477901E4FCA894C0",
            "EC8CDF7398607CB0F2D21675EA9EA1E4",
            "362B7C3C6773516318A077D7FC5073AE",
            "6A2CC3787889374FBEB4C81B17BA6C44",
        ];
        assert_eq!(key_stream("2B7E151628AED2A6ABF7158809CF4F3C", COUNTERS), blocks.map(hex));
    }

    #[test]
    fn the_key_stream_of_aes_256_is_that_of_rfc_6188_7_1() {
        let blocks = [
            "92bdd28a93c3f52511c677d08b5515a4",
            "9da71b2378a854f67050756ded165bac",
            "63c4868b7096d88421b563b8c94c9a31",
            "cea518c90fd91ced9cbb18c078a54711",
            "3dbc4814f4da5f00a08772b63c6a046d",
            "6eb246913062a16891433e97dd01a57f",
        ];
        let key = "57f82fe3613fd170a85ec93c40b1f0922ec4cb0dc025b58272147cc438944a98";
        assert_eq!(key_stream(key, COUNTERS), blocks.map(hex));
    }

    fn derived(key: &str, salt: &str, label: u8, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        let salt = hex(salt).try_into().expect("14 bytes");
        Cipher::new(&hex(key)).expect("a key").derive(&salt, label, &mut out);
        out
    }

    #[test]
    fn keys_are_derived_as_in_rfc_3711_b_3() {
        let derived =
            |label, len| derived("E1F97A0D3E018BE0D64FA32C06DE4139", "0EC675AD498AFEEBB6960B3AABE6", label, len);
        assert_eq!(derived(0, 16), hex("C61E7A93744F39EE10734AFE3FF7A087"));
        assert_eq!(derived(2, 14), hex("30CBBC08863D8C85D49DB34A9AE1"));
        let auth = "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCEE049646C43D9327AD175578EF7227098\
            6371C10C9A369AC2F94A8C5FBCDDDC256D6E919A48B610EF17C2041E474035766B68642C59BBFC2F34DB60DBDFB2";
        assert_eq!(derived(1, 94), hex(auth));
    }

    #[test]
    fn keys_are_derived_as_in_rfc_6188_7_2() {
        let key = "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6";
        let derived = |label, len| derived(key, "3b04803de51ee7c96423ab5b78d2", label, len);
        assert_eq!(derived(0, 32), hex("5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4"));
        assert_eq!(derived(2, 14), hex("fa31791685ca444a9e07c6c64e93"));
        assert_eq!(derived(1, 20), hex("fd9c32d39ed5fbb5a9dc96b30818454d1313dc05"));
    }

    #[test]
    fn the_counter_of_a_packet_is_salt_ssrc_and_index() {
        let session = Session {
            cipher: Cipher::new(&hex("2B7E151628AED2A6ABF7158809CF4F3C")).expect("a key"),
            salt: hex("f0f1f2f3f4f5f6f7f8f9fafbfcfd").try_into().expect("14 bytes"),
            mac: Hmac::new_from_slice(&[0; 20]).expect("any length"),
            tag_len: 10,
        };
        let (ssrc, index) = (0x0102_0304, 0x1122_3344_5566);
        let mut iv = hex("f0f1f2f3 f4f5f6f7 f8f9fafbfcfd 0000");
        for (at, byte) in (4..).zip([1, 2, 3, 4, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66]) {
            iv[at] ^= byte;
        }
        let (mut expected, mut secret) = ([0; 40], [0; 40]);
        session.cipher.apply(iv.try_into().expect("16 bytes"), &mut expected);
        session.apply(Ssrc(ssrc), index, &mut secret);
        assert_eq!(secret, expected);
    }

    #[test]
    fn a_master_key_of_another_length_is_refused() {
        for len in [0, 13, 14, 29, 31, 45, 47, 60] {
            assert!(Session::new(&vec![7; len], Purpose::Rtp, 10).is_none(), "{len}");
        }
        assert!(
            Session::new(&[7; 30], Purpose::Rtp, 10).is_some() && Session::new(&[7; 46], Purpose::Rtcp, 10).is_some()
        );
    }

    #[test]
    fn one_wrong_bit_anywhere_is_no_tag() {
        let session = Session::new(&[7; 30], Purpose::Rtp, 10).expect("a key");
        let mut tag = [0; 10];
        session.sign(b"packet", &[0, 0, 0, 1], &mut tag);
        assert!(session.is_signed(b"packet", &[0, 0, 0, 1], &tag));
        assert!(!session.is_signed(b"packet", &[0, 0, 0, 2], &tag));
        assert!(!session.is_signed(b"packed", &[0, 0, 0, 1], &tag));
        assert!(!session.is_signed(b"packet", &[0, 0, 0, 1], &tag[..9]));
        for bit in 0..80 {
            tag[bit / 8] ^= 1 << (bit % 8);
            assert!(!session.is_signed(b"packet", &[0, 0, 0, 1], &tag));
            tag[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
