//! Causal attention of groups: prompt rows see the prompt so far, completion rows the whole prompt and themselves.

use rayon::prelude::*;

use super::buffer::Buffer;
use super::math::{softmax, softmax_back};

use super::pack::{Asking, Span};
use super::plan::Plan;
use super::product::{How, Mat, MatMut, matmul};

/// Prompt queries handled together; the keys after a block's end are never touched.
const BLOCK: usize = 64;

/// One product of a head: some asking rows against some rows that answer.
struct Piece {
    /// Asking rows.
    asks: std::ops::Range<usize>,
    /// Rows that answer: first those of the prompt …
    prompt: std::ops::Range<usize>,
    /// … then those of the completion itself; empty for prompt queries.
    own: std::ops::Range<usize>,
    /// The first asking row sees this many answering rows, each next one more.
    sees: usize,
}

/// The pieces of one group: blocks of prompt queries, then each completion.
fn pieces(span: &Span, asking: &Asking) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut at = asking.prompt.start;
    while at < asking.prompt.end {
        let end = (at + BLOCK).min(asking.prompt.end);
        let sees = asking.prompt_from + (at - asking.prompt.start) + 1;
        let last = span.prompt.start + sees + (end - at) - 1;
        pieces.push(Piece { asks: at..end, prompt: span.prompt.start..last, own: 0..0, sees });
        at = end;
    }
    for (rows, (from, asks)) in span.completions.iter().zip(&asking.completions) {
        if !asks.is_empty() {
            let own = rows.start..rows.start + from + asks.len();
            let sees = span.prompt.len() + from + 1;
            pieces.push(Piece { asks: asks.clone(), prompt: span.prompt.clone(), own, sees });
        }
    }
    pieces
}

impl Piece {
    fn width(&self) -> usize {
        self.prompt.len() + self.own.len()
    }

    fn size(&self) -> usize {
        self.asks.len() * self.width()
    }
}

/// Scores of a head, all pieces together.
pub(super) fn size(spans: &[Span], asking: &[Asking]) -> usize {
    spans.iter().zip(asking).flat_map(|(s, a)| pieces(s, a)).map(|piece| piece.size()).sum()
}

/// Widths that every call shares.
struct Widths {
    q: usize,
    kv: usize,
    head: usize,
    /// Query heads that share a key-value head.
    shared: usize,
    scale: f32,
}

impl Widths {
    fn of(plan: &Plan) -> Self {
        let head = plan.head_dim;
        let shared = plan.heads / plan.kv_heads;
        Self { q: plan.heads * head, kv: plan.kv_heads * head, head, shared, scale: 1.0 / (head as f32).sqrt() }
    }

    /// A head's columns of some asking rows.
    fn q<'a>(&self, x: &'a [f32], rows: &std::ops::Range<usize>, head: usize) -> Mat<'a> {
        Mat::strided(&x[rows.start * self.q + head * self.head..], rows.len(), self.head, self.q)
    }

    fn q_mut<'a>(&self, x: &'a mut [f32], rows: &std::ops::Range<usize>, head: usize) -> MatMut<'a> {
        MatMut::strided(&mut x[rows.start * self.q + head * self.head..], rows.len(), self.head, self.q)
    }

    /// The columns of the key-value head that a query head uses, of some answering rows.
    fn kv<'a>(&self, x: &'a [f32], rows: &std::ops::Range<usize>, head: usize) -> Mat<'a> {
        let column = head / self.shared * self.head;
        Mat::strided(&x[rows.start * self.kv + column..], rows.len(), self.head, self.kv)
    }

    fn kv_mut<'a>(&self, x: &'a mut [f32], rows: &std::ops::Range<usize>, head: usize) -> MatMut<'a> {
        let column = head / self.shared * self.head;
        MatMut::strided(&mut x[rows.start * self.kv + column..], rows.len(), self.head, self.kv)
    }
}

/// Attention of all heads: `q` \[asking, heads·d\], `k` and `v` \[rows, kv·d\] → \[asking, heads·d\], and the
/// probabilities for the backward pass.
pub(super) fn forward(
    plan: &Plan,
    spans: &[Span],
    asking: &[Asking],
    (q, k, v): (&[f32], &[f32], &[f32]),
    how: How,
) -> (Buffer, Buffer) {
    let (w, alone) = (Widths::of(plan), How { shared: false, ..how });
    let pieces: Vec<Piece> = spans.iter().zip(asking).flat_map(|(s, a)| pieces(s, a)).collect();
    let mut out = Buffer::stale(q.len());
    let mut probs = Buffer::stale(plan.heads * pieces.iter().map(Piece::size).sum::<usize>());
    let tasks = tasks(&pieces, plan.heads, w.q, &mut out, &mut probs);
    let work = |Task { piece, out, probs }: Task| {
        for (head, p) in probs.chunks_exact_mut(piece.size()).enumerate() {
            let out = w.q_mut(out, &(0..piece.asks.len()), head);
            look(&w, piece, head, (q, k, v), p, out, alone);
        }
    };
    match how.shared {
        true => tasks.into_par_iter().for_each(work),
        false => tasks.into_iter().for_each(work),
    }
    (out, probs)
}

