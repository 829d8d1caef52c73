//! An experiment taken apart into points.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::file::{Axis, Experiment, FileError, OF, Plot, PlotKind};
use super::point::Point;
use super::star::{Random, Star};
use super::substitute::{Values, is_name, substitute};
use crate::systems::Circuit;
use crate::topology::Topology;

/// What an experiment's axis of systems is called.
pub(super) const SYSTEM: &str = "system";

/// A point and its place in the experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The values of the axes.
    pub axes: Map<String, Value>,
    /// Which repetition of these values it is, from 0.
    pub rep: u32,
    /// What happens there.
    pub point: Point,
}

impl Planned {
    /// What the point is called when one looks on: the values of its axes.
    #[must_use]
    pub fn title(&self, axes: &[Axis]) -> String {
        let word = |axis: &Axis| {
            let value = self.axes.get(&axis.name).map(text).unwrap_or_default();
            if axis.name == SYSTEM { value } else { format!("{}={value}", axis.name) }
        };
        let words: Vec<String> = axes.iter().map(word).collect();
        format!("{} #{}", words.join(" "), self.rep + 1)
    }
}

/// A network in a file.
#[derive(Deserialize)]
#[serde(untagged)]
enum Network {
    Written(String),
    Made { star: Star },
}

/// Circuits in a file.
#[derive(Deserialize)]
#[serde(untagged)]
enum Circuits {
    Written(Vec<Circuit>),
    Made { random: Random },
}

