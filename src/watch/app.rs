//! What the view knows and where the person is in it: plain data, changed by runs, events and actions alone.

use std::collections::BTreeMap;

use super::keys::Action;
use super::view::RunView;
use crate::journal::{Logged, RunInfo};

/// A page of the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    Runs,
    Training,
    Samples,
    Log,
    Serving,
    Rollouts,
    Gate,
    Weekly,
}

impl Page {
    /// In the order of the keys 1 to 8.
    pub(super) const ALL: [Self; 8] =
        [Self::Runs, Self::Training, Self::Samples, Self::Log, Self::Serving, Self::Rollouts, Self::Gate, Self::Weekly];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Runs => "Runs",
            Self::Training => "Training",
            Self::Samples => "Samples",
            Self::Log => "Log",
            Self::Serving => "Serving",
            Self::Rollouts => "Rollouts",
            Self::Gate => "Gate",
            Self::Weekly => "Weekly",
        }
    }

    fn turned(self, by: usize) -> Self {
        Self::ALL[(self as usize + by) % Self::ALL.len()]
    }
}

/// The whole state. Places in lists are held by id, so that what arrives meanwhile does not move what is read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct App {
    pub page: Page,
    pub help: bool,
    pub quit: bool,
    /// Newest first.
    pub runs: Vec<RunInfo>,
    /// The newest run that wrote metrics.
    pub training: Option<i64>,
    /// The newest run that wrote a verdict, and the newest that wrote weeks: one that has just begun hides neither.
    pub gate: Option<i64>,
    pub weekly: Option<i64>,
    /// The run a person opened; none while the newest is followed.
    pub opened: Option<i64>,
    /// What is in the way of reading, in words.
    pub notice: Option<String>,
    views: BTreeMap<i64, RunView>,
    run: Option<i64>,
    metric: Option<String>,
    sample: Option<i64>,
    rollout: Option<i64>,
    line: Option<i64>,
    check: usize,
    week: Option<i64>,
}

impl App {
    /// Nothing read yet.
    pub(super) fn new() -> Self {
        Self {
            page: Page::Runs,
            help: false,
            quit: false,
            runs: Vec::new(),
            training: None,
            gate: None,
            weekly: None,
            opened: None,
            notice: None,
            views: BTreeMap::new(),
            run: None,
            metric: None,
            sample: None,
            rollout: None,
            line: None,
            check: 0,
            week: None,
        }
    }

    /// The run a page is about: the opened one, else the newest (that trains or serves, for the pages about that).
    /// The pages of the gate and of the weeks are about the opened one only where it is of that kind: a loop's gates are runs
    /// of their own.
    pub(super) fn run_of(&self, page: Page) -> Option<&RunInfo> {
        let newest = || self.runs.first().map(|run| run.id);
        let of_verb = |verb: &str| self.runs.iter().find(|run| run.verb == verb).map(|run| run.id);
        let judged = |verb: &str, newest: Option<i64>| {
            let opened = self.opened.filter(|&id| self.info(id).is_some_and(|run| run.verb == verb));
            opened.or(newest).or_else(|| of_verb(verb))
        };
        let own = match page {
            Page::Gate => judged("gate", self.gate),
            Page::Weekly => judged("weekly", self.weekly),
            _ => None,
        };
        let id = own.or(self.opened).or(match page {
            Page::Training | Page::Samples | Page::Rollouts => self.training.or_else(newest),
            Page::Serving => of_verb("serve").or_else(newest),
            Page::Runs | Page::Log | Page::Gate | Page::Weekly => newest(),
        })?;
        self.info(id)
    }

    fn info(&self, id: i64) -> Option<&RunInfo> {
        self.runs.iter().find(|run| run.id == id)
    }

    /// What is known of the run a page is about.
    pub(super) fn view_of(&self, page: Page) -> Option<&RunView> {
        self.views.get(&self.run_of(page)?.id)
    }

    /// Runs whose events are needed, each with the place of the newest event taken in. Others are let go.
    pub(super) fn wanted(&mut self) -> Vec<(i64, i64)> {
        let pages = [Page::Training, Page::Log, Page::Serving, Page::Gate, Page::Weekly];
        let mut ids: Vec<_> = pages.iter().filter_map(|&p| Some(self.run_of(p)?.id)).collect();
        ids.sort_unstable();
        ids.dedup();
        self.views.retain(|id, _| ids.contains(id));
        ids.into_iter().map(|id| (id, self.views.entry(id).or_default().last_event)).collect()
    }

    /// Takes in further events of a run.
    pub(super) fn take(&mut self, run: i64, events: &[Logged]) {
        let view = self.views.entry(run).or_default();
        events.iter().for_each(|event| view.take(event));
    }

    /// Forgets what was read, for a store that is gone or another.
    pub(super) fn forget(&mut self) {
        let (page, help) = (self.page, self.help);
        *self = Self { page, help, ..Self::new() };
    }

    /// Does what a person asked for.
    pub(super) fn apply(&mut self, action: Action) {
        match action {
            Action::Quit => self.quit = true,
            Action::Back if self.help => self.help = false,
            Action::Back => self.quit = true,
            Action::Help => self.help = !self.help,
            Action::Next => self.page = self.page.turned(1),
            Action::Previous => self.page = self.page.turned(Page::ALL.len() - 1),
            Action::Show(page) => self.page = page,
            Action::Move(by) => self.go(|at, last| at.saturating_add_signed(by as isize).min(last)),
            Action::First => self.go(|_, _| 0),
            Action::Last => self.go(|_, last| last),
            Action::Open => self.open(),
            Action::Follow => {
                (self.opened, self.run) = (None, None);
                self.show_the_newest();
            }
        }
    }

