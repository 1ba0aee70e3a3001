//! A bounded folder of records. The oldest are deleted first. Only one process may write to it; any process may read
//! it.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::Record;

/// The name prefix of unfinished files.
const UNFINISHED: &str = ".record-";

/// The limits of a folder.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Maximum number of files.
    pub files: usize,
    /// Maximum number of bytes of all files.
    pub bytes: u64,
}

/// A folder of records.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    bounds: Bounds,
    /// Names and sizes, oldest first.
    files: VecDeque<(String, u64)>,
    bytes: u64,
}

impl Folder {
    /// Opens a folder, and creates it if necessary. From now on it stays within its limits. Files that are not records
    /// are not touched.
    ///
    /// # Errors
    /// If it cannot be created or read.
    pub(crate) fn open(path: &Path, bounds: Bounds) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let mut files = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(UNFINISHED) {
                // A leftover of a process that was killed.
                fs::remove_file(entry.path())?;
            } else if id_of(&name).is_some() {
                files.push((name, entry.metadata()?.len()));
            }
        }
        files.sort();
        let bytes = files.iter().map(|(_, size)| size).sum();
        let mut folder = Self { path: path.to_owned(), bounds, files: files.into(), bytes };
        folder.make_room(0, 0)?;
        Ok(folder)
    }

    /// Writes a record atomically. Other users cannot read it.
    ///
    /// # Errors
    /// If it cannot be written, or is larger than the limit of the folder.
    pub(crate) fn write(&mut self, record: &Record) -> io::Result<()> {
        let name = name(record)?;
        let text = serde_json::to_vec(record)?;
        let size = text.len() as u64;
        if size > self.bounds.bytes {
            let message =
                format!("the record has {size} bytes, and all of the folder may have {}", self.bounds.bytes);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        self.make_room(1, size)?;
        let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.path)?;
        file.write_all(&text)?;
        file.persist(self.path.join(&name))?;
        self.bytes += size;
        self.files.push_back((name, size));
        Ok(())
    }

    /// Deletes the oldest records until there is room for this many more files and bytes.
    fn make_room(&mut self, files: usize, bytes: u64) -> io::Result<()> {
        while self.files.len() + files > self.bounds.files || self.bytes + bytes > self.bounds.bytes {
            let Some((name, size)) = self.files.pop_front() else { return Ok(()) };
            match fs::remove_file(self.path.join(&name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    self.files.push_front((name, size));
                    return Err(error);
                }
                _ => self.bytes -= size,
            }
        }
        Ok(())
    }
}

/// Returns the file of a decision in a folder, if there is one; the newest if there are several.
///
/// # Errors
/// If the folder cannot be read.
pub fn find(folder: &Path, id: &str) -> io::Result<Option<PathBuf>> {
    Ok(list(folder)?.into_iter().rfind(|(_, found)| found == id).map(|(file, _)| file))
}

/// Returns the files of a folder and the ids of their decisions, oldest first.
///
/// # Errors
/// If the folder cannot be read.
pub fn list(folder: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if let Some(id) = entry.file_name().to_str().and_then(id_of) {
            files.push((entry.path(), id.to_owned()));
        }
    }
    files.sort();
    Ok(files)
}

/// Returns a file name that sorts by time: `20260201T120000.000000Z-<id>.json`.
fn name(record: &Record) -> io::Result<String> {
    if !is_id(&record.id) {
        return Err(io::Error::new(io::ErrorKind::InvalidFilename, "the review's uid is no name of a file"));
    }
    Ok(format!("{}-{}.json", record.facts.now.strftime("%Y%m%dT%H%M%S%.6fZ"), record.id))
}

fn id_of(name: &str) -> Option<&str> {
    let (time, id) = name.strip_suffix(".json")?.split_once('-')?;
    let is_time = time.len() == "20260201T120000.000000Z".len() && time.ends_with('Z');
    Some(id).filter(|id| is_time && is_id(id))
}

/// Returns true for an id in the form that the API server uses. A uid can be any text that the caller sends: it must
/// not lead out of the folder.
fn is_id(id: &str) -> bool {
    const LONGEST: usize = 64;
    (1..=LONGEST).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}