/// The text of an axis's value: strings without quotes.
#[must_use]
pub fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl Experiment {
    /// The experiment in its short form.
    #[must_use]
    pub fn quick(mut self) -> Self {
        let quick = std::mem::take(&mut self.quick);
        for axis in &mut self.axes {
            if let Some(values) = quick.axes.get(&axis.name) {
                axis.values.clone_from(values);
            }
        }
        self.fixed.extend(quick.fixed);
        self.repetitions = quick.repetitions.unwrap_or(self.repetitions);
        self
    }

    /// The experiment with fewer values on an axis.
    ///
    /// # Errors
    /// There is no such axis, or it has no such value; says which there are.
    pub fn only(mut self, name: &str, wanted: &[&str]) -> Result<Self, String> {
        let names: Vec<&str> = self.axes.iter().map(|axis| axis.name.as_str()).collect();
        let unknown = format!("found no axis `{name}`, expected one of {}", names.join(", "));
        let axis = self.axes.iter_mut().find(|axis| axis.name == name).ok_or(unknown)?;
        let known: Vec<String> = axis.values.iter().map(text).collect();
        if let Some(missing) = wanted.iter().find(|value| !known.iter().any(|known| known == *value)) {
            return Err(format!("{name}: found `{missing}`, expected one of {}", known.join(", ")));
        }
        axis.values.retain(|value| wanted.contains(&text(value).as_str()));
        Ok(self)
    }

    /// Takes the settings of systems that the file does not have from `shared`, by name.
    pub fn share_systems(&mut self, shared: &Map<String, Value>) {
        for value in self.axes.iter().filter(|axis| axis.name == SYSTEM).flat_map(|axis| &axis.values) {
            let quick = self.quick.axes.get(SYSTEM).into_iter().flatten();
            for name in std::iter::once(value).chain(quick).filter_map(Value::as_str) {
                if let (false, Some(settings)) = (self.systems.contains_key(name), shared.get(name)) {
                    self.systems.insert(name.to_owned(), settings.clone());
                }
            }
        }
    }

    /// All points, in order: repetitions of one combination follow one another.
    ///
    /// # Errors
    /// [`FileError::Nonsense`] with the part of `file` that makes no sense and what was expected there.
    pub fn plan(&self, file: &str) -> Result<Vec<Planned>, FileError> {
        let nonsense = |place: &str, what: String| FileError::Nonsense {
            file: file.to_owned(),
            place: place.to_owned(),
            what,
        };
        self.check_axes().map_err(|what| nonsense("axes", what))?;
        let mut points = Vec::new();
        for axes in self.combinations() {
            if self.except.iter().any(|except| matches(except, &axes)) {
                continue;
            }
            let (point, _) = self.point(&axes).map_err(|(place, what)| nonsense(place, what))?;
            for rep in 0..self.repetitions {
                let seed = self.seed + u64::from(rep);
                points.push(Planned { axes: axes.clone(), rep, point: Point { seed, ..point.clone() } });
            }
        }
        if points.is_empty() {
            return Err(nonsense("axes", "found no point, expected one at least".to_owned()));
        }
        Ok(points)
    }

    fn check_axes(&self) -> Result<(), String> {
        if !self.axes.iter().any(|axis| axis.name == SYSTEM) {
            return Err(format!("found no axis `{SYSTEM}`, expected one"));
        }
        for (at, axis) in self.axes.iter().enumerate() {
            if !is_name(&axis.name) {
                return Err(format!("found `{}`, expected a name of a-z, 0-9 and _", axis.name));
            }
            if self.axes[..at].iter().any(|other| other.name == axis.name)
                || self.fixed.contains_key(&axis.name)
            {
                return Err(format!("found `{}` twice", axis.name));
            }
        }
        let known = |name: &String| self.axes.iter().any(|axis| axis.name == *name);
        let named = self.except.iter().flat_map(BTreeMap::keys);
        let named = named.chain(self.quick.axes.keys()).chain(self.derived.keys());
        let plotted = self.plots.iter().flat_map(|plot| {
            plot.series.iter().chain(along(plot)).chain(&plot.panels).chain(plot.only.keys())
        });
        match named.chain(plotted).find(|name| !known(name)) {
            Some(name) => Err(format!("found `{name}` used, expected an axis of that name")),
            None => Ok(()),
        }
    }

    /// Every combination of the axes' values, the last axis varying fastest.
    fn combinations(&self) -> Vec<Map<String, Value>> {
        let mut all = vec![Map::new()];
        for axis in &self.axes {
            let extend = |before: &Map<String, Value>| {
                let with = |value: &Value| {
                    let mut values = before.clone();
                    values.insert(axis.name.clone(), value.clone());
                    values
                };
                axis.values.iter().map(with).collect::<Vec<_>>()
            };
            all = all.iter().flat_map(extend).collect();
        }
        all
    }

    /// What names stand for at a combination of the axes' values.
    fn values(&self, axes: &Map<String, Value>) -> Result<Values, String> {
        let given = self.fixed.iter().chain(axes);
        let mut values: Values = given.map(|(name, value)| (name.clone(), value.clone())).collect();
        for (axis, derived) in &self.derived {
            let value = axes.get(axis).map(text).unwrap_or_default();
            let further = derived.get(&value).ok_or_else(|| {
                let known: Vec<&str> = derived.keys().map(String::as_str).collect();
                format!("{axis}: found nothing for `{value}`, expected one of {}", known.join(", "))
            })?;
            values.extend(further.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        Ok(values)
    }

    fn point(&self, axes: &Map<String, Value>) -> Result<(Point, Topology), (&'static str, String)> {
        let values = self.values(axes).map_err(|what| ("derived", what))?;
        let text = match read("topology", &self.topology, &values)? {
            Network::Written(text) => text,
            Network::Made { star } => star.text(),
        };
        let network = Topology::parse("topology", &text).map_err(|error| ("topology", error.to_string()))?;
        let name = axes.get(SYSTEM).and_then(Value::as_str).unwrap_or_default();
        let settings = self.systems.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.systems.keys().map(String::as_str).collect();
            (SYSTEM, format!("found `{name}`, expected one of {}", known.join(", ")))
        })?;
        let point = Point {
            topology: text,
            circuits: match read("circuits", &self.circuits, &values)? {
                Circuits::Written(circuits) => circuits,
                Circuits::Made { random } => random.circuits().map_err(|what| ("circuits", what))?,
            },
            servers: read("servers", &self.servers, &values)?,
            system: read(SYSTEM, settings, &values)?,
            workload: read("workload", &self.workload, &values)?,
            seed: self.seed,
        };
        check_nodes(&point, &network)?;
        Ok((point, network))
    }
}

fn matches(except: &BTreeMap<String, Vec<Value>>, axes: &Map<String, Value>) -> bool {
    except.iter().all(|(name, values)| axes.get(name).is_some_and(|value| values.contains(value)))
}

fn read<T: DeserializeOwned>(
    place: &'static str,
    value: &Value,
    values: &Values,
) -> Result<T, (&'static str, String)> {
    let value = substitute(value, values).map_err(|what| (place, what))?;
    serde_json::from_value(value).map_err(|error| (place, error.to_string()))
}

fn check_nodes(point: &Point, network: &Topology) -> Result<(), (&'static str, String)> {
    let unknown = |place, name: &str| (place, format!("found `{name}`, expected a node of the topology"));
    for circuit in &point.circuits {
        let nodes = std::iter::once(&circuit.client).chain(&circuit.hops);
        if let Some(name) = nodes.into_iter().find(|name| network.find(name).is_none()) {
            return Err(unknown("circuits", name));
        }
    }
    match point.servers.iter().find(|name| network.find(name).is_none()) {
        Some(name) => Err(unknown("servers", name)),
        None => Ok(()),
    }
}

