//! How a system looks: the same colour and marker in every figure of every experiment.
//!
//! Hues are those of Okabe and Ito, which people who see fewer colours tell apart; lightness, markers and dashes
//! differ too, so that print in grey works. Ours is a strong vermilion, direct is grey, Tor is blue.

/// How a series looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// `#rrggbb`, readable on white and on near-black.
    pub colour: &'static str,
    /// The shape at its points.
    pub marker: Marker,
    /// How its line is broken: `stroke-dasharray`; empty for a whole line.
    pub dash: &'static str,
    /// Whether it is what a figure is about: drawn thicker, and over the others.
    pub stands_out: bool,
}

/// The shape of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// A disc.
    Disc,
    /// A square.
    Square,
    /// A triangle on its base.
    Up,
    /// A triangle on its tip.
    Down,
    /// A square on its tip.
    Diamond,
    /// Two crossing diagonals.
    Cross,
    /// An upright cross.
    Plus,
    /// A circle, not filled.
    Ring,
}

const MARKERS: [Marker; 8] = [
    Marker::Disc,
    Marker::Square,
    Marker::Up,
    Marker::Diamond,
    Marker::Down,
    Marker::Ring,
    Marker::Cross,
    Marker::Plus,
];

/// What tells series of one system apart.
const DASHES: [&str; 5] = ["", "6 3", "2 2", "8 2 2 2", "10 4"];

/// Colours of what is not a system, in the order of the axis' values.
const OTHERS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#a88600", "#56b4e9", "#7a5195", "#7f7f7f"];

/// The colours of a driver's systems, and the marker of the first.
struct Family {
    driver: &'static str,
    colours: &'static [&'static str],
    marker: usize,
    dash: &'static str,
}

const FAMILIES: [Family; 7] = [
    Family { driver: "direct", colours: &["#808080", "#a0a0a0"], marker: 5, dash: "5 3" },
    Family {
        driver: "ippriv",
        colours: &["#d55e00", "#e69f00", "#a63603", "#c0392b", "#b8860b", "#8c4a2f"],
        marker: 0,
        dash: "",
    },
    Family {
        driver: "tor",
        colours: &["#0072b2", "#56b4e9", "#4b4fa8", "#2a9fb0", "#8a7fd0", "#1b4f8a", "#6f8fd6", "#7a9aa8"],
        marker: 1,
        dash: "",
    },
    Family { driver: "wireguard", colours: &["#cc79a7", "#a8568a"], marker: 3, dash: "" },
    Family { driver: "tcp-tunnel", colours: &["#009e73", "#5fb58f"], marker: 4, dash: "" },
    Family { driver: "openvpn", colours: &["#8f7f00", "#b5a642"], marker: 6, dash: "" },
    // Those that are not known yet.
    Family {
        driver: "",
        colours: &["#5b8c00", "#8c6d46", "#b05fc0", "#3f6b6b", "#c2a300", "#6a3d9a"],
        marker: 7,
        dash: "8 2 2 2",
    },
];

/// Systems that have a fixed place in their family; others get one by their name.
const PLACES: [(&str, usize); 15] = [
    ("direct", 0),
    ("ippriv", 0),
    ("ippriv-ike", 1),
    ("ippriv-cbc", 2),
    ("ippriv-chacha", 3),
    ("tor", 0),
    ("tor-kist", 0),
    ("tor-vanilla", 1),
    ("tor-kistlite", 2),
    ("tor-w1000", 3),
    ("tor-w100", 4),
    ("wireguard", 0),
    ("tcp-over-tcp", 0),
    ("tcp-tunnel", 0),
    ("openvpn", 0),
];