    /// Lets go of the place in what a run holds.
    fn show_the_newest(&mut self) {
        (self.sample, self.rollout, self.line, self.check, self.week) = (None, None, None, 0, None);
    }

    fn open(&mut self) {
        if self.page != Page::Runs {
            return;
        }
        if let Some(run) = self.runs.get(self.run_at()) {
            self.opened = Some(run.id);
            self.page = match run.verb.as_str() {
                "train" | "demo" => Page::Training,
                "serve" => Page::Serving,
                "gate" => Page::Gate,
                "weekly" => Page::Weekly,
                _ => Page::Log,
            };
            self.show_the_newest();
        }
    }

    /// Moves the place on the page shown; `to` gets the row it is at and the last row there is.
    fn go(&mut self, to: impl Fn(usize, usize) -> usize) {
        let page = self.page;
        let view = self.views.get(&self.run_of(page).map_or(0, |run| run.id));
        match page {
            Page::Runs => {
                let at = to(self.run_at(), self.runs.len().saturating_sub(1));
                // On the newest run the cursor follows.
                self.run = self.runs.get(at).filter(|_| at > 0).map(|run| run.id);
            }
            Page::Training => {
                let names = view.map(RunView::metric_names).unwrap_or_default();
                let at = to(self.metric_at(&names), names.len().saturating_sub(1));
                self.metric = names.get(at).map(|&name| name.to_owned());
            }
            Page::Samples => {
                let ids: Vec<_> = view.into_iter().flat_map(|v| v.samples.iter().rev().map(|s| s.id)).collect();
                let at = to(held_at(self.sample, &ids), ids.len().saturating_sub(1));
                self.sample = ids.get(at).copied().filter(|_| at > 0);
            }
            Page::Rollouts => {
                let ids: Vec<_> = view.into_iter().flat_map(|v| v.rollouts.iter().rev().map(|r| r.id)).collect();
                let at = to(held_at(self.rollout, &ids), ids.len().saturating_sub(1));
                self.rollout = ids.get(at).copied().filter(|_| at > 0);
            }
            Page::Log => {
                let ids: Vec<_> = view.into_iter().flat_map(|v| v.lines.iter().map(|l| l.id)).collect();
                let last = ids.len().saturating_sub(1);
                let at = to(self.line_at(&ids), last);
                self.line = ids.get(at).copied().filter(|_| at < last);
            }
            Page::Gate => {
                let last = view.map_or(0, |v| v.judged.checks().len().saturating_sub(1));
                self.check = to(self.check.min(last), last);
            }
            Page::Weekly => {
                let ids = view.map(|v| v.judged.week_ids()).unwrap_or_default();
                let at = to(held_at(self.week, &ids), ids.len().saturating_sub(1));
                self.week = ids.get(at).copied().filter(|_| at > 0);
            }
            // All of it is on the screen.
            Page::Serving => (),
        }
    }

    /// Row of the cursor among the runs.
    pub(super) fn run_at(&self) -> usize {
        self.run.and_then(|id| self.runs.iter().position(|run| run.id == id)).unwrap_or(0)
    }

    /// Row of the metric looked at: the first that is not the loss until another is chosen.
    pub(super) fn metric_at(&self, names: &[&str]) -> usize {
        let chosen = self.metric.as_ref().and_then(|name| names.iter().position(|n| n == name));
        chosen.or_else(|| names.iter().position(|name| *name != "loss")).unwrap_or(0)
    }

    /// Row of the sample at the top, among ids from the newest to the oldest.
    pub(super) fn sample_at(&self, ids: &[i64]) -> usize {
        held_at(self.sample, ids)
    }

    /// Row of the rollout shown, among ids from the newest to the oldest.
    pub(super) fn rollout_at(&self, ids: &[i64]) -> usize {
        held_at(self.rollout, ids)
    }

    /// Row of the check looked at, of so many.
    pub(super) fn check_at(&self, checks: usize) -> usize {
        self.check.min(checks.saturating_sub(1))
    }

    /// Row of the week looked at, among weeks from the newest to the oldest.
    pub(super) fn week_at(&self, ids: &[i64]) -> usize {
        held_at(self.week, ids)
    }

    /// Row of the line at the bottom, among ids from the oldest to the newest.
    pub(super) fn line_at(&self, ids: &[i64]) -> usize {
        let last = ids.len().saturating_sub(1);
        self.line.map_or(last, |held| ids.iter().position(|&id| id >= held).unwrap_or(last))
    }

    /// Whether the log stays at its newest line.
    pub(super) fn at_end_of_log(&self) -> bool {
        self.line.is_none()
    }
}

/// Row of what is held, or of the nearest older one still there, among ids from the newest to the oldest.
fn held_at(held: Option<i64>, ids: &[i64]) -> usize {
    let last = ids.len().saturating_sub(1);
    held.map_or(0, |held| ids.iter().position(|&id| id <= held).unwrap_or(last))
}
