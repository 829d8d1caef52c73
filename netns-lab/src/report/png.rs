//! Pictures as PNG, for where SVG cannot be used.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::Database;
use resvg::usvg::{Options, Tree};

use crate::system::{self, SystemError, Tool};

/// The fonts of figures.
pub const FONTS: &[Tool] = &[
    Tool { program: "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", package: "fonts-dejavu-core" },
    Tool { program: "/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf", package: "fonts-dejavu-core" },
];

/// Pixels of the picture for each of the drawing's: figures are sharp on good screens and in print.
const SCALE: f32 = 2.0;

/// Makes pictures.
#[derive(Debug)]
pub struct Painter {
    options: Options<'static>,
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum PngError {
    /// The fonts are not there.
    #[error(transparent)]
    System(#[from] SystemError),
    /// A font cannot be read.
    #[error("{}: {source}", path.display())]
    Font {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The drawing is not SVG.
    #[error("the drawing is not SVG")]
    Svg(#[from] resvg::usvg::Error),
    /// The drawing has no size that a picture can have.
    #[error("a drawing of {width} by {height}: expected 1 to 10000 each")]
    Size {
        /// Its width.
        width: f32,
        /// Its height.
        height: f32,
    },
    /// The picture could not be compressed.
    #[error("cannot write PNG: {0}")]
    Encoding(String),
}

impl Painter {
    /// With the fonts of figures, which are installed if they can be.
    ///
    /// # Errors
    /// [`PngError`] when there are none.
    pub fn with_fonts() -> Result<Self, PngError> {
        system::ensure(FONTS)?;
        let mut fonts = Database::new();
        for font in FONTS {
            let path = PathBuf::from(font.program);
            fonts.load_font_data(std::fs::read(&path).map_err(|source| PngError::Font { path, source })?);
        }
        fonts.set_sans_serif_family("DejaVu Sans");
        Ok(Self { options: Options { fontdb: Arc::new(fonts), ..Options::default() } })
    }

    /// Without any, so that text is left out.
    #[cfg(test)]
    pub(super) fn without_fonts() -> Self {
        Self { options: Options::default() }
    }

    /// The picture of a drawing. The same drawing and fonts give the same octets.
    ///
    /// # Errors
    /// [`PngError`] when it is not one.
    pub fn png(&self, svg: &str) -> Result<Vec<u8>, PngError> {
        let tree = Tree::from_str(svg, &self.options)?;
        let (width, height) = (tree.size().width(), tree.size().height());
        let pixels = |length: f32| (length <= 10_000.0).then_some((length * SCALE).ceil() as u32);
        let mut picture = pixels(width)
            .zip(pixels(height))
            .and_then(|(width, height)| Pixmap::new(width, height))
            .ok_or(PngError::Size { width, height })?;
        resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut picture.as_mut());
        picture.encode_png().map_err(|error| PngError::Encoding(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without fonts, which a machine may lack.
    #[test]
    fn a_drawing_becomes_a_picture_of_twice_its_size() {
        let painter = Painter::without_fonts();
        let svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"3\" height=\"2\">\
                   <rect width=\"3\" height=\"2\" fill=\"#d55e00\"/></svg>";
        let png = painter.png(svg).unwrap();
        let picture = Pixmap::decode_png(&png).unwrap();
        assert_eq!((picture.width(), picture.height()), (6, 4));
        let pixel = picture.pixel(5, 3).unwrap();
        assert_eq!((pixel.red(), pixel.green(), pixel.blue()), (0xd5, 0x5e, 0x00));
        assert_eq!(painter.png(svg).unwrap(), png);
        assert!(painter.png("<svg").is_err());
    }
}
