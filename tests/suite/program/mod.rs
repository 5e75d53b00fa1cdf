//! Through the binary, as people run it.

mod bad_input;
mod base;
mod demo;
mod encoder;
mod endpoints;
mod gate;
mod grpo;
mod hidden;
mod incident;
mod index;
mod mpo;
mod releases;
mod relevance;
mod resume;
mod serve;
mod stop;
mod weekly;
