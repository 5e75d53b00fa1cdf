//! Values a recipe may hold: one table of bounds, so that every error names its key the same way.

use anyhow::{Result, ensure};

use super::{Decoding, Fake, Lora, Mpo, Ratio, Recipe, Relevance, World};

/// Refuses the first value out of bounds.
pub(super) fn check(r: &Recipe) -> Result<()> {
    let named = !r.name.is_empty() && r.name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    ensure!(
        named && !r.name.starts_with('.') && r.name.len() <= 64,
        "name is {:?}: use 1 to 64 letters, digits, - or _",
        r.name
    );
    for (key, value) in shares(r) {
        ensure!((0.0..=1.0).contains(&value), "{key} is {value}: a share must lie in [0, 1]");
    }
    for (key, value) in at_least_one(r) {
        ensure!((1..=1 << 30).contains(&value), "{key} is {value}: must be 1 or more (and below 2^30)");
    }
    for (key, value) in not_negative(r) {
        ensure!(value >= 0.0 && value.is_finite(), "{key} is {value}: must be 0 or more");
    }
    for (key, value) in
        [("world.sessions_per_week", r.world.sessions_per_week), ("world.needs_per_session", r.world.needs_per_session)]
    {
        ensure!(value <= 40.0, "{key} is {value}: nobody searches that much; use 40 or less");
    }
    check_world(&r.world)?;
    let share = r.search.rewrite_recall;
    ensure!(share <= 10.0, "search.rewrite_recall is {share}: lists ten times the query's are enough; use 10 or less");
    ensure!(!r.search.encoder.trim().is_empty(), "search.encoder is empty: use hashed, a folder, or an id on the hub");
    let scorer = &r.search.scorer;
    ensure!(!scorer.trim().is_empty(), "search.scorer is empty: use path, or the name of a run that tags relevance");
    let m = &r.model;
    ensure!(m.vocab >= 300, "model.vocab is {}: byte-level BPE needs at least 300 entries", m.vocab);
    ensure!(
        m.heads.is_multiple_of(m.kv_heads),
        "model.heads ({}) must be a multiple of model.kv_heads ({})",
        m.heads,
        m.kv_heads
    );
    ensure!(m.head_dim.is_multiple_of(2), "model.head_dim is {}: rotary embedding needs an even width", m.head_dim);
    check_lora(&r.lora)?;
    check_experiment(r)?;
    let p = &r.pretrain;
    ensure!(
        p.worlds + p.recall + p.repeat + p.typos + p.split > 0.0,
        "pretrain.worlds, recall, repeat, typos and split are all 0: there is nothing to read"
    );
    check_fake(&r.fake)?;
    let g = &r.grpo;
    ensure!(
        (2..=256).contains(&g.num_generations),
        "grpo.num_generations is {}: a group needs 2 completions to be compared (and 256 or less)",
        g.num_generations
    );
    ensure!(g.temperature > 0.0, "grpo.temperature is 0: completions of one prompt would all be the same");
    ensure!(g.resample <= 16, "grpo.resample is {}: use 16 or less", g.resample);
    for (key, decoding) in [("grpo.decoding", g.decoding), ("mpo.decoding", r.mpo.decoding)] {
        let serves = decoding == Decoding::Words;
        ensure!(!serves, "{key} is \"words\", which is for rewriting.decoding alone: use free, constrained or mixed");
    }
    ensure!(r.train.asked <= 64, "train.asked is {}: use 64 or less", r.train.asked);
    r.rollouts.check()?;
    check_relevance(&r.relevance)?;
    check_ratio(&r.ratio)?;
    check_mpo(&r.mpo)?;
    let window = r.weekly.window;
    ensure!(
        (2..=52).contains(&window),
        "weekly.window is {window}: one week to train and one to hold out at least (52 at most)"
    );
    let scratch = r.train.from_scratch.as_ref().map(|scratch| ("train.from_scratch.lr", scratch.lr));
    let own =
        [("train.lr", r.train.lr), ("grpo.lr", r.grpo.lr), ("mpo.lr", r.mpo.lr), ("relevance.lr", r.relevance.lr)];
    let of_week = r.weekly.lr.map(|lr| ("weekly.lr", lr));
    for (key, lr) in own.into_iter().chain(scratch).chain(of_week) {
        ensure!(lr > 0.0 && lr.is_finite(), "{key} is {lr}: must be above 0");
    }
    Ok(())
}

