//! Decoding: what is the same wherever the decoder runs. Rows of a batch are drawn for, and leave when they end.

use std::borrow::Cow;

use anyhow::{Context, Result, ensure};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::cancel::Cancel;
use super::config::Config;
use super::sampling::{Decoding, Within, distribution, draw, log_probability, only};
use super::trie::{Next, Place, Step, Trie};
use super::word_trie::WordTrie;

/// Rows decoded together; more are decoded in turns, to bound the memory of prompts and caches.
const ROWS_AT_ONCE: usize = 64;

/// One decoded completion.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// Token ids; the end token, when there is one, is the last.
    pub ids: Vec<u32>,
    /// Per id, its log-probability under the model at temperature 1 without any filter, in nats. Empty for one decoded
    /// within a trie, where the model is not asked for every token, and for one that had to have its share
    /// ([`Decoding::reluctant`]): `Policy::score` tells them.
    pub logprobs: Vec<f32>,
    /// Whether an end token closed it, not the limit.
    pub finished: bool,
    /// Forward passes that were computed for it, its prompt's among them.
    pub forwards: usize,
}

/// Decodes one completion per prompt; see `Policy::generate_until`. `decode` runs a turn's rows to their ends.
pub(super) fn generate(
    config: &Config,
    prompts: &[Vec<u32>],
    settings: &Decoding,
    seed: u64,
    cancel: &Cancel,
    decode: impl Fn(&mut [Row]) -> Result<()>,
) -> Result<Vec<Completion>> {
    settings.check()?;
    if let Some(largest) = settings.within.as_ref().map(largest_of) {
        ensure!(
            (largest as usize) < config.vocab,
            "completions with id {largest} are of another tokenizer: the model's vocabulary has {} ids",
            config.vocab
        );
    }
    for (i, prompt) in prompts.iter().enumerate() {
        check_ids(config, prompt).with_context(|| format!("prompt {i}"))?;
    }
    let mut completions = Vec::with_capacity(prompts.len());
    for (turn, part) in prompts.chunks(ROWS_AT_ONCE).enumerate() {
        let first = turn * ROWS_AT_ONCE;
        let mut rows: Vec<Row> =
            (first..).zip(part).map(|(i, prompt)| Row::new(config, prompt, settings, (seed, i), cancel)).collect();
        decode(&mut rows)?;
        completions.extend(rows.into_iter().map(|row| row.out));
    }
    Ok(completions)
}

fn largest_of(within: &Within) -> u32 {
    match within {
        Within::One(trie) => trie.largest(),
        Within::Each(words) => words.iter().flatten().map(WordTrie::largest).max().unwrap_or(0),
    }
}

/// What one row is kept within.
#[derive(Clone, Copy)]
enum Walked<'a> {
    Trie(&'a Trie),
    Words(&'a WordTrie),
}

impl<'a> Walked<'a> {
    fn of(within: Option<&'a Within>, row: usize) -> Option<Self> {
        match within? {
            Within::One(trie) => Some(Self::Trie(trie)),
            Within::Each(words) => words.get(row)?.as_ref().map(Self::Words),
        }
    }

    fn start(self) -> Place {
        match self {
            Self::Trie(trie) => trie.start(),
            Self::Words(_) => WordTrie::start(),
        }
    }

    fn after(self, at: Place, id: u32) -> Option<Place> {
        match self {
            Self::Trie(trie) => trie.after(at, id),
            Self::Words(words) => words.after(at, id),
        }
    }

    fn next(self, at: Place) -> Next {
        match self {
            Self::Trie(trie) => trie.next(at),
            Self::Words(words) => words.next(at),
        }
    }

    /// Whether one completion alone may be said.
    fn decides(self) -> bool {
        let mut at = self.start();
        while let Next::Forced((_, behind)) = self.next(at) {
            at = behind;
        }
        matches!(self.next(at), Next::Over)
    }

    fn steps(self, at: Place) -> Cow<'a, [Step]> {
        match self {
            Self::Trie(trie) => trie.steps(at),
            Self::Words(words) => words.steps(at),
        }
    }
}

