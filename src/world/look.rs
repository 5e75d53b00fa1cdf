//! A person in front of a result page: what is seen, clicked and stayed with.

use rand::Rng;

use super::draw::{chance, log_normal};
use super::hints::Hints;
use super::needs::{Need, Want};
use super::people::Person;
use super::videos::{Hidden, Topic};
use super::{World, phrasing::Phrasing};
use crate::logs::Click;
use crate::recipe::{Kind, stream};

/// Chance that a rank is looked at: the position-bias table that public click simulators share. A person with a need looks
/// further down; [`Person::haste`] is the exponent.
const EXAMINE: [f64; 10] = [0.68, 0.61, 0.48, 0.34, 0.28, 0.20, 0.11, 0.10, 0.08, 0.06];
/// A dwell that ends a need, in seconds (the "long" view of VV10s).
pub(super) const SATISFIED_S: f64 = 10.0;
/// Standard deviation of the logarithm of how long an answer is stayed with.
const STAY_SIGMA: f64 = 1.0;

/// Share of functional answers that are read on the page and not opened, by those who would open something: one abandonment
/// in five is no failure (Diriye et al. 2012).
const READ_IN_PASSING: f64 = 0.3;
/// Chance that seeing an answer of another kind is enough for somebody who opens nothing.
const ENOUGH_TO_SEE: f64 = 0.2;
/// How much fewer open nothing when they asked for one video by its title.
const READERS_OF_KNOWN: f64 = 0.3;
/// Chance to open the very video that was asked for by its title.
const RECOGNISED: f64 = 0.9;
/// How much less often something is opened after an answer was stayed with.
const AFTER_AN_ANSWER: f64 = 0.4;

/// What came of a page.
pub(super) struct Looked {
    /// In time order.
    pub clicks: Vec<Click>,
    /// A video that answers the need was stayed with for ten seconds, or read where it stood.
    pub satisfied: bool,
    /// A video that answers the need was looked at.
    pub promising: bool,
    /// When the person was done with it, Unix milliseconds.
    pub end_ms: i64,
    /// Places that were looked at, see [`SearchTruth::seen`].
    pub seen: u64,
}

/// Which draw of the world this is: `[person, week, session, need, step]`.
pub(super) type Moment = [u64; 5];

impl World {
    /// Lets a person look at a page.
    ///
    /// Whether a rank is looked at is drawn per rank, what a video does to a person per video: two arms of an experiment
    /// that show different pages share both.
    pub(super) fn look(&self, person: &Person, need: &Need, shown: &[String], at: Moment, start_ms: i64) -> Looked {
        let mut eyes = stream(self.seed, "world.eyes", &at);
        // Who asks for one video by its title has come to watch it.
        let fewer = if matches!(need.want, Want::Video { .. }) { READERS_OF_KNOWN } else { 1.0 };
        let only_reads = chance(&mut eyes, self.settings.reading_share * fewer);
        let enough = chance(&mut eyes, ENOUGH_TO_SEE);
        let looks_on = chance(&mut eyes, self.settings.look_on_share);
        let mut looked =
            Looked { clicks: Vec::new(), satisfied: false, promising: false, end_ms: start_ms + 800, seen: 0 };
        for (place, id) in shown.iter().enumerate() {
            let examine = EXAMINE.get(place).copied().unwrap_or(0.05).powf(person.haste);
            let (seen, glance_s) = (chance(&mut eyes, examine), eyes.random_range(0.4..1.2));
            if !seen {
                continue;
            }
            looked.seen |= 1_u64.checked_shl(place as u32).unwrap_or(0);
            looked.end_ms += (1_000.0 * glance_s) as i64;
            let Some(video) = self.video(id) else { continue };
            let (hidden, duration_s) = (&self.hidden[video], f64::from(self.docs.duration_s(video)));
            let grade = need.grade(&self.hidden, video);
            looked.promising |= grade > 0.0;
            let mut mind = stream(self.seed, "world.mind", &[&at[..], &[video as u64]].concat());
            let in_passing = chance(&mut mind, READ_IN_PASSING);
            let reads = match need.want {
                Want::Functional { .. } => only_reads || in_passing,
                _ => only_reads && enough,
            };
            if reads && grade == 1.0 {
                looked.satisfied = true;
                break;
            }
            let willing = match looked.satisfied {
                _ if only_reads => 0.0,
                true => AFTER_AN_ANSWER,
                false => 1.0,
            };
            if !chance(&mut mind, willing * self.attraction(person, need, grade, hidden)) {
                continue;
            }
            let lingers = chance(&mut mind, self.settings.linger_share);
            // Products have no length.
            let most_s = if duration_s > 0.0 { duration_s } else { f64::INFINITY };
            let dwell_s = dwell_s(grade, lingers, hidden.quality, &mut mind).min(most_s);
            let answers = grade > 0.0 && dwell_s >= SATISFIED_S;
            let buys = chance(&mut mind, self.settings.buy_share / hidden.price);
            let bought = buys && answers && grade == 1.0 && self.settings.kind == Kind::Shop;
            let (rank, time_ms) = (place as u32 + 1, looked.end_ms);
            looked.clicks.push(Click { doc: id.clone(), rank, time_ms, dwell_s: Some(dwell_s as f32), bought });
            looked.end_ms += (1_000.0 * dwell_s) as i64 + 500;
            looked.satisfied |= answers;
            if looked.satisfied && !looks_on {
                break;
            }
        }
        looked
    }