fn check_world(world: &World) -> Result<()> {
    for (key, weeks) in [("world.weeks", world.weeks), ("world.weeks_after", world.weeks_after)] {
        ensure!(weeks <= 1_000, "{key} is {weeks}: use 1000 or less");
    }
    ensure!(world.trend <= 3.0, "world.trend is {}: use 3 or less, which is 20-fold up and down", world.trend);
    for (key, value) in [("world.half_life_days", world.half_life_days), ("world.interest_weeks", world.interest_weeks)]
    {
        ensure!((1.0..=1e4).contains(&value), "{key} is {value}: must be 1 or more (and 10000 or less)");
    }
    let kinds = [
        (
            "habit_share, known_share and functional_share",
            world.habit_share + world.known_share + world.functional_share,
        ),
        (
            "ambiguous_share, facet_share and colloquial_share",
            world.ambiguous_share + world.facet_share + world.colloquial_share,
        ),
    ];
    for (keys, sum) in kinds {
        ensure!(sum <= 1.0, "world.{keys} add up to {sum}: no more than 1 is there to share");
    }
    let (needs, long) = (world.needs_per_session, world.long_session_share);
    ensure!(
        needs <= 1.0 || long * 100.0 >= needs - 1.0,
        "world.long_session_share is {long}: too few for world.needs_per_session = {needs}, since a session has 100 needs at most"
    );
    Ok(())
}

fn check_lora(lora: &Lora) -> Result<()> {
    const TARGETS: [&str; 8] =
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "all-linear"];
    ensure!(lora.rank <= 1 << 16, "lora.rank is {}: use 65536 or less, 0 to train all weights", lora.rank);
    ensure!(lora.alpha > 0.0 && lora.alpha.is_finite(), "lora.alpha is {}: must be above 0", lora.alpha);
    ensure!(!lora.targets.is_empty(), "lora.targets is empty: name projections, or all-linear");
    for target in &lora.targets {
        ensure!(TARGETS.contains(&target.as_str()), "lora.targets names {target:?}: use {}", TARGETS.join(", "));
    }
    Ok(())
}

fn check_experiment(r: &Recipe) -> Result<()> {
    let (ab, feedback) = (&r.ab, &r.baselines);
    let (needed, there) = (u64::from(ab.weeks) + u64::from(ab.after_weeks), r.world.weeks_after);
    ensure!(
        needed <= u64::from(there),
        "ab.after_weeks and ab.weeks add up to {needed}: the world goes on for world.weeks_after = {there} weeks after its log"
    );
    let days = 7 * ab.weeks;
    ensure!(ab.looks <= days, "ab.looks is {}: the {days} days of ab.weeks can be looked at once each", ab.looks);
    ensure!(ab.level > 0.0 && ab.level < 1.0, "ab.level is {}: must lie between 0 and 1, say 0.05", ab.level);
    for (key, n) in [("baselines.fb_docs", feedback.fb_docs), ("baselines.fb_terms", feedback.fb_terms)] {
        ensure!(n <= 1_000, "{key} is {n}: use 1000 or fewer");
    }
    Ok(())
}

fn check_fake(fake: &Fake) -> Result<()> {
    for (key, value) in
        [("fake.top", fake.top), ("fake.min_people", fake.min_people), ("fake.head_clicks", fake.head_clicks)]
    {
        ensure!((1..=1 << 16).contains(&value), "{key} is {value}: must be 1 or more (and 65536 or less)");
    }
    for (key, value) in
        [("fake.prior_looks", fake.prior_looks), ("fake.prior_clicks", fake.prior_clicks), ("fake.weight", fake.weight)]
    {
        ensure!(value >= 0.0 && value.is_finite(), "{key} is {value}: must be 0 or more");
    }
    ensure!(
        (0.0..=1.0).contains(&fake.min_relevance),
        "fake.min_relevance is {}: a share must lie in [0, 1]",
        fake.min_relevance
    );
    let looked_at = |x: &f64| *x > 0.0 && *x <= 1.0;
    ensure!(
        !fake.examination.is_empty() && fake.examination.iter().all(looked_at),
        "fake.examination is {:?}: give shares above 0 and at most 1, from the top of the page down",
        fake.examination
    );
    Ok(())
}

