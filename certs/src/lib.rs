//! Certificate authority, leaf certificates and a rustls resolver that swaps them without a restart.