    /// Chance to click what is looked at. People see title and picture; without words for the sense they are less sure. What is
    /// off the need is opened by mistake, or because the person likes such things.
    fn attraction(&self, person: &Person, need: &Need, grade: f64, video: &Hidden) -> f64 {
        let sure = |clear: f64, unclear: f64| if video.told { clear } else { unclear };
        let (full, liked) = (self.settings.attraction, |s| person.interests.contains(&s));
        match (grade, video.topic) {
            (1.0, _) if matches!(need.want, Want::Video { .. }) => RECOGNISED,
            (1.0, _) => full * sure(1.0, 0.75),
            (g, _) if g > 0.0 => full * sure(0.5, 0.45),
            (_, Topic::Sense(sense)) if liked(sense) => 0.1,
            _ if self.same_head(need, video) => sure(0.05, 0.2),
            _ => 0.03,
        }
    }

    fn same_head(&self, need: &Need, video: &Hidden) -> bool {
        let head = |sense: usize| self.lexicon.senses[sense].head;
        matches!((need.want, video.topic), (Want::Sense { sense, .. }, Topic::Sense(s)) if head(s) == head(sense))
    }
}

/// Log-normal stay: medians of 25 s for an answer, 8 s for the right thing from another side, 1.2 s for a mistake, and 15 s
/// for what was not asked for and pleases. So wide that the Weibull distribution that fits all stays has a shape below 1.
fn dwell_s(grade: f64, lingers: bool, quality: f64, rng: &mut rand_chacha::ChaCha8Rng) -> f64 {
    match grade {
        1.0 => log_normal(rng, 25.0 * quality, STAY_SIGMA),
        g if g > 0.0 => log_normal(rng, 8.0 * quality, STAY_SIGMA),
        _ if lingers => log_normal(rng, 15.0 * quality, STAY_SIGMA),
        _ => log_normal(rng, 1.2, 0.6),
    }
}

/// What the world knows about one search of a log. Nothing that trains, mines or ranks may read it.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchTruth {
    /// What the person wanted.
    pub need: Need,
    /// How the query says it.
    pub phrasing: Phrasing,
    /// A typing error is in it.
    pub typo: bool,
    /// 0 for the first query of a need, 1 and 2 for its reformulations.
    pub step: u32,
    /// The rewrite that the search path used.
    pub rewritten: Option<String>,
    /// How much each shown document answers the need, in [0, 1], from the top down.
    pub grades: Vec<f64>,
    /// An answer was stayed with for ten seconds, or read on the page.
    pub satisfied: bool,
    /// Bit n is set where the person looked at the n-th place of the page, counted from 0; the first 64 are kept.
    pub seen: u64,
    /// What the videos watched before say about the need.
    pub hints: Hints,
}
