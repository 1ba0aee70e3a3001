//! The pictures of README.md: a recording of the demo and a screenshot of the page, both of real runs.

mod page;
mod terminal;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use clap::Parser;

/// Record the demo and take a screenshot of the page
#[derive(Debug, Parser)]
pub struct Args {
    /// Directory to write to
    #[arg(long, default_value = "docs/images")]
    out: PathBuf,
}

impl Args {
    /// Writes the pictures.
    ///
    /// # Errors
    /// Returns an error if the demo or the page fails, or a file cannot be written.
    pub fn run(&self, playground: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(&self.out).with_context(|| format!("failed to create {}", self.out.display()))?;
        let ran = Command::new(playground).arg("demo").output().context("failed to start the demo")?;
        ensure!(ran.status.success(), "the demo failed: {}", String::from_utf8_lossy(&ran.stderr));
        let output = String::from_utf8(ran.stdout).context("the demo printed no text")?;
        fs::write(self.out.join("demo.svg"), terminal::recording(&output, "make demo"))?;
        page::screenshots(playground, &self.out)
    }
}
