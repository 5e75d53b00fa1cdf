//! The section `[world]`: how big the synthetic world is, how it changes, and how its people behave.

use serde::{Deserialize, Serialize};

/// The synthetic world. What a value is for and what it was held against: `docs/world.md`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct World {
    /// What is searched for: `video` or `shop`.
    pub kind: Kind,
    /// Language of titles and queries: `en` or `zh`.
    pub language: Language,
    /// Videos (or products) in the catalogue, those of all simulated weeks together.
    pub videos: usize,
    /// People who search.
    pub people: usize,
    /// Weeks of log to simulate.
    pub weeks: u32,
    /// Weeks that the world goes on after the log: experiments take place in them.
    pub weeks_after: u32,
    /// Ambiguous heads taken from the lexicon.
    pub heads: usize,

    /// Videos published in a week, as a share of those that were there when the log began.
    pub births_per_week: f64,
    /// Days after which a video is watched half as often.
    pub half_life_days: f64,
    /// Share of watching that age does not touch.
    pub evergreen_share: f64,
    /// Share of senses that nobody films or wants before a week of their own, which lies after the first one.
    pub new_sense_share: f64,
    /// Standard deviation, over weeks, of the logarithm of how much a sense is wanted.
    pub trend: f64,
    /// Mean weeks that an interest or a habit of a person lasts.
    pub interest_weeks: f64,

    /// Mean sessions per person and week. Published is 6 a month (Yandex 2013); more of them let a small world of a few weeks
    /// yield the examples that a large site has in a day.
    pub sessions_per_week: f64,
    /// Mean needs searched for in a session (at least one).
    pub needs_per_session: f64,
    /// Share of sessions with more than one need.
    pub long_session_share: f64,

    /// Share of needs that are habits: the same thing, asked for in the same words.
    pub habit_share: f64,
    /// Share of needs for one known video, asked for by words of its title.
    pub known_share: f64,
    /// Share of needs that are functional (weather, login): rewriting them is wrong.
    pub functional_share: f64,
    /// Share of the other needs, those for a sense, that are about something trending, whatever was watched.
    pub trending_share: f64,
    /// Share of needs for a sense that go against what the person just watched.
    pub against_history_share: f64,
    /// Share of needs for a sense that are phrased as the bare ambiguous head.
    pub ambiguous_share: f64,
    /// Share of needs for a sense whose words say its facet and leave the sense open.
    pub facet_share: f64,
    /// Share of needs for a sense phrased with a colloquial word that no title has.
    pub colloquial_share: f64,
    /// Share of queries with a typing error.
    pub typo_share: f64,
    /// Share of (head, sense) pairs held back from the first weeks, so that copying from the context is testable.
    pub new_pair_share: f64,

    /// Chance that a person who looks at a video of what they want opens it, when its words say what it is.
    pub attraction: f64,
    /// Share of pages of which nothing is opened, whatever is on them: people only read what is shown.
    pub reading_share: f64,
    /// Chance to go on looking after an answer was stayed with.
    pub look_on_share: f64,
    /// Chance that a video which is off the need and opened all the same is stayed with.
    pub linger_share: f64,
    /// Chance to try again after a page without an answer in it; a page with one in it is more often just left.
    pub persistence: f64,
    /// Shops: chance that a product which is what was wanted, at its usual price, is bought after a satisfying look.
    pub buy_share: f64,
}

/// What people search for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Short videos, which are watched.
    #[default]
    Video,
    /// Products, which have a price and may be bought.
    Shop,
}

/// What people speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// English.
    #[default]
    En,
    /// Chinese, without spaces between words.
    Zh,
}

impl Default for World {
    fn default() -> Self {
        Self {
            kind: Kind::Video,
            language: Language::En,
            videos: 20_000,
            people: 2_000,
            weeks: 4,
            weeks_after: 4,
            heads: 100,
            births_per_week: 0.05,
            half_life_days: 6.0,
            evergreen_share: 0.5,
            new_sense_share: 0.2,
            trend: 0.5,
            interest_weeks: 6.0,
            sessions_per_week: 8.0,
            needs_per_session: 1.8,
            long_session_share: 0.14,
            habit_share: 0.33,
            known_share: 0.08,
            functional_share: 0.06,
            trending_share: 0.1,
            against_history_share: 0.15,
            ambiguous_share: 0.24,
            facet_share: 0.07,
            colloquial_share: 0.06,
            typo_share: 0.05,
            new_pair_share: 0.1,
            attraction: 0.8,
            reading_share: 0.45,
            look_on_share: 0.85,
            linger_share: 0.25,
            persistence: 0.6,
            buy_share: 0.07,
        }
    }
}
