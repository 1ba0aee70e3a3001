//! The notes of a release, which are a part of CHANGELOG.md.

use anyhow::Context as _;

const UNRELEASED: &str = "Unreleased";

/// Returns the section of a version. A version that has none yet gets the section of what is unreleased, but only if
/// nothing is published.
///
/// # Errors
/// Returns an error if there is no such section, or it is empty.
pub fn notes(changelog: &str, version: &str, is_published: bool) -> anyhow::Result<String> {
    let text = section(changelog, version)
        .or_else(|| section(changelog, UNRELEASED).filter(|_| !is_published))
        .with_context(|| format!("CHANGELOG.md: Required value: a heading \"## {version} - DATE\""))?;
    let text = text.trim();
    anyhow::ensure!(!text.is_empty(), "CHANGELOG.md: Invalid value: the section of {version} is empty");
    Ok(format!("{text}\n"))
}

/// Returns the text below the heading of a version, which a date may follow.
fn section<'a>(changelog: &'a str, version: &str) -> Option<&'a str> {
    let sections = changelog.split("\n## ").skip(1);
    let mut sections = sections.filter_map(|section| section.split_once('\n'));
    let is_named = |heading: &str| heading.split_whitespace().next() == Some(version);
    sections.find(|(heading, _)| is_named(heading)).map(|(_, text)| text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::notes;

    const CHANGELOG: &str = "# Changelog\n\nIntroduction.\n\n## Unreleased\n\n- new\n\n## 0.1.10 - 2026-12-24\n\n- ten\n\n\
        ### Fixed\n\n- a bug\n\n## 0.1.1 - 2026-12-01\n\n- one\n\n## 0.1.0 - 2026-11-30\n";

    #[test]
    fn the_notes_of_a_version_are_its_own_section_with_the_headings_below() {
        assert_eq!(notes(CHANGELOG, "0.1.10", true).unwrap(), "- ten\n\n### Fixed\n\n- a bug\n");
        assert_eq!(notes(CHANGELOG, "0.1.1", true).unwrap(), "- one\n");
    }

    #[test]
    fn unreleased_changes_are_the_notes_of_a_dry_run_but_never_of_a_published_release() {
        assert_eq!(notes(CHANGELOG, "0.2.0", false).unwrap(), "- new\n");
        let refused = notes(CHANGELOG, "0.2.0", true).unwrap_err().to_string();
        assert_eq!(refused, "CHANGELOG.md: Required value: a heading \"## 0.2.0 - DATE\"");
    }

    #[test]
    fn a_section_without_a_line_is_refused() {
        let refused = notes(CHANGELOG, "0.1.0", true).unwrap_err().to_string();
        assert_eq!(refused, "CHANGELOG.md: Invalid value: the section of 0.1.0 is empty");
    }
}