fn check_relevance(relevance: &Relevance) -> Result<()> {
    let (mix, reasoning) = (relevance.mix, &relevance.reasoning);
    ensure!(mix <= 0.9, "relevance.mix is {mix}: use 0.9 or less, `core train sft` alone trains on rewriting only");
    let twice = reasoning.iter().enumerate().find(|(i, reason)| reasoning[..*i].contains(reason));
    ensure!(twice.is_none(), "relevance.reasoning is {reasoning:?}: name each step once");
    Ok(())
}

fn check_ratio(ratio: &Ratio) -> Result<()> {
    ensure!(ratio.low > 0.0 && ratio.low < ratio.high, "ratio.low is {}: must lie between 0 and ratio.high", ratio.low);
    ensure!(ratio.high.is_finite(), "ratio.high is {}: must be a number", ratio.high);
    ensure!(
        ratio.floor > 0.0 && ratio.floor <= 1.0,
        "ratio.floor is {}: must lie above 0 and at most at 1",
        ratio.floor
    );
    ensure!(ratio.random <= 4_096, "ratio.random is {}: use 4096 or less", ratio.random);
    Ok(())
}

fn check_mpo(mpo: &Mpo) -> Result<()> {
    let n = mpo.num_generations;
    ensure!(
        (2..=256).contains(&n),
        "mpo.num_generations is {n}: a group needs 2 answers to be compared (and 256 or less)"
    );
    ensure!(
        2 * mpo.top <= n,
        "mpo.top is {}: as many answers are chosen as rejected, and mpo.num_generations is {n}",
        mpo.top
    );
    ensure!(mpo.temperature > 0.0, "mpo.temperature is 0: answers to one prompt would all be the same");
    ensure!(mpo.beta > 0.0, "mpo.beta is 0: nothing would be learnt from pairs");
    ensure!(mpo.sigmoid + mpo.bco_pair + mpo.sft > 0.0, "mpo.sigmoid, bco_pair and sft are all 0: there is no loss");
    Ok(())
}

fn shares(r: &Recipe) -> Vec<(&'static str, f64)> {
    vec![
        ("world.births_per_week", r.world.births_per_week),
        ("world.evergreen_share", r.world.evergreen_share),
        ("world.new_sense_share", r.world.new_sense_share),
        ("world.long_session_share", r.world.long_session_share),
        ("world.habit_share", r.world.habit_share),
        ("world.known_share", r.world.known_share),
        ("world.trending_share", r.world.trending_share),
        ("world.facet_share", r.world.facet_share),
        ("world.attraction", r.world.attraction),
        ("world.reading_share", r.world.reading_share),
        ("world.look_on_share", r.world.look_on_share),
        ("world.linger_share", r.world.linger_share),
        ("world.persistence", r.world.persistence),
        ("world.buy_share", r.world.buy_share),
        ("world.ambiguous_share", r.world.ambiguous_share),
        ("world.colloquial_share", r.world.colloquial_share),
        ("world.typo_share", r.world.typo_share),
        ("world.functional_share", r.world.functional_share),
        ("world.against_history_share", r.world.against_history_share),
        ("world.new_pair_share", r.world.new_pair_share),
        ("mine.held_out_people", r.mine.held_out_people),
        ("mine.held_out_time", r.mine.held_out_time),
        ("pretrain.chinese_share", r.pretrain.chinese_share),
        ("pretrain.context_weight", r.pretrain.context_weight),
        ("train.slips", r.train.slips),
        ("train.strangers", r.train.strangers),
        ("train.renamed", r.train.renamed),
        ("train.unheard", r.train.unheard),
        ("train.prompt_weight", r.train.prompt_weight),
        ("train.replay", r.train.replay),
        ("relevance.held_out", r.relevance.held_out),
        ("relevance.reasoning_weight", r.relevance.reasoning_weight),
        ("relevance.document_weight", r.relevance.document_weight),
        ("relevance.mix", r.relevance.mix),
        ("train.warmup", r.train.warmup),
        ("train.lr_floor", r.train.lr_floor),
        ("rewriting.reject_at", r.rewriting.reject_at),
        ("reward.relevance_gate", r.reward.relevance_gate),
        ("ratio.mended", r.ratio.mended),
        ("grpo.mended", r.grpo.mended),
        ("grpo.epsilon", r.grpo.epsilon),
        ("gate.entropy_loss", r.gate.entropy_loss),
        ("gate.truncated_rise", r.gate.truncated_rise),
        ("gate.hit_loss", r.gate.hit_loss),
        ("gate.reject_move", r.gate.reject_move),
        ("gate.concentration_rise", r.gate.concentration_rise),
        ("baselines.min_share", r.baselines.min_share),
        ("baselines.min_cosine", r.baselines.min_cosine),
        ("baselines.fb_lambda", r.baselines.fb_lambda),
    ]
}

