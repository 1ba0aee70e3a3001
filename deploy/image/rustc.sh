#!/bin/sh
# The compiler for the image, as Cargo's RUSTC_WRAPPER: it removes the build's paths from its output. Cargo's RUSTFLAGS
# would not be enough, because macros and build scripts are compiled without them, and their hashes appear in the crates
# that use them.
exec "$@" --remap-path-prefix="$GUARD_SOURCE=/guard" --remap-path-prefix="$GUARD_CARGO=/cargo"
