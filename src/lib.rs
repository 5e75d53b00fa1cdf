//! `core_rewriter`: learn when and how to rewrite a search query from what the searcher just did.
//!
//! The rooms are nouns and verbs. A verb is one folder and one subcommand; it uses nouns and never another verb.
//! A noun uses only nouns below it. `tests/house.rs` holds this map against the `use` lines.
//!
//! Composing verbs: `demo`.
//! Verbs: `simulate`, `mine`, `train`, `serve`, `ab`, `watch`, `report`, `rewrite`, `doctor`.
//! Nouns, high to low: `world`, `rewriter`, `judge`, `search`, `model`, `task`, `logs`, `journal`, `store`, `recipe`.

pub mod doctor;
pub mod journal;
pub mod logs;
pub mod recipe;
pub mod report;
pub mod store;
pub mod watch;
