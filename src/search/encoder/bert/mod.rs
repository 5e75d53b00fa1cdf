//! A BERT-class encoder from a folder in transformers' layout, on the CPU, computed by candle-transformers.
//!
//! The folder may be anybody's: [`files`] and [`weights`] read no more than [`config`] asks for and can be held, [`tokens`] gives
//! no id and no position that the network lacks, and a first text is encoded before the encoder counts as opened.

mod batches;
mod config;
mod files;
mod pooling;
#[cfg(test)]
mod tests;
mod tokens;
mod weights;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::BertModel;
use candle_transformers::models::xlm_roberta::XLMRobertaModel;
use rayon::prelude::*;

use crate::recipe::{Encoding, Fingerprint, Pooling};
use config::{Family, Shape};
use tokens::Tokens;

/// Changes when the same folder and options give another vector.
const VERSION: &str = "bert-1";

/// An encoder and how it reads texts.
pub(super) struct Bert {
    net: Net,
    tokens: Tokens,
    shape: Shape,
    pooling: Pooling,
    settings: Encoding,
}

enum Net {
    Bert(BertModel),
    XlmRoberta(XLMRobertaModel),
}

impl Bert {
    /// Opens a folder; with the fingerprint of all that its vectors depend on.
    pub fn open(folder: &Path, settings: &Encoding) -> Result<(Self, String)> {
        let mut print = Fingerprint::default();
        let shape = Shape::read(folder)?;
        let pooling = pooling::choose(settings.pooling, folder, shape.hidden)?;
        print.add(format!("{VERSION} {shape:?} {pooling:?}").as_bytes());
        let tokens = Tokens::read(folder, &shape, settings, &mut print)?;
        print.add(settings.query_prefix.as_bytes());
        print.add(settings.passage_prefix.as_bytes());
        print.add(&tokens.longest().to_le_bytes());
        let weights = weights::read(folder, &shape, &mut print)?;
        let vb = VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu);
        let net = match shape.family {
            Family::Bert => Net::Bert(BertModel::load(vb, &shape.to_bert())?),
            Family::XlmRoberta => Net::XlmRoberta(XLMRobertaModel::new(&shape.to_xlm_roberta(), vb)?),
        };
        let bert = Self { net, tokens, shape, pooling, settings: settings.clone() };
        bert.try_out().with_context(|| format!("the encoder in {} cannot be used", folder.display()))?;
        Ok((bert, print.hex()))
    }

    /// Numbers of a vector.
    pub fn dimension(&self) -> usize {
        self.shape.hidden
    }

    /// How it reads texts, in words.
    pub fn options(&self) -> String {
        let how = if self.pooling == Pooling::Cls { "first token" } else { "mean" };
        let mut options = format!("{how}, {} tokens", self.tokens.longest());
        for (of, prefix) in [("queries", &self.settings.query_prefix), ("documents", &self.settings.passage_prefix)] {
            if !prefix.is_empty() {
                options += &format!(", {prefix:?} before {of}");
            }
        }
        options
    }

    /// The vector of a query.
    pub fn query(&self, text: &str) -> Result<Vec<f32>> {
        let ids = self.tokens.ids(&format!("{}{text}", self.settings.query_prefix))?;
        Ok(self.encode(&[&ids])?.pop().expect("a row for a text"))
    }

    /// The vectors of documents; `tick(n)` hears of every `n` done.
    pub fn passages(&self, texts: &[String], tick: &(impl Fn(u64) -> Result<()> + Sync)) -> Result<Vec<Vec<f32>>> {
        let prefix = &self.settings.passage_prefix;
        let ids: Vec<Vec<u32>> =
            texts.par_iter().map(|text| self.tokens.ids(&format!("{prefix}{text}"))).collect::<Result<_>>()?;
        let lengths: Vec<usize> = ids.iter().map(Vec::len).collect();
        let batches = batches::plan(&lengths, self.settings.batch, |tokens| self.shape.floats(tokens));
        let encoded = batches::on_all_cores(batches.len(), |n| {
            let rows: Vec<&[u32]> = batches[n].iter().map(|place| ids[*place].as_slice()).collect();
            let vectors = self.encode(&rows)?;
            tick(rows.len() as u64)?;
            Ok(vectors)
        })?;
        let mut vectors = vec![Vec::new(); texts.len()];
        for (place, vector) in batches.iter().flatten().zip(encoded.into_iter().flatten()) {
            vectors[*place] = vector;
        }
        Ok(vectors)
    }

    /// Encodes a first text, and nothing beside it: what would fail later fails now.
    fn try_out(&self) -> Result<()> {
        for (key, prefix) in [
            ("search.encoding.query_prefix", &self.settings.query_prefix),
            ("search.encoding.passage_prefix", &self.settings.passage_prefix),
        ] {
            let used = self.tokens.ids(prefix)?.len();
            ensure!(
                prefix.is_empty() || used < self.tokens.longest(),
                "{key} takes all {used} tokens of a text: shorten it, or raise search.encoding.max_tokens"
            );
        }
        self.encode(&[&self.tokens.ids("")?, &self.tokens.ids("a text")?]).map(|_| ())
    }

    /// The vectors of texts by their ids, in one batch. A text without any is all zeros.
    fn encode(&self, rows: &[&[u32]]) -> Result<Vec<Vec<f32>>> {
        let (lengths, hidden) = (rows.iter().map(|ids| ids.len()).collect::<Vec<_>>(), self.shape.hidden);
        let width = lengths.iter().copied().max().unwrap_or_default();
        if width == 0 {
            return Ok(vec![vec![0.0; hidden]; rows.len()]);
        }
        let filled = |of: &dyn Fn(u32) -> u32, fill: u32| -> Result<Tensor> {
            let line = |ids: &&[u32]| -> Vec<u32> {
                let ids = ids.iter().map(|id| of(*id));
                ids.chain(std::iter::repeat(fill)).take(width).collect()
            };
            let all: Vec<u32> = rows.iter().flat_map(line).collect();
            Ok(Tensor::from_vec(all, (rows.len(), width), &Device::Cpu)?)
        };
        let (ids, mask) = (filled(&|id| id, self.shape.pad)?, filled(&|_| 1, 0)?);
        let types = ids.zeros_like()?;
        let states = match &self.net {
            Net::Bert(net) => net.forward(&ids, &types, Some(&mask))?,
            Net::XlmRoberta(net) => net.forward(&ids, &mask, &types, None, None, None)?,
        };
        let states = states.flatten_all()?.to_vec1::<f32>()?;
        pooling::pool(&states, &lengths, width, hidden, self.pooling)
    }
}
