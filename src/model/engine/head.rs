//! Both ends of the decoder: token embeddings, and the output head with the log-probabilities of the targets.

use super::Engine;
use super::buffer::Buffer;
use super::linear::{Grads, wanted};
use super::math::{log_sum_exp, rms_norm, rms_norm_back};
use super::pack::Pack;
use super::params::Params;
use super::product::{Mat, MatMut, Values, matmul};
use crate::model::Group;
use crate::model::batch::last_places;

/// Of completion tokens, 0 for those that are only read: their log-probabilities, and the entropies of the distributions that they
/// were drawn from, in nats.
pub(super) struct Predicted {
    pub logprobs: Vec<f32>,
    pub entropies: Vec<f32>,
}

impl Engine {
    pub(super) fn embed(&self, params: &Params, tokens: &[u32]) -> Buffer {
        let d = self.plan.hidden;
        let mut x = Buffer::stale(tokens.len() * d);
        for (to, &t) in x.chunks_exact_mut(d).zip(tokens) {
            let row = t as usize * d..(t as usize + 1) * d;
            match params.values[self.plan.embed] {
                Values::F32(embed) => to.copy_from_slice(&embed[row]),
                Values::Bf16(embed) => to.iter_mut().zip(&embed[row]).for_each(|(to, x)| *to = x.to_f32()),
                Values::Packed(_) => unreachable!("packed weights stand beside the stored ones"),
            }
        }
        x
    }

    /// Final norm and output head: \[rows, hidden\] → \[rows, V\].
    pub(super) fn logits(&self, params: &Params, hidden: &[f32]) -> Buffer {
        self.normed_logits(params, hidden).0
    }

    fn normed_logits(&self, params: &Params, hidden: &[f32]) -> (Buffer, Buffer, Buffer) {
        let (d, v) = (self.plan.hidden, self.plan.vocab);
        let rows = hidden.len() / d;
        let (mut normed, mut inv) = (Buffer::stale(hidden.len()), Buffer::stale(rows));
        rms_norm(hidden, params.floats(self.plan.final_norm), self.plan.eps, &mut normed, &mut inv);
        let mut logits = Buffer::stale(rows * v);
        let head = params.transposed(self.plan.head, v, d);
        matmul(MatMut::new(&mut logits, rows, v), Mat::new(&normed, rows, d), head, 1.0, false, params.how);
        (logits, normed, inv)
    }

    /// What was predicted, the next-token distributions, and the normed rows with their norms.
    pub(super) fn head(
        &self,
        params: &Params,
        pack: &Pack,
        hidden: &[f32],
        temperature: f32,
    ) -> (Predicted, Buffer, Buffer, Buffer) {
        let v = self.plan.vocab;
        let (mut logits, normed, inv) = self.normed_logits(params, hidden);
        let scale = 1.0 / temperature;
        let none = vec![0.0; pack.completion_tokens];
        let mut of = Predicted { logprobs: none.clone(), entropies: none };
        pack.targets.iter().for_each(|t| of.logprobs[t.place] = logits[t.row * v + t.token as usize] * scale);
        let rows: Vec<(f32, f32)> = logits.chunks_exact_mut(v).map(|row| log_sum_exp(row, scale)).collect();
        for t in &pack.targets {
            of.logprobs[t.place] -= rows[t.row].0;
            of.entropies[t.place] = rows[t.row].1;
        }
        (of, logits, normed, inv)
    }

    /// Logits of some tokens where the last token of each completion is predicted, in the order group, completion, choice.
    pub(super) fn last_logits(
        &self,
        params: &Params,
        pack: &Pack,
        groups: &[Group],
        hidden: &[f32],
        choices: &[u32],
    ) -> Vec<f32> {
        let (d, v) = (self.plan.hidden, self.plan.vocab);
        let rows: Vec<usize> = last_places(groups).map(|place| pack.targets[place].row).collect();
        let mut last = Buffer::stale(rows.len() * d);
        last.chunks_exact_mut(d).zip(&rows).for_each(|(to, row)| to.copy_from_slice(&hidden[row * d..(row + 1) * d]));
        let logits = self.logits(params, &last);
        logits.chunks_exact(v).flat_map(|row| choices.iter().map(|choice| row[*choice as usize])).collect()
    }

    /// Backward of [`Engine::head`]; the distributions become the gradient of the logits in place.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn head_back(
        &self,
        params: &Params,
        pack: &Pack,
        mut probs: Buffer,
        (hidden, normed, inv): (&[f32], &[f32], &[f32]),
        slopes: &[f32],
        temperature: f32,
        grads: &mut Grads,
    ) -> Buffer {
        let (d, v, rows) = (self.plan.hidden, self.plan.vocab, pack.needed.len());
        let scale = 1.0 / temperature;
        let mut of_row = vec![0.0; rows];
        pack.targets.iter().for_each(|t| of_row[t.row] += slopes[t.place]);
        for (row, sum) in probs.chunks_exact_mut(v).zip(&of_row) {
            row.iter_mut().for_each(|p| *p *= -sum * scale);
        }
        for t in &pack.targets {
            probs[t.row * v + t.token as usize] += slopes[t.place] * scale;
        }
        let dlogits = Mat::new(&probs, rows, v);
        let mut dnormed = Buffer::stale(rows * d);
        let head = params.weight(self.plan.head, v, d);
        matmul(MatMut::new(&mut dnormed, rows, d), dlogits, head, 1.0, false, params.how);
        if !grads[self.plan.head].is_empty() {
            let into = MatMut::new(&mut grads[self.plan.head], v, d);
            matmul(into, dlogits.t(), Mat::new(normed, rows, d), 1.0, true, params.how);
        }
        let mut dhidden = Buffer::zeros(rows * d);
        let dw = wanted(grads, self.plan.final_norm);
        rms_norm_back(hidden, params.floats(self.plan.final_norm), inv, &dnormed, &mut dhidden, dw);
        dhidden
    }
}
