//! Admission webhook for run namespaces and agent Jobs.
