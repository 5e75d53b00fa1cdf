//! Published figures, embedded from `datasets/calibration`; each with its source and how sure it is.

use anyhow::{Context, Result, ensure};
use serde::Serialize;

const FIGURES: &str = include_str!("../../datasets/calibration/figures.tsv");
const CURVES: &str = include_str!("../../datasets/calibration/curves.tsv");

/// A figure that stands beside one of ours.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// The row it stands beside.
    #[serde(skip)]
    pub key: &'static str,
    /// As a person reads it.
    pub figure: &'static str,
    /// Its value in the row's unit, where it has one.
    pub number: Option<f64>,
    /// Who published it.
    pub source: &'static str,
    /// `P` read in the authors' own text, `S` second-hand, `D` arithmetic on either.
    pub sure: &'static str,
}

/// A point of a published curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub curve: &'static str,
    pub x: f64,
    pub y: f64,
    pub source: &'static str,
    pub sure: &'static str,
}

pub(super) fn figures() -> Result<Vec<Figure>> {
    rows(FIGURES, "figures.tsv", |[key, figure, number, source, sure]| {
        let number = Some(number).filter(|n| !n.is_empty()).map(str::parse).transpose()?;
        ensure!(["P", "S", "D"].contains(&sure), "sure is {sure:?}: use P, S or D");
        Ok(Figure { key, figure, number, source, sure })
    })
}

/// Points of one curve, in the order of the file.
pub(super) fn curve(name: &str) -> Result<Vec<Point>> {
    let all = rows(CURVES, "curves.tsv", |[curve, x, y, source, sure]| {
        Ok(Point { curve, x: x.parse()?, y: y.parse()?, source, sure })
    })?;
    Ok(all.into_iter().filter(|point| point.curve == name).collect())
}

/// Parses the rows below the header line.
fn rows<const N: usize, T>(
    text: &'static str,
    file: &str,
    mut row: impl FnMut([&'static str; N]) -> Result<T>,
) -> Result<Vec<T>> {
    let lines = text.lines().enumerate().skip(1);
    lines
        .map(|(i, line)| {
            let cells: Vec<&'static str> = line.split('\t').collect();
            let found = cells.len();
            let cells = cells.try_into().ok().with_context(|| format!("{found} columns instead of {N}"));
            cells.and_then(&mut row).with_context(|| format!("datasets/calibration/{file}:{}", i + 1))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_published_row_reads_and_curves_lie_in_range() {
        assert!(figures().unwrap().len() > 25);
        for name in ["ctr", "examination"] {
            let points = curve(name).unwrap();
            assert!(!points.is_empty() && points.iter().all(|p| p.x >= 1.0 && p.y > 0.0 && p.y < 1.0), "{name}");
        }
        let error = format!("{:#}", rows("a\tb\nonly", "x.tsv", |[_, _]: [&str; 2]| Ok(())).unwrap_err());
        assert_eq!(error, "datasets/calibration/x.tsv:2: 1 columns instead of 2");
    }
}
