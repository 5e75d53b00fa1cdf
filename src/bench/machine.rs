//! What the machine tells about a measurement: memory held, processors taken by others.

/// Processor time so far, in the kernel's ticks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Times {
    /// Of all processors, idle ones included.
    all: f64,
    /// Of all that were not idle.
    busy: f64,
    /// Of this program.
    own: f64,
}

impl Times {
    /// Now; `None` where there is no `/proc`.
    pub fn now() -> Option<Self> {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        Self::parse(&read("/proc/stat")?, &read("/proc/self/stat")?)
    }

    /// From the texts of `/proc/stat` and `/proc/self/stat`, which count in the same ticks.
    fn parse(machine: &str, own: &str) -> Option<Self> {
        // user nice system idle iowait irq softirq steal; guests are counted in user.
        let fields = machine.lines().next()?.split_whitespace().skip(1).take(8);
        let fields: Vec<f64> = fields.map(|x| x.parse().ok()).collect::<Option<_>>()?;
        let all: f64 = fields.iter().sum();
        // The name in brackets may hold spaces; user and system time are the 12th and 13th fields after it.
        let after = own.rsplit_once(')')?.1;
        let own = after.split_whitespace().skip(11).take(2).map(|x| x.parse::<f64>().ok()).sum::<Option<f64>>()?;
        Some(Self { all, busy: all - fields.get(3)? - fields.get(4)?, own })
    }

    /// Share of all processors that other programs took until `later`; `None` when no time has passed.
    pub fn others_until(&self, later: &Self) -> Option<f64> {
        let all = later.all - self.all;
        let others = (later.busy - self.busy) - (later.own - self.own);
        (all > 0.0).then(|| (others / all).max(0.0))
    }
}

/// Most memory held so far, in MiB.
pub(super) fn peak_rss_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
}

/// A percentile of sorted values, between neighbours where it falls between them; `at` in [0, 1].
pub(super) fn percentile(sorted: &[f64], at: f64) -> f64 {
    let place = (sorted.len() - 1) as f64 * at;
    let below = place as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_what_was_busy_and_not_ours() {
        let at = |stat: &str, own: &str| Times::parse(stat, own).unwrap();
        let before = at("cpu  100 0 50 800 50 0 0 0 7 7\ncpu0 1", "7 (a) b) R 1 2 3 4 5 6 7 8 9 10 20 30 0 0");
        assert_eq!(before, Times { all: 1000.0, busy: 150.0, own: 50.0 });
        let after = at("cpu  160 0 70 890 60 0 10 10 7 7\n", "7 (a) b) R 1 2 3 4 5 6 7 8 9 10 60 40 0 0");
        // 200 ticks, 100 of them busy, 50 ours.
        assert_eq!(before.others_until(&after), Some(0.25));
        assert_eq!(before.others_until(&before), None);
        assert_eq!(Times::parse("cpu 1 2", "1 (a) R"), None);
    }

    #[test]
    fn percentiles_lie_between_neighbours() {
        let sorted = [1.0, 2.0, 4.0];
        assert_eq!((percentile(&sorted, 0.0), percentile(&sorted, 0.5), percentile(&sorted, 1.0)), (1.0, 2.0, 4.0));
        assert!((percentile(&sorted, 0.75) - 3.0).abs() < 1e-12);
        assert_eq!(percentile(&[5.0], 0.99), 5.0);
    }
}