/// Checks that ids can be fed to the decoder.
///
/// # Errors
/// No ids at all, more than the model has positions, or an id beyond the embedding.
pub(super) fn check_ids(config: &Config, ids: &[u32]) -> Result<()> {
    ensure!(!ids.is_empty(), "there are no tokens: a prompt needs at least one");
    ensure!(
        ids.len() <= config.max_positions,
        "{} tokens are more than the {} positions of this model: shorten the context",
        ids.len(),
        config.max_positions
    );
    if let Some(id) = ids.iter().find(|id| **id as usize >= config.vocab) {
        anyhow::bail!("token id {id} is outside the model's vocabulary of {}", config.vocab);
    }
    Ok(())
}

/// A prompt and what has been decoded for it.
pub(super) struct Row<'a> {
    pub prompt: &'a [u32],
    /// Most tokens to decode.
    pub limit: usize,
    cancel: &'a Cancel,
    rng: ChaCha8Rng,
    out: Completion,
    /// Tokens of it that the decoder has been fed.
    fed: usize,
    /// The completions that may be said, and where it stands among them.
    within: Option<(Walked<'a>, Place)>,
    /// Log-probabilities of the reluctant completion, where it could be said, and of what is said without it so far.
    rivals: Option<(f64, f64)>,
    done: bool,
}

impl<'a> Row<'a> {
    fn new(
        config: &Config,
        prompt: &'a [u32],
        settings: &'a Decoding,
        (seed, index): (u64, usize),
        cancel: &'a Cancel,
    ) -> Self {
        // The stream depends on the prompt's index alone, never on who shares the batch.
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(index as u64);
        let limit = settings.max_new_tokens.min(config.max_positions - prompt.len());
        // A row without room is not even prefilled.
        let limit = if cancel.is_set() { 0 } else { limit };
        let out = Completion { ids: Vec::new(), logprobs: Vec::new(), finished: false, forwards: 0 };
        let within = Walked::of(settings.within.as_ref(), index).map(|walked| (walked, walked.start()));
        let mut row = Self { prompt, limit, cancel, rng, out, fed: 0, within, rivals: None, done: limit == 0 };
        if within.is_some_and(|(walked, _)| walked.decides()) {
            row.follow(settings);
        }
        row
    }

    /// Whether its prompt has to be computed.
    pub fn asks(&self) -> bool {
        !self.done
    }

    /// Takes the next token from the logits behind everything said so far, and those that it leaves no choice of.
    fn take(&mut self, logits: &[f32], settings: &Decoding) -> Result<()> {
        self.out.forwards += 1;
        self.fed = self.out.ids.len();
        let previous: Vec<u32> = match settings.repetition_penalty {
            1.0 => Vec::new(),
            _ => [self.prompt, &self.out.ids].concat(),
        };
        let id = match self.within {
            Some((walked, at)) => {
                let steps = walked.steps(at);
                let possible = self.reluctantly(logits, only(logits, steps.iter().map(|(id, _)| *id)).into(), settings);
                let id = draw(&distribution(&possible, &previous, settings)?, &mut self.rng);
                self.within = walked.after(at, id).map(|behind| (walked, behind));
                id
            }
            None => {
                let possible = self.reluctantly(logits, logits.into(), settings);
                let id = draw(&distribution(&possible, &previous, settings)?, &mut self.rng);
                self.out.logprobs.push(log_probability(logits, id));
                id
            }
        };
        self.say(id, settings);
        if !self.gives_way(logits, id, settings) {
            self.follow(settings);
        }
        Ok(())
    }

