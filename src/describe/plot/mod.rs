//! The curves as pictures: one SVG file each, ours in blue, what was published in orange.

mod bars;
mod lines;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use plotters::chart::MeshStyle;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{Ranged, ValueFormatter};
use plotters::prelude::*;

use super::curves::Curves;

/// Width and height in pixels.
const SIZE: (u32, u32) = (860, 520);
const OURS: RGBColor = RGBColor(33, 102, 172);
const PUBLISHED: RGBColor = RGBColor(217, 95, 2);
const SECOND: RGBColor = RGBColor(27, 120, 55);
const QUIET: RGBColor = RGBColor(150, 150, 150);
const INK: RGBColor = RGBColor(40, 40, 40);
const FONT: &str = "sans-serif";

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws every curve that the log has into a folder, made where it is not there; the files written.
pub(super) fn draw(folder: &Path, log: &str, curves: &Curves) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}: name another after --plot", folder.display()))?;
    let pictures: [(&str, bool, Picture); 6] = [
        ("dwell", curves.dwell.is_empty(), bars::dwell),
        ("queries-per-session", curves.queries_per_sitting.is_empty(), bars::sittings),
        ("context", curves.context.is_empty(), bars::context),
        ("rank-click", curves.ctr_by_rank.is_empty(), lines::ctr),
        ("examination", curves.examined_by_rank.is_empty(), lines::examination),
        ("drift", curves.query_divergence.is_empty(), lines::drift),
    ];
    let mut written = Vec::new();
    for (name, _, picture) in pictures.iter().filter(|(_, nothing, _)| !nothing) {
        let mut text = String::new();
        {
            let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
            area.fill(&WHITE)?;
            picture(&area, log, curves).with_context(|| format!("drawing {name}"))?;
            area.present()?;
        }
        let path = folder.join(format!("{name}.svg"));
        fs::write(&path, text).with_context(|| {
            format!("cannot write {}: check the disk's space and the folder's permissions", path.display())
        })?;
        written.push(path);
    }
    Ok(written)
}

type Picture = fn(&Area, &str, &Curves) -> Result<()>;

fn words(size: u32) -> TextStyle<'static> {
    (FONT, size).into_font().color(&INK)
}

/// A chart of two axes.
type Chart<'a, 'b, X, Y> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, Y>>;

/// Lines across at the labels of the vertical axis only, and what the axes say; the caller adds how they say it, and draws.
fn mesh<'m, 'a, 'b, X, Y>(
    chart: &'m mut Chart<'a, 'b, X, Y>,
    x: &str,
    y: &str,
) -> MeshStyle<'a, 'm, X, Y, SVGBackend<'b>>
where
    'b: 'a,
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc(x)
        .y_desc(y)
        .axis_desc_style(words(15))
        .label_style(words(14));
    mesh
}

/// Names the series, on a ground that lets nothing behind it confuse the words.
fn legend<'a, 'b: 'a, X, Y>(chart: &mut Chart<'a, 'b, X, Y>, at: SeriesLabelPosition) -> Result<()>
where
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    let mut labels = chart.configure_series_labels();
    labels.position(at).label_font(words(14)).background_style(WHITE.mix(0.9)).draw()?;
    Ok(())
}

fn percent(share: &f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

/// The end of an axis that begins at 0: a little above what must fit.
fn room(values: impl IntoIterator<Item = f64>) -> f64 {
    let most = values.into_iter().fold(0.0, f64::max);
    if most > 0.0 { 1.12 * most } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::describe::hidden::Sides;
    use crate::truth::Phrasing;

    fn curves() -> Curves {
        let sides = Sides { resolves: 5, misleads: 1, mixed: 2, silent: 2, resolves_in_words: 4 };
        Curves {
            dwell: vec![(1.0, 3.0, 0.25), (3.0, 10.0, 0.5), (10.0, 30.0, 0.25)],
            dwell_weibull: Some((0.7, 8.0)),
            ctr_by_rank: vec![0.4, 0.2, 0.1],
            examined_by_rank: vec![0.7, 0.5, 0.3],
            queries_per_sitting: vec![0.6, 0.3, 0.1],
            new_by_day: vec![Some(1.0), None, Some(0.2)],
            new_by_week: vec![Some(1.0), Some(0.3)],
            query_divergence: vec![0.3, 0.35],
            sense_divergence: vec![0.05, 0.06],
            context: BTreeMap::from([(Phrasing::Bare, sides), (Phrasing::Named, sides)]),
        }
    }

    #[test]
    fn each_curve_is_a_picture_with_its_published_figure_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let files = draw(&dir.path().join("deep/er"), "<log> & co", &curves()).unwrap();
        assert_eq!(files.len(), 6);
        for file in &files {
            let text = fs::read_to_string(file).unwrap();
            assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"), "{}", file.display());
            assert!(!text.contains("NaN") && text.contains("&lt;log&gt; &amp; co"), "{}", file.display());
        }
        let click = fs::read_to_string(dir.path().join("deep/er/rank-click.svg")).unwrap();
        assert!(click.contains("80 M keywords, Google 2020 (S)"), "{click}");
    }

    #[test]
    fn a_log_of_one_week_without_hidden_tables_draws_what_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let empty = Curves {
            dwell: vec![],
            dwell_weibull: None,
            examined_by_rank: vec![],
            query_divergence: vec![0.0],
            new_by_week: vec![None],
            new_by_day: vec![None; 7],
            sense_divergence: vec![],
            context: BTreeMap::new(),
            ..curves()
        };
        let files = draw(dir.path(), "l", &empty).unwrap();
        assert_eq!(files.len(), 3);
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(draw(&file, "l", &empty).unwrap_err().to_string().contains("--plot"));
    }
}
