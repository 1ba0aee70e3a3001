#!/bin/sh
# The compiler of the image, as Cargo's RUSTC_WRAPPER: where it works does not show in what it makes. Cargo's own
# RUSTFLAGS do not reach the macros and build scripts, whose hashes show in what uses them.
exec "$@" --remap-path-prefix="$GUARD_SOURCE=/guard" --remap-path-prefix="$GUARD_CARGO=/cargo"