    /// What may be said next, without the reluctant completion where that could begin here.
    fn reluctantly<'b>(&mut self, logits: &[f32], possible: Cow<'b, [f32]>, settings: &Decoding) -> Cow<'b, [f32]> {
        let Some(reluctant) = settings.reluctant.as_ref().filter(|_| self.out.ids.is_empty()) else { return possible };
        let Some(without) = reluctant.without(&possible) else { return possible };
        self.rivals = Some((log_probability(logits, reluctant.ids[0]).into(), 0.0));
        without.into()
    }

    /// Puts the reluctant completion in the place of what is being said, once that is improbable enough: it can only become less
    /// probable, so nothing is decoded in vain.
    fn gives_way(&mut self, logits: &[f32], said: u32, settings: &Decoding) -> bool {
        let (Some(reluctant), Some((own, other))) = (&settings.reluctant, &mut self.rivals) else { return false };
        *other += f64::from(log_probability(logits, said));
        let prevails = reluctant.prevails(*own, *other);
        if prevails {
            self.out.ids.clone_from(&reluctant.ids);
            self.out.logprobs.clear();
            (self.out.finished, self.done) = (true, true);
        }
        prevails
    }

    /// Says what can be said in one way only, without asking the model.
    fn follow(&mut self, settings: &Decoding) {
        while let (false, Some((walked, at))) = (self.done, self.within) {
            match walked.next(at) {
                Next::Forced((id, behind)) => {
                    self.within = Some((walked, behind));
                    self.say(id, settings);
                }
                Next::Choice => return,
                Next::Over => {
                    self.out.finished = true;
                    self.done = true;
                }
            }
        }
    }

    fn say(&mut self, id: u32, settings: &Decoding) {
        self.out.ids.push(id);
        self.out.finished = settings.eos.contains(&id);
        self.done = self.out.finished || self.out.ids.len() == self.limit || self.cancel.is_set();
    }

    /// What the decoder has not been fed yet.
    fn news(&self) -> News<'_> {
        News { ids: &self.out.ids[self.fed..], from: self.prompt.len() + self.fed }
    }
}

/// Tokens of one row that follow what its decoder holds.
pub(super) struct News<'a> {
    /// At least one.
    pub ids: &'a [u32],
    /// Position of the first.
    pub from: usize,
}

/// A decoder that holds the keys and values of some rows.
pub(super) trait Steps {
    /// Feeds each row its new tokens, and gives the logits that follow the last of them.
    fn step(&mut self, news: &[News]) -> Result<Vec<Vec<f32>>>;

    /// Keeps the named rows, ascending, and forgets the others.
    fn keep(&mut self, rows: &[usize]) -> Result<()>;
}

/// Decodes rows to their ends, from the logits that follow their prompts. Each row must have room for a token.
pub(super) fn run(
    rows: &mut [&mut Row],
    mut logits: Vec<Vec<f32>>,
    steps: &mut impl Steps,
    settings: &Decoding,
) -> Result<()> {
    let mut alive: Vec<usize> = (0..rows.len()).collect();
    loop {
        for (i, logits) in alive.iter().zip(&logits) {
            rows[*i].take(logits, settings)?;
        }
        let left: Vec<usize> = (0..alive.len()).filter(|at| !rows[alive[*at]].done).collect();
        if left.is_empty() {
            return Ok(());
        }
        if left.len() < alive.len() {
            alive = left.iter().map(|at| alive[*at]).collect();
            steps.keep(&left)?;
        }
        logits = steps.step(&alive.iter().map(|i| rows[*i].news()).collect::<Vec<_>>())?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::ModelShape;

    /// A decoder whose waiting reader leaves after some steps.
    struct Leaving<'a> {
        cancel: &'a Cancel,
        steps: usize,
        leaves_at: usize,
    }

    impl Steps for Leaving<'_> {
        fn step(&mut self, news: &[News]) -> Result<Vec<Vec<f32>>> {
            self.steps += 1;
            if self.steps == self.leaves_at {
                self.cancel.set();
            }
            Ok(vec![vec![0.0, 1.0]; news.len()])
        }

        fn keep(&mut self, _: &[usize]) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_cancelled_completion_costs_no_further_token() {
        let config = Config::scratch(&ModelShape::default(), 300);
        let (cancel, settings) = (Cancel::default(), Decoding::greedy(20, vec![]));
        let mut row = Row::new(&config, &[1, 2], &settings, (0, 0), &cancel);
        let mut steps = Leaving { cancel: &cancel, steps: 0, leaves_at: 3 };
        run(&mut [&mut row], vec![vec![0.0, 1.0]], &mut steps, &settings).unwrap();
        assert_eq!((steps.steps, row.out.ids.len(), row.out.finished), (3, 4, false));
        assert_eq!(Row::new(&config, &[1, 2], &settings, (0, 0), &cancel).limit, 0, "nothing is started for nobody");
        let other = Cancel::default();
        let mut row = Row::new(&config, &[1, 2], &settings, (0, 0), &other);
        let mut steps = Leaving { cancel: &cancel, steps: 0, leaves_at: 3 };
        run(&mut [&mut row], vec![vec![0.0, 1.0]], &mut steps, &settings).unwrap();
        assert_eq!((steps.steps, row.out.ids.len()), (19, 20), "one who still waits is served to the end");
    }
}
