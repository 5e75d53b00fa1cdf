//! What nobody in a group said. Where all completions earned the same nothing can be learnt from their differences, and a policy that
//! is sure and wrong is never told so: an answer that would have earned more takes the place of the last of them.

use anyhow::Result;

use super::{Judged, Rollouts, Source};
use crate::judge::reward::{Said, total};
use crate::model::{Completion, Policy};
use crate::task::Target;

impl Rollouts {
    /// Puts into every group without a difference what earns the most of `<reject>` and the example's own answer, where that is more
    /// than the group earned. Groups that ask for tags stay as they are.
    ///
    /// # Errors
    /// An answer that cannot be encoded. One that cannot be judged is not put: so few are asked at once that all of them may fail by
    /// one page, which ends no run; an index that is gone shows in the next completions.
    pub(super) fn put_unsaid(&self, policy: &Policy, groups: &mut [Judged]) -> Result<()> {
        let Source::Rewriting(rewriting) = &self.source else { return Ok(()) };
        let weights = self.source.weights();
        let mut unsaid: Vec<(usize, Target)> = Vec::new();
        for (at, group) in groups.iter().enumerate().filter(|(_, group)| group.same(&weights)) {
            let own = rewriting.target(group.place).map(|text| Target::Rewrite(text.to_owned()));
            unsaid.extend(std::iter::once(Target::Reject).chain(own).map(|answer| (at, answer)));
        }
        if unsaid.is_empty() {
            return Ok(());
        }
        let said: Vec<Said> = unsaid.iter().map(|(_, answer)| said(answer)).collect();
        let asked: Vec<_> = unsaid.iter().zip(&said).map(|((at, _), said)| (groups[*at].place, said)).collect();
        let Ok(judged) = self.source.judge(&asked) else { return Ok(()) };
        for (((at, answer), said), parts) in unsaid.iter().zip(said).zip(judged) {
            let group = &mut groups[*at];
            let last = group.parts.len() - 1;
            let earned = total(&parts, &weights).zip(total(&group.parts[last], &weights));
            if earned.is_some_and(|(unsaid, said)| unsaid > said + 1e-8) {
                let ids = policy.tokenizer.completion(answer)?;
                group.completions[last] = Completion { ids, logprobs: Vec::new(), finished: true, forwards: 0 };
                (group.said[last], group.parts[last], group.unsaid) = (said, parts, true);
            }
        }
        Ok(())
    }
}

fn said(answer: &Target) -> Said {
    match answer {
        Target::Rewrite(text) => Said::Rewrite(text.clone()),
        Target::Reject => Said::Reject,
    }
}
