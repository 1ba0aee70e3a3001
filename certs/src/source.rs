//! Certificates from the files of a mounted Secret.
//!
//! kubelet replaces such files by swapping one symbolic link, `..data`, to a new directory. Both files are read
//! through the directory that the link named at one moment, so that a certificate is never paired with the key of its
//! successor. They are polled rather than watched, because a poll does not miss anything.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::resolver::{InstallError, ReloadableResolver, Swap};

/// Files without a usable certificate.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file cannot be read.
    #[error("failed to read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The content of the files is not usable.
    #[error("failed to use the certificate in {path}")]
    Install {
        /// The certificate file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: InstallError,
    },
}

/// A certificate file and a key file.
#[derive(Debug, Clone)]
pub struct FileSource {
    certificate: PathBuf,
    key: PathBuf,
}

impl FileSource {
    /// The two files; usually `tls.crt` and `tls.key` of one mounted Secret.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { certificate: certificate.into(), key: key.into() }
    }

    /// Reads the files and installs their certificate.
    ///
    /// # Errors
    /// [`SourceError`]; the current certificate stays.
    pub fn load(&self, resolver: &ReloadableResolver, now: Timestamp) -> Result<Swap, SourceError> {
        let (certificate, key) = self.read()?;
        resolver
            .install(&certificate, &key, now)
            .map_err(|source| SourceError::Install { path: self.certificate.clone(), source })
    }

    fn read(&self) -> Result<(Vec<u8>, Vec<u8>), SourceError> {
        let together = self.certificate.parent() == self.key.parent();
        let data = self.certificate.parent().filter(|_| together).map(|folder| folder.join("..data"));
        // The link is followed once, for both files.
        let real = data.and_then(|data| std::fs::canonicalize(data).ok());
        let resolve = |path: &Path| match (&real, path.file_name()) {
            (Some(real), Some(name)) => real.join(name),
            _ => path.to_owned(),
        };
        Ok((read(&resolve(&self.certificate))?, read(&resolve(&self.key))?))
    }

    /// Reads the files every `interval`, forever, and reports each result.
    pub async fn watch(
        self,
        resolver: &ReloadableResolver,
        interval: Duration,
        mut report: impl FnMut(Result<Swap, SourceError>),
    ) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            report(self.load(resolver, Timestamp::now()));
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, SourceError> {
    std::fs::read(path).map_err(|source| SourceError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::authority::{Authority, KeyPairPem, Leaf};

    fn now() -> Timestamp {
        "2026-01-31T12:00:00Z".parse().unwrap()
    }

    fn leaf() -> KeyPairPem {
        Authority::generate(now(), "guard").unwrap().issue(now(), &Leaf::of_loopback()).unwrap()
    }

    /// Writes a generation of a Secret and points `..data` to it, as kubelet does.
    fn publish(folder: &Path, generation: &str, pem: &KeyPairPem) {
        let data = folder.join(generation);
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("tls.crt"), &pem.certificate).unwrap();
        std::fs::write(data.join("tls.key"), &pem.key).unwrap();
        symlink(generation, folder.join("..data_tmp")).unwrap();
        std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    }

    #[test]
    fn a_swap_of_the_data_link_swaps_the_certificate() {
        let folder = tempfile::tempdir().unwrap();
        publish(folder.path(), "..1", &leaf());
        for name in ["tls.crt", "tls.key"] {
            symlink(format!("..data/{name}"), folder.path().join(name)).unwrap();
        }
        let source = FileSource::new(folder.path().join("tls.crt"), folder.path().join("tls.key"));
        let resolver = ReloadableResolver::empty();
        assert_eq!(source.load(&resolver, now()).unwrap(), Swap::Swapped);
        assert_eq!(source.load(&resolver, now()).unwrap(), Swap::Unchanged);
        publish(folder.path(), "..2", &leaf());
        std::fs::remove_dir_all(folder.path().join("..1")).unwrap();
        assert_eq!(source.load(&resolver, now()).unwrap(), Swap::Swapped);
    }

    #[test]
    fn plain_files_work_and_a_missing_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("a.pem"), folder.path().join("b.pem"));
        let pem = leaf();
        std::fs::write(&certificate, &pem.certificate).unwrap();
        let source = FileSource::new(&certificate, &key);
        let resolver = ReloadableResolver::empty();
        let error = source.load(&resolver, now()).unwrap_err();
        assert_eq!(error.to_string(), format!("failed to read {}", key.display()));
        std::fs::write(&key, &pem.key).unwrap();
        assert_eq!(source.load(&resolver, now()).unwrap(), Swap::Swapped);
    }
}
