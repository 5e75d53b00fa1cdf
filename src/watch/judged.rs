//! What a gate and a weekly loop reported, in bounded memory.

use serde::Deserialize;
use serde_json::Value;

use super::view::text;
use crate::judge::{Check, Verdict, Week, Weeks};

/// Most checks kept of one verdict; a gate has a dozen.
const CHECKS: usize = 64;
/// Most weeks kept, the newest.
const WEEKS: usize = 520;

/// The newest reports of one run that could be read.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Judged {
    pub verdict: Option<Verdict>,
    pub weeks: Option<Weeks>,
    /// Whether the newest report was of another version, and passed over.
    pub unread: bool,
}

impl Judged {
    /// Takes in the next report; one of another title says nothing here.
    pub(super) fn take(&mut self, title: &str, body: &Value) {
        self.unread = match title {
            "gate" => replaced(&mut self.verdict, Verdict::deserialize(body).ok().map(tidy)),
            "weekly" => replaced(&mut self.weeks, Weeks::deserialize(body).ok().map(tidy_weeks)),
            _ => return,
        };
    }

    /// Checks of the verdict, the main one first.
    pub(super) fn checks(&self) -> &[Check] {
        self.verdict.as_ref().map_or(&[], |verdict| &verdict.checks)
    }

    /// Weeks from the newest to the oldest.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Week> {
        self.weeks.iter().flat_map(|weeks| weeks.rows.iter().rev())
    }

    /// Their numbers.
    pub(super) fn week_ids(&self) -> Vec<i64> {
        self.newest_first().map(|week| i64::from(week.week)).collect()
    }
}

/// Puts what was read in place of what was there; answers whether there was nothing to read.
fn replaced<T>(place: &mut Option<T>, read: Option<T>) -> bool {
    let unread = read.is_none();
    if !unread {
        *place = read;
    }
    unread
}

fn tidy(mut verdict: Verdict) -> Verdict {
    verdict.checks.truncate(CHECKS);
    let Verdict { incumbent, candidate, unit, checks, .. } = &mut verdict;
    let of_checks = checks.iter_mut().flat_map(|check| [&mut check.measure, &mut check.rule]);
    [incumbent, candidate, unit].into_iter().chain(of_checks).for_each(|said| *said = text(said));
    verdict
}

fn tidy_weeks(mut weeks: Weeks) -> Weeks {
    weeks.log = text(&weeks.log);
    let rows = weeks.rows.split_off(weeks.rows.len().saturating_sub(WEEKS));
    weeks.rows = rows.into_iter().map(|week| Week { verdict: tidy(week.verdict), ..week }).collect();
    weeks
}
