//! From a task's text to tokens and back: the one place where a prompt is cut to a budget.

use anyhow::{Context as _, Result, bail};

use super::Tokenizer;
use crate::logs::Context;
use crate::task::{END_OF_TEXT, IM_END, Piece, Prompt, REJECT, SPECIAL_TOKENS, Target, Template, drop_oldest};

impl Tokenizer {
    /// The template this tokenizer can carry.
    ///
    /// # Errors
    /// A tokenizer with neither our markers nor a chat template.
    pub fn task_template(&self) -> Result<Template> {
        if SPECIAL_TOKENS.iter().all(|token| self.token_id(token).is_some()) {
            Ok(Template::Plain)
        } else if self.has_chat_template() {
            Ok(Template::Chat)
        } else {
            bail!(
                "the checkpoint's tokenizer has neither a chat template nor the markers of `core train`: \
                 add chat_template.jinja to the folder, or use an instruction-tuned checkpoint"
            )
        }
    }

    /// The rewriting prompt in at most `max_tokens` tokens: the oldest context goes first, then the query's end.
    ///
    /// # Errors
    /// A chat template that does not render; a budget too small for the prompt's frame.
    pub fn prompt(&self, context: &Context, query: &str, max_tokens: usize) -> Result<Vec<u32>> {
        let template = self.task_template()?;
        let mut context = context.clone();
        loop {
            let ids = self.encode_prompt(&template.prompt(&context, query))?;
            if ids.len() <= max_tokens {
                return Ok(ids);
            }
            if !drop_oldest(&mut context) {
                return self.cut_query(query, max_tokens, ids.len());
            }
        }
    }

    /// A query so long that it does not fit alone loses its end, a tenth at a time.
    fn cut_query(&self, query: &str, max_tokens: usize, tokens: usize) -> Result<Vec<u32>> {
        let chars = query.chars().count();
        if chars == 0 {
            bail!("the prompt's frame alone takes {tokens} tokens: raise train.max_prompt_tokens above {max_tokens}");
        }
        let shorter: String = query.chars().take(chars - chars.div_ceil(10)).collect();
        self.prompt(&Context::default(), &shorter, max_tokens)
    }

    fn encode_prompt(&self, prompt: &Prompt) -> Result<Vec<u32>> {
        match prompt {
            Prompt::Pieces(pieces) => self.encode_pieces(pieces),
            Prompt::Messages(messages) => self.encode_chat(messages, true, Some(false)),
        }
    }

    /// Markers as their own tokens, texts as text.
    ///
    /// # Errors
    /// A tokenizer without one of the markers.
    pub fn encode_pieces(&self, pieces: &[Piece]) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Marker(token) => ids.push(
                    self.token_id(token).with_context(|| format!("the checkpoint's tokenizer has no {token} token"))?,
                ),
                Piece::Text(text) => ids.extend(self.encode_plain(text)?),
            }
        }
        Ok(ids)
    }

    /// The completion a model is taught, its end token included.
    ///
    /// # Errors
    /// A tokenizer without the markers it needs.
    pub fn completion(&self, target: &Target) -> Result<Vec<u32>> {
        self.encode_pieces(&self.task_template()?.completion(target))
    }

    /// What a completion says, its end token left out or not.
    ///
    /// # Errors
    /// Ids that the tokenizer does not know.
    pub fn read_completion(&self, completion: &[u32]) -> Result<Target> {
        let template = self.task_template()?;
        if template == Template::Plain && completion.first() == self.token_id(REJECT).as_ref() {
            return Ok(Target::Reject);
        }
        Ok(template.read(&self.decode(completion, true)?))
    }

    /// Tokens that end a completion.
    #[must_use]
    pub fn end_tokens(&self) -> Vec<u32> {
        [IM_END, END_OF_TEXT].iter().filter_map(|token| self.token_id(token)).collect()
    }
}
