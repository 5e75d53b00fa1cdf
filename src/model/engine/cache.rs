//! Keys and values that new tokens attend to, per key-value head, in the form that products read best.

use super::plan::Plan;
use super::product::{How, Mat, Panels, pack, packs};

/// Keys and values of consecutive tokens in one layer.
pub(super) struct Cache {
    heads: Vec<Kept>,
    tokens: usize,
    width: usize,
}

/// Of one key-value head.
struct Kept {
    keys: Side,
    values: Side,
}

/// A right side that grows by a token at a time.
enum Side {
    Packed(Panels),
    /// \[tokens, head_dim\]
    Plain(Vec<f32>),
}

impl Cache {
    /// Of a prompt: `keys` and `values` are \[tokens, kv_heads · head_dim\], at least one token.
    pub fn of(plan: &Plan, keys: &[f32], values: &[f32], how: How) -> Self {
        let (d, narrow) = (plan.head_dim, plan.kv_heads * plan.head_dim);
        let tokens = keys.len() / narrow;
        let side = |x: &[f32], head: usize, along: bool| {
            let columns = Mat::strided(&x[head * d..], tokens, d, narrow);
            match pack(if along { columns.t() } else { columns }, how) {
                Some(panels) => Side::Packed(panels),
                None => Side::Plain(x.chunks_exact(narrow).flat_map(|row| &row[head * d..][..d]).copied().collect()),
            }
        };
        let heads = (0..plan.kv_heads).map(|h| Kept { keys: side(keys, h, true), values: side(values, h, false) });
        Self { heads: heads.collect(), tokens, width: d }
    }

    /// Of no token yet.
    pub fn empty(plan: &Plan, how: How) -> Self {
        let d = plan.head_dim;
        let kept = |_| match packs(how) {
            true => Kept {
                keys: Side::Packed(Panels::without_columns(d, how.half)),
                values: Side::Packed(Panels::without_rows(d, how.half)),
            },
            false => Kept { keys: Side::Plain(Vec::new()), values: Side::Plain(Vec::new()) },
        };
        Self { heads: (0..plan.kv_heads).map(kept).collect(), tokens: 0, width: d }
    }

    /// Adds a token: its keys and values, \[kv_heads · head_dim\] each.
    pub fn push(&mut self, keys: &[f32], values: &[f32]) {
        let parts = keys.chunks_exact(self.width).zip(values.chunks_exact(self.width));
        for (kept, (key, value)) in self.heads.iter_mut().zip(parts) {
            match &mut kept.keys {
                Side::Packed(panels) => panels.push_column(key),
                Side::Plain(x) => x.extend_from_slice(key),
            }
            match &mut kept.values {
                Side::Packed(panels) => panels.push_row(value),
                Side::Plain(x) => x.extend_from_slice(value),
            }
        }
        self.tokens += 1;
    }

    /// Tokens held.
    pub fn len(&self) -> usize {
        self.tokens
    }

    /// A head's keys as the right side of scores, \[head_dim, tokens\].
    pub fn keys(&self, head: usize) -> Mat<'_> {
        match &self.heads[head].keys {
            Side::Packed(panels) => Mat::packed(panels),
            Side::Plain(x) => Mat::new(x, self.tokens, self.width).t(),
        }
    }

    /// A head's values as the right side of weighted sums, \[tokens, head_dim\].
    pub fn values(&self, head: usize) -> Mat<'_> {
        match &self.heads[head].values {
            Side::Packed(panels) => Mat::packed(panels),
            Side::Plain(x) => Mat::new(x, self.tokens, self.width),
        }
    }
}
