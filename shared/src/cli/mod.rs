//! What the command lines of both programs share.

pub mod exit;
pub mod output;
pub mod pages;
