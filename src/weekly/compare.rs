//! What a week's decision was worth: an experiment in the week after, with what else could have been in use beside it.

use anyhow::Result;

use super::Loop;
use crate::ab;
use crate::fake;
use crate::judge::{Design, Lift};
use crate::rewriter::release;

/// Lifts of VV10s per search in the week after.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lifts {
    pub in_use: Option<Lift>,
    pub candidate: Option<Lift>,
    pub first: Option<Lift>,
    pub ungated: Option<Lift>,
}

impl Loop<'_> {
    /// Of what is in use and of the first release, of the candidate, and of the model without a gate, against no rewriting.
    pub(super) fn lifts(
        &self,
        week: u32,
        [in_use, first]: [i64; 2],
        candidate: &str,
        ungated: Option<&str>,
    ) -> Result<Lifts> {
        let (in_use, first) = (release::name(in_use), release::name(first));
        let mut treatments = vec![in_use.clone()];
        for other in [Some(first.as_str()), Some(candidate), ungated].into_iter().flatten() {
            if treatments.iter().all(|known| known != other) {
                treatments.push(other.to_owned());
            }
        }
        let after = self.recipe.world.weeks + week + 1;
        let plan =
            ab::Plan { control: "never", treatments: treatments.clone(), design: Design::Paired, weeks: vec![after] };
        fake::Do::for_serving(self.workspace, &self.recipe)?;
        let found = ab::run(self.workspace, &self.recipe, &plan)?;
        let lift = |name: &str| {
            let place = treatments.iter().position(|known| known == name)?;
            let treatment = found.trials.first()?.treatments.get(place)?;
            Lift::of(&treatment.rows.first()?.all?)
        };
        Ok(Lifts {
            in_use: lift(&in_use),
            candidate: lift(candidate),
            first: lift(&first),
            ungated: ungated.and_then(lift),
        })
    }
}
