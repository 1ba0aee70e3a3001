//! A real control plane as a fixture for scenario tests, benchmarks and the demo.
