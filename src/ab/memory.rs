//! What an arm has answered one person: lives of several arms begin alike, and a model says the same to the same moment.

use std::cell::RefCell;

use anyhow::Result;

use crate::logs::Context;

/// One answer, and the moment it was given in.
struct Answer {
    arm: Option<usize>,
    query: String,
    context: Context,
    rewrite: Option<String>,
}

/// Answers of all arms to one person; `None` is the control.
#[derive(Default)]
pub(super) struct Memory(RefCell<Vec<Answer>>);

impl Memory {
    /// An arm's answer to a moment, asked for only where it is new.
    ///
    /// # Errors
    /// Those of `ask`.
    pub fn recall(
        &self,
        arm: Option<usize>,
        (context, query): (&Context, &str),
        ask: impl FnOnce() -> Result<Option<String>>,
    ) -> Result<Option<String>> {
        let known = |one: &&Answer| one.arm == arm && one.query == query && one.context == *context;
        if let Some(answer) = self.0.borrow().iter().find(known) {
            return Ok(answer.rewrite.clone());
        }
        let rewrite = ask()?;
        let answer = Answer { arm, query: query.to_owned(), context: context.clone(), rewrite: rewrite.clone() };
        self.0.borrow_mut().push(answer);
        Ok(rewrite)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn an_arm_is_asked_once_for_the_same_moment_and_again_for_another() {
        let (memory, asked) = (Memory::default(), Cell::new(0));
        let here = Context { place: Some("rome".into()), ..Context::default() };
        let answer = |arm, context: &Context, query: &str| {
            let ask = || {
                asked.set(asked.get() + 1);
                Ok(Some(format!("{arm:?} {query}")))
            };
            memory.recall(arm, (context, query), ask).unwrap().unwrap()
        };
        assert_eq!(answer(None, &here, "jaguar"), "None jaguar");
        assert_eq!((answer(None, &here, "jaguar").as_str(), asked.get()), ("None jaguar", 1));
        assert_eq!(answer(Some(1), &here, "jaguar"), "Some(1) jaguar");
        assert_eq!(answer(None, &here, "puma"), "None puma");
        assert_eq!(answer(None, &Context::default(), "jaguar"), "None jaguar");
        assert_eq!(asked.get(), 4);
        let failed = memory.recall(None, (&here, "lynx"), || anyhow::bail!("gone"));
        assert!(failed.is_err() && answer(None, &here, "lynx") == "None lynx", "what failed is asked again");
    }
}
