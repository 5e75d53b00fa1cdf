//! `core_rewriter`: learn when and how to rewrite a search query from what the searcher just did.
//!
//! The rooms are nouns and verbs. A verb is one folder and one subcommand; it uses nouns and never another verb.
//! A noun uses only nouns below it. `tests/suite/library/house.rs` holds this map against the `use` lines.

pub mod cli;

// Composing verbs.
pub mod bench;
pub mod demo;

// Verbs.
pub mod ab;
pub mod base;
pub mod describe;
pub mod doctor;
pub mod evaluate;
pub mod fake;
pub mod find;
pub mod gate;
pub mod index;
pub mod mine;
pub mod release;
pub mod report;
pub mod rewrite;
pub mod serve;
pub mod simulate;
pub mod train;
pub mod watch;
pub mod weekly;

// Nouns, high to low.
pub mod truth;

pub mod world;

pub mod rewriter;

pub mod judge;

pub mod search;

pub mod model;

pub mod corpus;

pub mod task;

pub mod logs;

pub mod journal;

pub mod store;

pub mod recipe;
