//! A stereo WAV file that grows and can be played at any moment: what is written last is its header.
//!
//! The newest seconds are held in memory as well, since sound comes late: what a packet brings takes the place of what was
//! made up for it.

use crate::call::recording::Side;
use crate::time::samples;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

/// Bytes before the sound: RIFF, a plain format chunk, and the data chunk's head.
const HEADER_LEN: u64 = 44;
/// Bytes of one sample of both channels.
const BLOCK: u64 = 4;
/// What a WAV file can hold: its lengths are 32 bits.
const BLOCKS_MAX: u64 = (u32::MAX as u64 - HEADER_LEN) / BLOCK - 1;
/// How much of the end can still be changed: the longest wait for a gap, a full ring, and a disk that stalls.
const WINDOW_S: usize = 3;

/// The file.
pub struct Wav {
    file: File,
    rate: u32,
    /// The newest samples, left and right.
    window: Vec<[i16; 2]>,
    /// Where the window begins in the file.
    base: u64,
    /// How long the recording is.
    len: u64,
    /// What of the window is not in the file yet.
    dirty: Option<(u64, u64)>,
    /// The length that the header tells.
    told: u64,
}

impl Wav {
    /// Begins one in an empty file.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(mut file: File, rate: u32) -> io::Result<Self> {
        file.write_all(&header(rate, 0))?;
        let window = vec![[0; 2]; WINDOW_S * rate as usize];
        Ok(Self { file, rate, window, base: 0, len: 0, dirty: None, told: 0 })
    }

    /// Returns how many samples a second each channel has.
    #[must_use]
    pub const fn rate(&self) -> u32 {
        self.rate
    }

    /// Puts sound in its place, over what is there. What is too old to be changed is left out.
    ///
    /// # Errors
    /// What the system says, where older sound makes room.
    pub fn put(&mut self, side: Side, at: i64, pcm: &[i16]) -> io::Result<()> {
        let first = at.max(i64::try_from(self.base).unwrap_or(i64::MAX));
        let pcm = pcm.get(usize::try_from(first - at).unwrap_or(usize::MAX)..).unwrap_or_default();
        let first = u64::try_from(first).unwrap_or(0);
        let end = first + pcm.len() as u64;
        if pcm.is_empty() || end > BLOCKS_MAX {
            return Ok(());
        }
        self.make_room(end)?;
        let channel = usize::from(side == Side::Agent);
        let place = usize::try_from(first - self.base).unwrap_or(usize::MAX);
        for (block, sample) in self.window.iter_mut().skip(place).zip(pcm) {
            block[channel] = *sample;
        }
        self.len = self.len.max(end);
        self.dirty = Some(self.dirty.map_or((first, end), |(from, to)| (from.min(first), to.max(end))));
        Ok(())
    }

    /// Goes on to `to` in silence, where nothing else has come.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn extend(&mut self, to: u64) -> io::Result<()> {
        let to = to.min(BLOCKS_MAX);
        if to > self.len {
            self.make_room(to)?;
            let from = self.len.max(self.base);
            self.dirty = Some(self.dirty.map_or((from, to), |(first, last)| (first.min(from), last.max(to))));
            self.len = to;
        }
        Ok(())
    }

    /// Writes what is not in the file yet, and then the header that tells of it.
    ///
    /// # Errors
    /// What the system says; the file is as it was told to be before.
    pub fn flush(&mut self) -> io::Result<()> {
        if let Some((from, to)) = self.dirty {
            let place = |at: u64| usize::try_from(at.saturating_sub(self.base)).unwrap_or(usize::MAX);
            let blocks = self.window.get(place(from)..place(to)).unwrap_or_default();
            let bytes: Vec<u8> = blocks.iter().flatten().flat_map(|sample| sample.to_le_bytes()).collect();
            self.file.seek(SeekFrom::Start(HEADER_LEN + from * BLOCK))?;
            self.file.write_all(&bytes)?;
            self.dirty = None;
        }
        if self.told != self.len {
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(&header(self.rate, self.len))?;
            self.told = self.len;
        }
        Ok(())
    }

    /// Moves the window so that it holds what is before `end`.
    fn make_room(&mut self, end: u64) -> io::Result<()> {
        let size = self.window.len() as u64;
        if end <= self.base + size {
            return Ok(());
        }
        self.flush()?;
        // By a second at least, so that it is not moved for every packet.
        let by = (end - (self.base + size)).max(u64::from(self.rate));
        let kept = size.saturating_sub(by);
        let moved = usize::try_from(by.min(size)).unwrap_or(usize::MAX);
        self.window.copy_within(moved.., 0);
        self.window.iter_mut().skip(usize::try_from(kept).unwrap_or(0)).for_each(|block| *block = [0; 2]);
        self.base += by;
        Ok(())
    }
}

