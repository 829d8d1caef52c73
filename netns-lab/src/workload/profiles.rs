//! Pages: the size of the document and of each object, in the order a browser asks for them.

use serde::{Deserialize, Serialize};

/// A page that is always the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// A news portal of 2008, about the one of paper 003: 78 kB and 30 objects, 912 kB in all.
    #[default]
    #[serde(rename = "cnn-2008")]
    Cnn2008,
    /// A page of text: 15 kB and 5 objects, 100 kB in all.
    Small,
    /// About the median page of the HTTP Archive in the 2020s: 30 kB and 70 objects, 2.0 MB in all.
    Modern,
}

const CNN_2008: &[u64] = &[
    61_000, 54_000, 48_000, 47_000, 44_000, 41_000, 39_000, 38_000, 36_000, 35_000, 33_000, 31_000, 30_000,
    29_000, 28_000, 27_000, 25_000, 24_000, 22_000, 21_000, 19_000, 18_000, 16_000, 15_000, 14_000, 12_000,
    11_000, 9_000, 5_000, 2_000,
];

const SMALL: &[u64] = &[32_000, 24_000, 18_000, 8_000, 3_000];

/// Styles and scripts first, then fonts and pictures, then the small things that scripts ask for.
const MODERN: &[u64] = &[
    60_000, 45_000, 30_000, 230_000, 120_000, 90_000, 70_000, 60_000, 50_000, 45_000, 40_000, 35_000, 30_000,
    25_000, 20_000, 15_000, 12_000, 10_000, 8_000, 5_000, 35_000, 30_000, 25_000, 20_000, 209_400, 110_000,
    85_000, 65_000, 50_000, 40_000, 35_000, 30_000, 25_000, 22_000, 20_000, 18_000, 16_000, 15_000, 14_000,
    12_000, 11_000, 10_000, 9_000, 8_000, 7_000, 6_000, 5_000, 4_000, 3_500, 3_000, 3_000, 2_500, 2_500,
    2_000, 2_000, 2_000, 1_500, 1_500, 1_500, 1_000, 1_000, 1_000, 1_000, 800, 800, 800, 600, 600, 500, 500,
];

impl Profile {
    /// Bytes of the document, and of each object.
    pub(super) fn sizes(self) -> (u64, &'static [u64]) {
        match self {
            Self::Cnn2008 => (78_000, CNN_2008),
            Self::Small => (15_000, SMALL),
            Self::Modern => (30_000, MODERN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_as_large_as_they_say() {
        let size = |profile: Profile| {
            let (html, objects) = profile.sizes();
            (objects.len(), html + objects.iter().sum::<u64>())
        };
        assert_eq!(size(Profile::Cnn2008), (30, 912_000));
        assert_eq!(size(Profile::Small), (5, 100_000));
        assert_eq!(size(Profile::Modern), (70, 2_000_000));
    }
}
