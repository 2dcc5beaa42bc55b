//! Takes named files out of a wheel (zip) or an npm package (tar.gz), and nothing else.
//!
//! No name that an archive holds is ever used as a path: an entry is only compared with the names wanted. So an entry
//! called `../x` or `/x` is passed over like any other that nobody asked for.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// A file wanted of an archive: its exact name and size there.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub path: &'static str,
    pub bytes: u64,
}

/// The most that a tar archive may hold when unpacked. The packages hold 31 MB; a bomb stops here.
const UNPACKED_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// The most entries looked at. The packages hold at most some hundred.
const ENTRIES_MAX: usize = 10_000;

/// Returns the wanted files of a zip archive, in their order.
///
/// # Errors
/// What is wrong with the archive, in words.
pub fn from_zip(archive: &Path, wanted: &[Wanted]) -> Result<Vec<Vec<u8>>, String> {
    let file = File::open(archive).map_err(|error| error.to_string())?;
    let mut zip = zip::ZipArchive::new(file).map_err(|error| format!("not a zip archive: {error}"))?;
    if zip.len() > ENTRIES_MAX {
        return Err(format!("it has {} entries", zip.len()));
    }
    wanted
        .iter()
        .map(|want| {
            let entry = zip.by_name(want.path).map_err(|error| format!("{}: {error}", want.path))?;
            if !entry.is_file() {
                return Err(format!("{} is not a file", want.path));
            }
            read_exactly(entry, want)
        })
        .collect()
}

/// Returns the wanted files of a gzipped tar archive, in their order.
///
/// # Errors
/// What is wrong with the archive, in words.
pub fn from_tgz(archive: &Path, wanted: &[Wanted]) -> Result<Vec<Vec<u8>>, String> {
    let file = File::open(archive).map_err(|error| error.to_string())?;
    let unpacked = flate2::read::GzDecoder::new(file).take(UNPACKED_BYTES_MAX);
    let mut tar = tar::Archive::new(unpacked);
    let mut found: Vec<Option<Vec<u8>>> = vec![None; wanted.len()];
    let entries = tar.entries().map_err(|error| format!("not a tar archive: {error}"))?;
    for entry in entries.take(ENTRIES_MAX) {
        let entry = entry.map_err(|error| format!("not a whole tar archive: {error}"))?;
        let name = entry.path_bytes().into_owned();
        let Some(index) = wanted.iter().position(|want| want.path.as_bytes() == name) else { continue };
        if !entry.header().entry_type().is_file() {
            return Err(format!("{} is not a file", wanted[index].path));
        }
        found[index] = Some(read_exactly(entry, &wanted[index])?);
        if found.iter().all(Option::is_some) {
            break;
        }
    }
    found
        .into_iter()
        .zip(wanted)
        .map(|(found, want)| found.ok_or_else(|| format!("{} is missing", want.path)))
        .collect()
}

fn read_exactly(entry: impl Read, want: &Wanted) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    entry.take(want.bytes + 1).read_to_end(&mut bytes).map_err(|error| format!("{}: {error}", want.path))?;
    if bytes.len() as u64 == want.bytes { Ok(bytes) } else { Err(format!("{} has another size", want.path)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const WANTED: [Wanted; 2] = [Wanted { path: "a/first", bytes: 5 }, Wanted { path: "a/second", bytes: 3 }];

    fn zip_of(entries: &[(&str, &[u8])]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let mut zip = zip::ZipWriter::new(file.as_file());
        for (name, bytes) in entries {
            zip.start_file(*name, zip::write::SimpleFileOptions::default()).expect("an entry");
            zip.write_all(bytes).expect("its bytes");
        }
        zip.finish().expect("an archive");
        file
    }

    fn tgz_of(entries: &[(&str, &[u8], tar::EntryType)]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(file.as_file(), flate2::Compression::fast()));
        for (name, bytes, kind) in entries {
            let mut header = tar::Header::new_gnu();
            // Written as it is: the builder itself would refuse a name that leads out of the archive.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            tar.append(&header, *bytes).expect("an entry");
        }
        tar.into_inner().and_then(|gz| gz.finish().map(|_| ())).expect("an archive");
        file
    }

    #[test]
    fn takes_the_wanted_files_in_the_order_wanted() {
        let zip = zip_of(&[("a/second", b"two"), ("other", b"x"), ("a/first", b"first")]);
        assert_eq!(from_zip(zip.path(), &WANTED), Ok(vec![b"first".to_vec(), b"two".to_vec()]));
        let file = tar::EntryType::Regular;
        let tgz = tgz_of(&[("a/second", b"two", file), ("other", b"x", file), ("a/first", b"first", file)]);
        assert_eq!(from_tgz(tgz.path(), &WANTED), Ok(vec![b"first".to_vec(), b"two".to_vec()]));
    }

    #[test]
    fn an_entry_that_leads_out_of_the_archive_is_not_the_one_wanted() {
        for name in ["../a/first", "/a/first", "a/../a/first", "./a/first"] {
            let zip = zip_of(&[(name, b"first"), ("a/second", b"two")]);
            assert!(from_zip(zip.path(), &WANTED).is_err(), "{name}");
            let file = tar::EntryType::Regular;
            let tgz = tgz_of(&[(name, b"first", file), ("a/second", b"two", file)]);
            assert!(from_tgz(tgz.path(), &WANTED).is_err(), "{name}");
        }
    }

    #[test]
    fn a_link_in_place_of_a_file_is_refused() {
        for kind in [tar::EntryType::Symlink, tar::EntryType::Link, tar::EntryType::Directory] {
            let tgz = tgz_of(&[("a/first", b"", kind), ("a/second", b"two", tar::EntryType::Regular)]);
            assert_eq!(from_tgz(tgz.path(), &WANTED), Err("a/first is not a file".to_owned()));
        }
    }

    #[test]
    fn a_file_of_another_size_is_refused_without_being_read_whole() {
        let long = vec![0_u8; 1 << 20];
        for bytes in [&b"firs"[..], &b"first!"[..], &long] {
            let zip = zip_of(&[("a/first", bytes), ("a/second", b"two")]);
            assert_eq!(from_zip(zip.path(), &WANTED), Err("a/first has another size".to_owned()));
            let file = tar::EntryType::Regular;
            let tgz = tgz_of(&[("a/first", bytes, file), ("a/second", b"two", file)]);
            assert_eq!(from_tgz(tgz.path(), &WANTED), Err("a/first has another size".to_owned()));
        }
    }

    #[test]
    fn a_cut_archive_is_an_error_and_not_a_short_file() {
        let file = tar::EntryType::Regular;
        let tgz = tgz_of(&[("a/first", b"first", file), ("a/second", b"two", file)]);
        let bytes = std::fs::read(tgz.path()).expect("the archive");
        for len in [0, 1, 10, bytes.len() / 2] {
            let cut = tempfile::NamedTempFile::new().expect("a temporary file");
            std::fs::write(cut.path(), &bytes[..len]).expect("a write");
            assert!(from_tgz(cut.path(), &WANTED).is_err(), "{len} bytes");
            assert!(from_zip(cut.path(), &WANTED).is_err(), "{len} bytes");
        }
    }
}