fn at_least_one(r: &Recipe) -> Vec<(&'static str, usize)> {
    vec![
        ("world.videos", r.world.videos),
        ("world.people", r.world.people),
        ("world.weeks", r.world.weeks as usize),
        ("world.heads", r.world.heads),
        ("model.hidden", r.model.hidden),
        ("model.layers", r.model.layers),
        ("model.heads", r.model.heads),
        ("model.kv_heads", r.model.kv_heads),
        ("model.head_dim", r.model.head_dim),
        ("model.ffn", r.model.ffn),
        ("pretrain.max_chars", r.pretrain.max_chars),
        ("pretrain.max_tokens", r.pretrain.max_tokens),
        ("pretrain.tokenizer_documents", r.pretrain.tokenizer_documents),
        ("train.batch", r.train.batch),
        ("train.accumulate", r.train.accumulate),
        ("train.eval_every", r.train.eval_every as usize),
        ("train.save_every", r.train.save_every as usize),
        ("train.keep", r.train.keep),
        ("train.max_prompt_tokens", r.train.max_prompt_tokens),
        ("reward.window_days", r.reward.window_days as usize),
        ("reward.min_people", r.reward.min_people),
        ("reward.top_k", r.reward.top_k),
        ("reward.long_words", r.reward.long_words),
        ("reward.most_words", r.reward.most_words),
        ("grpo.steps", r.grpo.steps as usize),
        ("grpo.prompts", r.grpo.prompts),
        ("grpo.num_iterations", r.grpo.num_iterations as usize),
        ("grpo.max_completion_length", r.grpo.max_completion_length),
        ("mpo.steps", r.mpo.steps as usize),
        ("mpo.sync_every", r.mpo.sync_every as usize),
        ("mpo.groups", r.mpo.groups),
        ("mpo.top", r.mpo.top),
        ("mpo.max_completion_length", r.mpo.max_completion_length),
        ("rollouts.batch", r.rollouts.batch),
        ("rollouts.timeout_s", r.rollouts.timeout_s),
        ("relevance.queries", r.relevance.queries),
        ("relevance.max_prompt_tokens", r.relevance.max_prompt_tokens),
        ("relevance.steps", r.relevance.steps as usize),
        ("relevance.batch", r.relevance.batch),
        ("search.page", r.search.page),
        ("search.recall", r.search.recall),
        ("search.rawrank", r.search.rawrank),
        ("search.encoding.max_tokens", r.search.encoding.max_tokens),
        ("search.encoding.batch", r.search.encoding.batch),
        ("gate.examples", r.gate.examples),
        ("gate.samples", r.gate.samples),
        ("ab.weeks", r.ab.weeks as usize),
        ("ab.lives", r.ab.lives as usize),
        ("ab.looks", r.ab.looks as usize),
        ("ab.resamples", r.ab.resamples),
        ("serve.concurrency", r.serve.concurrency),
        ("baselines.min_people", r.baselines.min_people),
        ("baselines.fb_docs", r.baselines.fb_docs),
        ("baselines.fb_terms", r.baselines.fb_terms),
    ]
}