/// The styles of an experiment's systems, given with their drivers; no two get the same while there are enough.
#[must_use]
pub fn of_systems(systems: &[(&str, &str)]) -> Vec<Style> {
    // Places are given out in the order of names, those that are fixed first, so that they do not depend on the order
    // of an axis.
    let mut order: Vec<usize> = (0..systems.len()).collect();
    order.sort_by_key(|at| (fixed(systems[*at].0).is_none(), systems[*at].0));
    let mut taken: Vec<(&str, usize)> = Vec::new();
    let mut styles = vec![None; systems.len()];
    for at in order {
        let (name, driver) = systems[at];
        let known = FAMILIES.iter().find(|family| family.driver == driver);
        let Some(family) = known.or(FAMILIES.last()) else { continue };
        let count = family.colours.len();
        let wish = fixed(name).unwrap_or_else(|| hash(name) % count) % count;
        let free = |place: &usize| !taken.contains(&(family.driver, *place));
        let place = (0..count).map(|next| (wish + next) % count).find(free).unwrap_or(wish);
        taken.push((family.driver, place));
        styles[at] = Some(family.style(place));
    }
    styles.into_iter().flatten().collect()
}

/// The style of the value of another axis, by its place there.
#[must_use]
pub(super) fn other(at: usize) -> Style {
    Style {
        colour: OTHERS[at % OTHERS.len()],
        marker: MARKERS[at % MARKERS.len()],
        dash: DASHES[at / OTHERS.len() % DASHES.len()],
        stands_out: false,
    }
}

impl Family {
    fn style(&self, place: usize) -> Style {
        Style {
            colour: self.colours[place % self.colours.len()],
            marker: MARKERS[(self.marker + place) % MARKERS.len()],
            dash: if place == 0 { self.dash } else { DASHES[place % DASHES.len()] },
            stands_out: self.driver == "ippriv",
        }
    }
}

impl Style {
    /// The same system in its `at`-th other circumstance: dashed differently.
    #[must_use]
    pub fn variant(self, at: usize) -> Self {
        let first = usize::from(!self.dash.is_empty());
        if at == 0 { self } else { Self { dash: DASHES[(first + at) % DASHES.len()], ..self } }
    }
}

fn fixed(name: &str) -> Option<usize> {
    PLACES.iter().find(|(known, _)| *known == name).map(|(_, place)| *place)
}

/// FNV-1a, which is the same everywhere and always.
fn hash(name: &str) -> usize {
    let hash =
        name.bytes().fold(0x811c_9dc5_u32, |hash, octet| (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193));
    hash as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_looks_the_same_among_others() {
        let few = of_systems(&[("tor-kist", "tor"), ("ippriv", "ippriv")]);
        let many = of_systems(&[
            ("ippriv-new", "ippriv"),
            ("ippriv", "ippriv"),
            ("tor-a", "tor"),
            ("tor-b", "tor"),
            ("tor-kist", "tor"),
        ]);
        assert_eq!(few, [many[4], many[1]]);
        let looks: Vec<_> = many.iter().map(|style| (style.colour, style.marker)).collect();
        for (at, look) in looks.iter().enumerate() {
            assert!(!looks[..at].contains(look), "{looks:?}");
        }
    }

    #[test]
    fn ours_stands_out_and_direct_is_grey() {
        let styles = of_systems(&[("ippriv", "ippriv"), ("direct", "direct"), ("mixnet", "mixnet")]);
        assert_eq!(styles.iter().map(|style| style.stands_out).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(styles[1].colour, "#808080");
        assert!(FAMILIES.last().unwrap().colours.contains(&styles[2].colour));
    }

    #[test]
    fn circumstances_are_told_apart_by_dashes() {
        for style in of_systems(&[("ippriv", "ippriv"), ("direct", "direct")]) {
            let dashes: Vec<_> = (0..3).map(|at| style.variant(at).dash).collect();
            assert!(dashes[0] != dashes[1] && dashes[1] != dashes[2] && dashes[0] != dashes[2], "{dashes:?}");
        }
    }

    #[test]
    fn more_systems_than_colours_are_no_error() {
        let names: Vec<String> = (0..20).map(|at| format!("tor-{at}")).collect();
        let systems: Vec<_> = names.iter().map(|name| (name.as_str(), "tor")).collect();
        assert_eq!(of_systems(&systems).len(), 20);
    }
}
