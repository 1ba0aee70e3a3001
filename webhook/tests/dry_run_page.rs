//! The page about dry runs tells what the program prints.

#[test]
fn the_page_about_dry_runs_tells_what_is_printed() {
    trycmd::TestCases::new().case("../docs/dry-run.md");
}
