//! A recording of a terminal as an animated SVG, which needs no player.

use std::fmt::Write as _;

/// The columns and rows of the terminal.
const COLUMNS: usize = 104;
const ROWS: usize = 32;
/// The size of the picture, the height of a line and of the title bar, and the margin, in pixels.
const WIDTH: usize = COLUMNS * 783 / 100 + 2 * MARGIN;
const HEIGHT: usize = BAR + ROWS * LINE + MARGIN;
const LINE: usize = 18;
const BAR: usize = 34;
const MARGIN: usize = 14;
/// The time for which the end is shown before the recording begins again.
const REST: Milliseconds = 6000;

type Milliseconds = usize;

/// A part of the recording that appears at once: a title, a command or its output.
struct Block<'a> {
    lines: Vec<(Style, &'a str)>,
    /// The time until the next block appears.
    pause: Milliseconds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Title,
    Command,
    Output,
}

impl Style {
    const fn class(self) -> &'static str {
        match self {
            Self::Title => "t",
            Self::Command => "c",
            Self::Output => "o",
        }
    }

    /// Titles are numbered, and commands follow the name of a person and a dollar sign.
    fn of(line: &str) -> Self {
        let is_title = line.split_once(". ").is_some_and(|(number, _)| number.parse::<u8>().is_ok());
        let is_name = |name: &str| name.chars().all(|char| char.is_ascii_lowercase());
        if is_title {
            Self::Title
        } else if line.split_once("$ ").is_some_and(|(name, _)| is_name(name)) {
            Self::Command
        } else {
            Self::Output
        }
    }
}

/// Returns the recording of an output, with pauses in which people can read it.
pub(super) fn recording(output: &str, title: &str) -> String {
    let blocks = blocks(output);
    let mut lines = String::new();
    let mut stops = Vec::new();
    let (mut row, mut time) = (0, 0);
    for block in &blocks {
        for (style, line) in &block.lines {
            row += 1;
            let y = row * LINE;
            // Writing to a String cannot fail.
            let _ = writeln!(
                lines,
                r#"<text class="{}" x="{MARGIN}" y="{y}">{}</text>"#,
                style.class(),
                escaped(line)
            );
        }
        stops.push((time, row));
        time += block.pause;
    }
    let total = time + REST;
    let keyframes = stops.iter().fold(String::new(), |mut frames, (time, row)| {
        let hundredths = time * 10_000 / total;
        let (percent, rest) = (hundredths / 100, hundredths % 100);
        let _ = writeln!(frames, "{percent}.{rest:02}%{{transform:translateY({}px)}}", offset(*row));
        frames
    });
    let end = offset(row);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">
<title>{title}</title>
<style>
text{{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre;fill:#c9d1d9}}
.t{{fill:#56d4dd;font-weight:bold}}.c{{fill:#fff;font-weight:bold}}.n{{fill:#8b949e}}
.s{{transform:translateY({end}px);animation:s {total}ms step-end infinite}}
@keyframes s{{
{keyframes}100%{{transform:translateY({end}px)}}
}}
@media (prefers-reduced-motion:reduce){{.s{{animation:none}}}}
</style>
<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#0d1117"/>
<circle cx="20" cy="17" r="5" fill="#ff5f56"/><circle cx="38" cy="17" r="5" fill="#ffbd2e"/><circle cx="56" cy="17" r="5" fill="#27c93f"/>
<text class="n" x="{middle}" y="21" text-anchor="middle">{title}</text>
<svg y="{BAR}" width="{WIDTH}" height="{shown}"><g class="s">
{lines}</g></svg>
</svg>
"##,
        title = escaped(title),
        middle = WIDTH / 2,
        shown = ROWS * LINE,
    )
}

/// The shift that shows a row at the bottom, or the first ones at the top while there are few.
fn offset(row: usize) -> i64 {
    let rows = |rows: usize| i64::try_from(rows * LINE).unwrap_or_default();
    rows(ROWS) - rows(row) - 6
}

/// Splits an output into what appears at once: each title and each command, and what they print.
fn blocks(output: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    for line in output.lines() {
        let style = Style::of(line);
        let goes_on = style == Style::Output
            && blocks
                .last()
                .is_some_and(|block| block.lines.iter().all(|(style, _)| *style == Style::Output));
        let wrapped = wrapped(line).into_iter().map(|part| (style, part));
        match blocks.last_mut() {
            Some(block) if goes_on => block.lines.extend(wrapped),
            _ => blocks.push(Block { lines: wrapped.collect(), pause: 0 }),
        }
    }
    for block in &mut blocks {
        block.pause = match block.lines.first() {
            Some((Style::Title, _)) => 1400,
            Some((Style::Command, _)) => 900,
            _ => (900 + 160 * block.lines.len()).min(5000),
        };
    }
    blocks
}

/// The rows of a terminal that a line takes.
fn wrapped(line: &str) -> Vec<&str> {
    let mut rest = line;
    let mut rows = Vec::new();
    while let Some((end, _)) = rest.char_indices().nth(COLUMNS) {
        let (row, after) = rest.split_at(end);
        rows.push(row);
        rest = after;
    }
    rows.push(rest);
    rows
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::{COLUMNS, LINE, ROWS, Style, blocks, recording, wrapped};

    const OUTPUT: &str =
        "starting\n\n1. A title\njane$ kubectl get <x>\nfirst\nsecond\n2. Another\nworker$ do\nend\n";

    #[test]
    fn a_title_a_command_and_its_output_appear_one_after_another() {
        let blocks = blocks(OUTPUT);
        let found: Vec<_> = blocks.iter().map(|block| (block.lines[0].0, block.lines.len())).collect();
        let expected = [
            (Style::Output, 2),
            (Style::Title, 1),
            (Style::Command, 1),
            (Style::Output, 2),
            (Style::Title, 1),
            (Style::Command, 1),
            (Style::Output, 1),
        ];
        assert_eq!(found, expected);
        assert!(blocks.iter().all(|block| block.pause > 0));
    }

    #[test]
    fn yaml_and_sentences_are_not_taken_for_titles_or_commands() {
        for line in ["  uid: 1. 2", "Error from server: x", "- name: A$ b", "costs 5$ a day"] {
            assert_eq!(Style::of(line), Style::Output, "{line}");
        }
    }

    #[test]
    fn a_long_line_takes_several_rows_and_loses_nothing() {
        let line = "é".repeat(2 * COLUMNS + 3);
        let rows = wrapped(&line);
        assert_eq!((rows.len(), rows.concat()), (3, line));
    }

    #[test]
    fn the_picture_has_each_line_escaped_and_ends_with_the_last_one_at_the_bottom() {
        let picture = recording(OUTPUT, "make demo");
        assert_eq!(picture.matches("<text class=").count(), 1 + OUTPUT.lines().count());
        assert!(picture.contains("kubectl get &lt;x&gt;</text>"), "{picture}");
        let end = (ROWS - OUTPUT.lines().count()) * LINE - 6;
        assert!(picture.contains(&format!("100%{{transform:translateY({end}px)}}")), "{picture}");
    }
}
