//! Results made readable: plots, tables, pages, comparisons.
//!
//! All of it is pure but for reading a result, writing files and finding fonts: the same result gives the same octets.

mod compare;
mod data;
mod draw;
mod figure;
mod files;
mod losses;
#[cfg(test)]
mod made;
mod marks;
mod page;
mod png;
mod scale;
mod stats;
mod style;
mod svg;
mod text;

pub use compare::{Change, Changes, Judgement, changes};
pub use data::{Measured, ReadError, Row};
pub use draw::{caption, draw};
pub use figure::{Cell, Figure, FigureError, Panel, Series};
pub use files::{Plotted, WriteError, plot, report};
pub use losses::{Comparison, Loss, compare as compare_with_tor};
pub use page::{Entry, page};
pub use png::{FONTS, Painter, PngError};
pub use stats::{Summary, differ, ecdf, quantile};
pub use style::{Marker, Style, of_systems};