/// The axis of the experiment that is a plot's x axis.
fn along(plot: &Plot) -> Option<&String> {
    plot.x.as_ref().filter(|axis| *axis != OF || plot.kind == PlotKind::Cdf)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SMALL: &str = "
about: Nothing.
answers: []
caveats: []
topology: |
  description: Two hosts.
  nodes:
    - { name: client, role: client }
    - { name: server, role: server }
  links:
    - { between: [client, server], rate: $rate, delay: 1ms }
circuits: [{ client: client, hops: [] }]
servers: [server]
systems:
  direct: { driver: direct }
workload: { kind: nothing }
axes:
  - { name: system, values: [direct] }
  - { name: rate, values: [1mbit, 2mbit, 3mbit] }
except:
  - { rate: [2mbit] }
repetitions: 2
quick:
  repetitions: 1
  axes: { rate: [1mbit] }
plots: []
";

    fn small() -> Experiment {
        Experiment::parse("small", SMALL).unwrap()
    }

    #[test]
    fn every_combination_that_is_not_left_out_is_a_point() {
        let points = small().plan("small").unwrap();
        let told: Vec<(String, u64)> =
            points.iter().map(|one| (one.title(&small().axes), one.point.seed)).collect();
        let told: Vec<(&str, u64)> = told.iter().map(|(title, seed)| (title.as_str(), *seed)).collect();
        let expected = [
            ("direct rate=1mbit #1", 1),
            ("direct rate=1mbit #2", 2),
            ("direct rate=3mbit #1", 1),
            ("direct rate=3mbit #2", 2),
        ];
        assert_eq!(told, expected);
        assert!(points[2].point.topology.contains("rate: 3mbit, delay"), "{}", points[2].point.topology);
        assert_eq!(small().quick().plan("small").unwrap().len(), 1);
    }

    #[test]
    fn values_can_follow_from_those_of_an_axis() {
        let derived = "derived: { rate: { 1mbit: { way: 5ms }, 3mbit: { way: 7ms } } }\nexcept:";
        let text = SMALL.replace("delay: 1ms", "delay: $way").replace("except:", derived);
        let points = Experiment::parse("f", &text).unwrap().plan("f").unwrap();
        assert!(points[0].point.topology.contains("rate: 1mbit, delay: 5ms"));
        assert!(points[2].point.topology.contains("rate: 3mbit, delay: 7ms"));
    }

    #[test]
    fn axes_can_be_narrowed() {
        let narrow = small().only("rate", &["3mbit"]).unwrap();
        assert_eq!(narrow.axes[1].values, [json!("3mbit")]);
        assert_eq!(
            small().only("rate", &["4mbit"]).unwrap_err(),
            "rate: found `4mbit`, expected one of 1mbit, 2mbit, 3mbit"
        );
        assert_eq!(small().only("x", &[]).unwrap_err(), "found no axis `x`, expected one of system, rate");
    }

    /// What a change of the file is refused with.
    fn refused(old: &str, new: &str) -> String {
        assert!(SMALL.contains(old));
        let experiment = Experiment::parse("f", &SMALL.replace(old, new)).unwrap();
        experiment.plan("f").unwrap_err().to_string()
    }

    #[test]
    fn nonsense_is_told_with_its_place() {
        assert_eq!(
            refused("servers: [server]", "servers: [sun]"),
            "f: servers: found `sun`, expected a node of the topology"
        );
        assert_eq!(
            refused("values: [direct]", "values: [tor]"),
            "f: system: found `tor`, expected one of direct"
        );
        assert_eq!(refused("name: system,", "name: rate,"), "f: axes: found no axis `system`, expected one");
        let derived = "derived: { rate: { 1mbit: { speed: 5 } } }\nexcept:";
        assert_eq!(
            refused("except:", derived),
            "f: derived: rate: found nothing for `3mbit`, expected one of 1mbit"
        );
        assert!(refused("$rate", "$speed").starts_with("f: topology: found $speed, expected the name"));
        assert!(refused("rate: $rate", "rate: fast").starts_with("f: topology: "));
        assert!(refused("kind: nothing", "kind: sleep").starts_with("f: workload: unknown variant `sleep`"));
        assert_eq!(
            refused("except:\n  - { rate", "except:\n  - { size"),
            "f: axes: found `size` used, expected an axis of that name"
        );
    }
}