/// A piece with its own part of the results.
struct Task<'a> {
    piece: &'a Piece,
    out: &'a mut [f32],
    probs: &'a mut [f32],
}

/// A task for each piece: they ask for rows one after the other, so that the results can be cut between them.
fn tasks<'a>(
    pieces: &'a [Piece],
    heads: usize,
    width: usize,
    mut out: &'a mut [f32],
    mut probs: &'a mut [f32],
) -> Vec<Task<'a>> {
    let mut tasks = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let (of_out, rest) = out.split_at_mut(piece.asks.len() * width);
        let (of_probs, others) = probs.split_at_mut(heads * piece.size());
        tasks.push(Task { piece, out: of_out, probs: of_probs });
        (out, probs) = (rest, others);
    }
    tasks
}

/// One head of one piece: scores, probabilities `p`, weighted sums of values into `out`.
fn look(
    w: &Widths,
    piece: &Piece,
    head: usize,
    (q, k, v): (&[f32], &[f32], &[f32]),
    p: &mut [f32],
    mut out: MatMut,
    how: How,
) {
    let (m, n, width) = (piece.asks.len(), piece.prompt.len(), piece.width());
    let queries = w.q(q, &piece.asks, head);
    matmul(MatMut::strided(p, m, n, width), queries, w.kv(k, &piece.prompt, head).t(), 1.0, false, how);
    if !piece.own.is_empty() {
        let own = MatMut::strided(&mut p[n..], m, piece.own.len(), width);
        matmul(own, queries, w.kv(k, &piece.own, head).t(), 1.0, false, how);
    }
    softmax(p, width, piece.sees, w.scale);
    matmul(out.again(), Mat::strided(p, m, n, width), w.kv(v, &piece.prompt, head), 1.0, false, how);
    if !piece.own.is_empty() {
        let own = Mat::strided(&p[n..], m, piece.own.len(), width);
        matmul(out, own, w.kv(v, &piece.own, head), 1.0, true, how);
    }
}

/// What the backward pass gives: gradients of queries, keys and values.
pub(super) struct Gradients {
    pub q: Buffer,
    pub k: Buffer,
    pub v: Buffer,
}

/// Backward of [`forward`] for `dout` \[asking, heads·d\].
#[allow(clippy::too_many_arguments)]
pub(super) fn backward(
    plan: &Plan,
    spans: &[Span],
    asking: &[Asking],
    (q, k, v): (&[f32], &[f32], &[f32]),
    probs: &[f32],
    dout: &[f32],
    how: How,
) -> Gradients {
    let w = Widths::of(plan);
    let mut g = Gradients { q: Buffer::stale(q.len()), k: Buffer::zeros(k.len()), v: Buffer::zeros(v.len()) };
    let mut rest = probs;
    for piece in spans.iter().zip(asking).flat_map(|(s, a)| pieces(s, a)) {
        for head in 0..plan.heads {
            let (p, after) = rest.split_at(piece.size());
            rest = after;
            let (m, n, width) = (piece.asks.len(), piece.prompt.len(), piece.width());
            let mut scores = Buffer::stale(piece.size());
            let d = w.q(dout, &piece.asks, head);
            matmul(MatMut::strided(&mut scores, m, n, width), d, w.kv(v, &piece.prompt, head).t(), 1.0, false, how);
            if !piece.own.is_empty() {
                let own = MatMut::strided(&mut scores[n..], m, piece.own.len(), width);
                matmul(own, d, w.kv(v, &piece.own, head).t(), 1.0, false, how);
            }
            softmax_back(p, &mut scores, width, w.scale);
            let parts = [(0, &piece.prompt), (n, &piece.own)];
            for (column, rows) in parts.into_iter().filter(|(_, rows)| !rows.is_empty()) {
                let p = Mat::strided(&p[column..], m, rows.len(), width);
                let ds = Mat::strided(&scores[column..], m, rows.len(), width);
                matmul(w.kv_mut(&mut g.v, rows, head), p.t(), d, 1.0, true, how);
                matmul(w.kv_mut(&mut g.k, rows, head), ds.t(), w.q(q, &piece.asks, head), 1.0, true, how);
                matmul(w.q_mut(&mut g.q, &piece.asks, head), ds, w.kv(k, rows, head), 1.0, column > 0, how);
            }
        }
    }
    g
}
