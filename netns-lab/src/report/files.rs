//! Files: the figures of a result, and a page with all that belongs to it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::data::{Measured, ReadError};
use super::draw::draw;
use super::figure::{Figure, FigureError};
use super::page::{Entry, page};
use super::png::{Painter, PngError};

/// Why files could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The result cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A drawing did not become a picture.
    #[error("plot {plot}")]
    Png {
        /// Which figure.
        plot: String,
        /// Why.
        source: PngError,
    },
    /// A file cannot be written or copied.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What was written of a result's figures.
#[derive(Debug, Default)]
pub struct Plotted {
    /// The files.
    pub files: Vec<PathBuf>,
    /// The plots that do not fit the result.
    pub refused: Vec<FigureError>,
}

/// Draws every plot of a result into a folder, as SVG and PNG. A plot that does not fit does not keep the others from
/// being drawn.
///
/// # Errors
/// [`WriteError`] with the file.
pub fn plot(measured: &Measured, dir: &Path, painter: &Painter) -> Result<Plotted, WriteError> {
    let mut plotted = Plotted::default();
    for plot in &measured.manifest.experiment.plots {
        let figure = match Figure::of(measured, plot) {
            Ok(figure) => figure,
            Err(error) => {
                plotted.refused.push(error);
                continue;
            }
        };
        let svg = draw(&figure);
        let png = painter.png(&svg).map_err(|source| WriteError::Png { plot: plot.name.clone(), source })?;
        for (ending, octets) in [("svg", svg.as_bytes()), ("png", &png)] {
            let path = dir.join(format!("{}.{ending}", plot.name));
            write(&path, octets)?;
            plotted.files.push(path);
        }
    }
    Ok(plotted)
}

/// Writes the page of results: `index.html`, and beside it a folder for each with its samples, manifest and figures.
/// Gives the page, and the plots that do not fit.
///
/// # Errors
/// [`WriteError`] with the file.
pub fn report(
    dirs: &[PathBuf],
    out: &Path,
    painter: &Painter,
) -> Result<(PathBuf, Vec<FigureError>), WriteError> {
    let all = dirs.iter().map(|dir| Measured::read(dir)).collect::<Result<Vec<_>, _>>()?;
    let folders = folders(&all);
    let mut refused = Vec::new();
    for ((measured, dir), folder) in all.iter().zip(dirs).zip(&folders) {
        let folder = out.join(folder);
        fs::create_dir_all(&folder).map_err(|source| WriteError::File { path: folder.clone(), source })?;
        for name in ["samples.csv", "manifest.json"] {
            let (from, to) = (dir.join(name), folder.join(name));
            let octets = fs::read(&from).map_err(|source| WriteError::File { path: from, source })?;
            write(&to, &octets)?;
        }
        refused.extend(plot(measured, &folder, painter)?.refused);
    }
    let entries: Vec<Entry<'_>> =
        all.iter().zip(&folders).map(|(measured, folder)| Entry { measured, folder }).collect();
    let path = out.join("index.html");
    write(&path, page(&entries).as_bytes())?;
    Ok((path, refused))
}

fn write(path: &Path, octets: &[u8]) -> Result<(), WriteError> {
    fs::write(path, octets).map_err(|source| WriteError::File { path: path.to_owned(), source })
}

/// A folder for each result, named after it.
fn folders(all: &[Measured]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let names = all.iter().map(|measured| {
        let manifest = &measured.manifest;
        let safe = |letter: char| if letter.is_ascii_alphanumeric() || letter == '_' { letter } else { '-' };
        let name: String = manifest.name.chars().map(safe).collect();
        let name = if manifest.quick { format!("{name}-quick") } else { name };
        let mut folder = name.clone();
        let mut number = 2;
        while !taken.insert(folder.clone()) {
            folder = format!("{name}-{number}");
            number += 1;
        }
        folder
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::super::made;
    use super::*;

    #[test]
    fn a_report_has_the_page_and_all_that_belongs_to_it() {
        let (from, out) = (made::Dir::new("from"), made::Dir::new("out"));
        let mut measured = made::loss_sweep();
        measured.manifest.experiment.plots[1].x = Some("rate".to_owned());
        made::write(&measured, from.path());
        let dirs = [from.path().to_owned(), from.path().to_owned()];
        let (page, refused) = report(&dirs, &out.path().join("new"), &Painter::without_fonts()).unwrap();
        assert!(fs::read_to_string(&page).unwrap().contains("id=\"made-2\""));
        assert_eq!(refused.len(), 2);
        let mut names: Vec<_> = fs::read_dir(page.with_file_name("made"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let expected =
            ["delay.png", "delay.svg", "goodput.png", "goodput.svg", "manifest.json", "samples.csv"];
        assert_eq!(names, expected);
    }

    #[test]
    fn folders_are_different_and_within() {
        let mut measured = made::loss_sweep();
        measured.manifest.name = "../x".to_owned();
        let mut quick = measured.clone();
        quick.manifest.quick = true;
        assert_eq!(folders(&[measured.clone(), measured, quick]), ["---x", "---x-2", "---x-quick"]);
    }
}
