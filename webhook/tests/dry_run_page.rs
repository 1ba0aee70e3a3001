//! The page about dry runs tells what the program prints.

#[test]
fn the_page_about_dry_runs_tells_what_is_printed_and_written() {
    trycmd::TestCases::new().case("../docs/dry-run.md");
    let written = include_str!("../../docs/dry-run.out/bare.yaml");
    assert!(include_str!("../../docs/dry-run.md").contains(&format!("```yaml\n{written}```")));
}