fn not_negative(r: &Recipe) -> Vec<(&'static str, f64)> {
    vec![
        ("world.trend", r.world.trend),
        ("world.sessions_per_week", r.world.sessions_per_week),
        ("world.needs_per_session", r.world.needs_per_session),
        ("mine.fail_dwell_s", r.mine.fail_dwell_s),
        ("mine.success_dwell_s", r.mine.success_dwell_s),
        ("mine.reject_click_within_s", r.mine.reject_click_within_s),
        ("mine.reformulation_gap_s", r.mine.reformulation_gap_s),
        ("mine.rejects_per_rewrite", r.mine.rejects_per_rewrite),
        ("train.taught", r.train.taught),
        ("relevance.exact_reward", r.relevance.exact_reward),
        ("relevance.binary_reward", r.relevance.binary_reward),
        ("relevance.format_reward", r.relevance.format_reward),
        ("reward.posterior", r.reward.posterior),
        ("reward.relevance", r.reward.relevance),
        ("reward.hit", r.reward.hit),
        ("reward.decision", r.reward.decision),
        ("reward.format", r.reward.format),
        ("reward.frequency", r.reward.frequency),
        ("reward.ctr", r.reward.ctr),
        ("reward.prior_searches", r.reward.prior_searches),
        ("reward.invalid", r.reward.invalid),
        ("reward.foreign", r.reward.foreign),
        ("reward.ratio", r.reward.ratio),
        ("reward.exact", r.reward.exact),
        ("ratio.gamma", r.ratio.gamma),
        ("ratio.alpha", r.ratio.alpha),
        ("ratio.prior_shown", r.ratio.prior_shown),
        ("ratio.length", r.ratio.length),
        ("ratio.truncated", r.ratio.truncated),
        ("ratio.reject", r.ratio.reject),
        ("weekly.reject", r.weekly.reject.unwrap_or(0.0)),
        ("gate.surprisal_rise", r.gate.surprisal_rise),
        ("gate.length_rise", r.gate.length_rise),
        ("gate.popularity_move", r.gate.popularity_move),
        ("gate.kl", r.gate.kl),
        ("mpo.margin", r.mpo.margin),
        ("mpo.temperature", r.mpo.temperature),
        ("mpo.beta", r.mpo.beta),
        ("mpo.sigmoid", r.mpo.sigmoid),
        ("mpo.bco_pair", r.mpo.bco_pair),
        ("mpo.sft", r.mpo.sft),
        ("grpo.temperature", r.grpo.temperature),
        ("grpo.beta", r.grpo.beta),
        ("grpo.epsilon_high", r.grpo.epsilon_high),
        ("grpo.lambda", r.grpo.lambda),
        ("grpo.sft", r.grpo.sft),
        ("grpo.made", r.grpo.made),
        ("grpo.searched", r.grpo.searched),
        ("reward.flip", r.reward.flip),
        ("reward.shorter", r.reward.shorter),
        ("mine.session_gap_s", r.mine.session_gap_s),
        ("pretrain.worlds", r.pretrain.worlds),
        ("pretrain.recall", r.pretrain.recall),
        ("pretrain.repeat", r.pretrain.repeat),
        ("pretrain.typos", r.pretrain.typos),
        ("pretrain.split", r.pretrain.split),
        ("relevance.renamed", r.relevance.renamed),
        ("relevance.distant", r.relevance.distant),
        ("train.weight_decay", r.train.weight_decay),
        ("train.max_grad_norm", r.train.max_grad_norm),
        ("search.popularity_weight", r.search.popularity_weight),
        ("search.relevance_weight", r.search.relevance_weight),
        ("search.satisfaction_weight", r.search.satisfaction_weight),
        ("search.rewrite_recall", r.search.rewrite_recall),
        ("search.rewrite_rawrank", r.search.rewrite_rawrank),
        ("search.rewrite_finerank", r.search.rewrite_finerank),
        ("baselines.min_llr", r.baselines.min_llr),
        ("baselines.context_weight", r.baselines.context_weight),
    ]
}