fn header(rate: u32, blocks: u64) -> [u8; HEADER_LEN as usize] {
    let data = u32::try_from(blocks * BLOCK).unwrap_or(u32::MAX - HEADER_LEN as u32);
    let mut header = [0; HEADER_LEN as usize];
    let parts: [&[u8]; 13] = [
        b"RIFF",
        &(data + HEADER_LEN as u32 - 8).to_le_bytes(),
        b"WAVE",
        b"fmt ",
        &16u32.to_le_bytes(),
        // PCM, two channels.
        &1u16.to_le_bytes(),
        &2u16.to_le_bytes(),
        &rate.to_le_bytes(),
        &(rate * BLOCK as u32).to_le_bytes(),
        &(BLOCK as u16).to_le_bytes(),
        &16u16.to_le_bytes(),
        b"data",
        &data.to_le_bytes(),
    ];
    let bytes = parts.into_iter().flatten();
    header.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    header
}

/// Makes the header of a recording that was left behind tell of all that is in it. Returns how long it is.
///
/// # Errors
/// What the system says, or that it is no recording of ours.
pub fn repair(path: &Path) -> io::Result<Duration> {
    let mut file = File::options().read(true).write(true).open(path)?;
    let mut found = [0; HEADER_LEN as usize];
    file.read_exact(&mut found)?;
    let rate = found.get(24..28).and_then(|rate| rate.try_into().ok()).map_or(0, u32::from_le_bytes);
    let ours = header(rate, 0);
    if rate == 0 || found.get(8..40) != ours.get(8..40) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no recording of this engine's"));
    }
    let blocks = (file.metadata()?.len() - HEADER_LEN) / BLOCK;
    let whole = header(rate, blocks);
    if found != whole {
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&whole)?;
    }
    Ok(samples::duration(blocks, rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 8000;

    struct Kept {
        _folder: tempfile::TempDir,
        path: std::path::PathBuf,
        wav: Wav,
    }

    fn begin() -> Kept {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.wav");
        let wav = Wav::new(File::create(&path).expect("a file"), RATE).expect("written");
        Kept { _folder: folder, path, wav }
    }

    fn read(path: &Path) -> Vec<[i16; 2]> {
        let mut reader = hound::WavReader::open(path).expect("a WAV file");
        assert_eq!((reader.spec().channels, reader.spec().sample_rate), (2, RATE));
        let samples: Vec<i16> = reader.samples().map(|sample| sample.expect("a sample")).collect();
        samples.as_chunks().0.to_vec()
    }

    #[test]
    fn caller_is_left_agent_right_and_what_is_missing_is_silence() {
        let Kept { path, mut wav, _folder } = begin();
        wav.put(Side::Caller, 0, &[1; 160]).expect("put");
        wav.put(Side::Agent, 80, &[2; 160]).expect("put");
        wav.put(Side::Caller, 400, &[3; 160]).expect("put");
        wav.flush().expect("written");
        let all = read(&path);
        assert_eq!(all.len(), 560);
        assert_eq!((all[0], all[100], all[200], all[300], all[450]), ([1, 0], [1, 2], [0, 2], [0, 0], [3, 0]));
    }

    #[test]
    fn a_late_packet_takes_the_place_of_what_was_made_up_for_it() {
        let Kept { path, mut wav, _folder } = begin();
        wav.put(Side::Caller, 0, &[9; 320]).expect("put");
        wav.put(Side::Agent, 0, &[4; 320]).expect("put");
        wav.flush().expect("written");
        wav.put(Side::Caller, 160, &[5; 160]).expect("put");
        wav.flush().expect("written");
        let all = read(&path);
        assert_eq!((all[100], all[200], all.len()), ([9, 4], [5, 4], 320));
    }

    #[test]
    fn it_plays_at_any_moment_and_from_before_its_beginning_or_long_after_nothing_breaks() {
        let Kept { path, mut wav, _folder } = begin();
        wav.put(Side::Caller, -100, &[7; 160]).expect("put");
        for second in 0..20i64 {
            wav.put(Side::Agent, second * 8000, &[1; 160]).expect("put");
            wav.flush().expect("written");
            assert_eq!(read(&path).len() as i64, second * 8000 + 160);
        }
        wav.put(Side::Caller, 0, &[6; 160]).expect("too late, and left out");
        wav.extend(8000 * 3600).expect("an hour on hold");
        wav.put(Side::Caller, 8000 * 3600 - 10, &[8; 20]).expect("put");
        wav.flush().expect("written");
        let all = read(&path);
        assert_eq!(all.len(), 8000 * 3600 + 10);
        assert_eq!((all[0], all[60], all[8000 * 1800], all[8000 * 3600]), ([7, 1], [0, 1], [0, 0], [8, 0]));
        wav.put(Side::Caller, i64::MAX, &[1; 4]).expect("beyond what a file holds");
    }

    #[test]
    fn one_that_was_left_behind_is_repaired() {
        let Kept { path, mut wav, _folder } = begin();
        wav.put(Side::Caller, 0, &[1; 160]).expect("put");
        wav.flush().expect("written");
        drop(wav);
        let mut file = File::options().append(true).open(&path).expect("a file");
        file.write_all(&[0; 4 * 8000 + 3]).expect("written");
        assert_eq!(repair(&path).expect("repaired"), Duration::from_millis(1020));
        assert_eq!(read(&path).len(), 8160);
        std::fs::write(&path, [0; 100]).expect("written");
        assert!(repair(&path).is_err(), "no recording");
        std::fs::write(&path, b"RIFF").expect("written");
        assert!(repair(&path).is_err(), "cut");
    }
}
