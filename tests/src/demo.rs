//! The demo.
/// Runs the demo.
///
/// # Errors
/// If a step does not do what it shows.
pub fn run(_: &std::path::Path) -> anyhow::Result<()> {
    Ok(())
}
