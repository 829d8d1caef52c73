//! The demo for people: a picture and tables, as plain text.

use std::fmt::Write as _;

use super::wire::{LinkView, Owner, Stream};
use super::{Compared, Demo};

/// Streams of fewer packets than the largest are still shown; of more kinds than this only the largest.
const STREAMS_SHOWN: usize = 6;

/// Draws the path, what is seen on it, who knows what, the costs and the verdicts.
#[must_use]
pub fn draw(demo: &Demo) -> String {
    let mut text = String::new();
    path(demo, &mut text);
    circuit(demo, &mut text);
    text.push_str("\nWhat an observer of each link sees (addresses, SPIs, sizes of IP packets)\n");
    for link in &demo.links {
        wire_view(link, &mut text);
    }
    who_knows_what(demo, &mut text);
    costs(demo, &mut text);
    let _ = writeln!(text, "\nTraceroute through the circuit: {}", demo.traceroute.join(" → "));
    verdicts(demo, &mut text);
    text
}

const COLUMN: usize = 16;

/// Routers in a line, and the hosts below the routers they are at.
fn path(demo: &Demo, text: &mut String) {
    let mut routers = String::new();
    for (position, router) in demo.routers.iter().enumerate() {
        let last = position + 1 == demo.routers.len();
        let line = if last { "" } else { " " };
        let _ = write!(routers, "{}", pad(&format!("{router}{line}"), COLUMN, if last { ' ' } else { '─' }));
    }
    let _ = writeln!(text, "{}", routers.trim_end());
    let under = |of: &dyn Fn(&super::HostView) -> String, text: &mut String| {
        let line: String = demo
            .routers
            .iter()
            .map(|router| {
                let host = demo.hosts.iter().find(|host| host.router == *router);
                pad(&host.map(of).unwrap_or_default(), COLUMN, ' ')
            })
            .collect();
        let _ = writeln!(text, "{}", line.trim_end());
    };
    under(&|_| "  │".to_owned(), text);
    under(&|host| host.name.clone(), text);
    under(&|host| host.address.clone(), text);
    under(&|host| host.pool.clone().unwrap_or_default(), text);
}

/// `text` filled up to `width` characters.
fn pad(text: &str, width: usize, fill: char) -> String {
    let missing = width.saturating_sub(text.chars().count());
    text.chars().chain(std::iter::repeat_n(fill, missing)).collect()
}

/// How the circuit came to be, hop by hop.
fn circuit(demo: &Demo, text: &mut String) {
    text.push_str("\nWhat IKEv2 built, hop by hop, each through the hops before it\n");
    let mut from = demo.hosts.first().map(|host| host.address.clone()).unwrap_or_default();
    for hop in &demo.circuit {
        let ends = format!("{from} > {}", hop.address);
        let _ = writeln!(
            text,
            "  {}{}gave {}ESP {}, IKE {}",
            pad(&hop.relay, 10, ' '),
            pad(&ends, 31, ' '),
            pad(&hop.assigned, 16, ' '),
            hop.esp_suite,
            hop.ike_suite
        );
        from.clone_from(&hop.assigned);
    }
}

fn wire_view(view: &LinkView, text: &mut String) {
    let _ = writeln!(text, "  {}", view.link);
    let mut streams: Vec<&Stream> = view.streams.iter().collect();
    streams.sort_by_key(|stream| std::cmp::Reverse(stream.packets));
    for stream in streams.iter().take(STREAMS_SHOWN) {
        let what = match (stream.spi, stream.belongs_to) {
            (Some(spi), Owner::Overlay) => format!("ESP spi {spi:#010x} (overlay)"),
            (Some(spi), _) => format!("ESP spi {spi:#010x} (layer)"),
            (None, Owner::Ike) => "IKE".to_owned(),
            (None, _) => format!("{} in clear", stream.protocol),
        };
        let _ = writeln!(
            text,
            "    {} > {}  {what}  {} packets of {} to {} octets",
            stream.source, stream.destination, stream.packets, stream.smallest, stream.largest
        );
    }
    if streams.len() > STREAMS_SHOWN {
        let _ = writeln!(text, "    and {} smaller streams", streams.len() - STREAMS_SHOWN);
    }
}

fn who_knows_what(demo: &Demo, text: &mut String) {
    text.push_str("\nWho knows what, from the captures\n");
    let _ = writeln!(text, "  {}{}server's address", pad("", 24, ' '), pad("client's address", 18, ' '));
    for knower in &demo.knowers {
        let seen = |yes: bool| if yes { "seen" } else { "·" };
        let _ = writeln!(
            text,
            "  {}{}{}",
            pad(&knower.who, 24, ' '),
            pad(seen(knower.client), 18, ' '),
            seen(knower.server)
        );
    }
}

fn costs(demo: &Demo, text: &mut String) {
    text.push_str("\nWhat it costs\n");
    let _ = writeln!(
        text,
        "  {}{}{}limit by headers",
        pad("", 24, ' '),
        pad("circuit", 16, ' '),
        pad("direct", 16, ' ')
    );
    for Compared { what, unit, circuit, direct, limit } in &demo.traffic {
        let value = |number: f64| format!("{number:.2} {unit}");
        let limit = limit.map(value).unwrap_or_default();
        let row = format!(
            "  {}{}{}{limit}",
            pad(what, 24, ' '),
            pad(&value(*circuit), 16, ' '),
            pad(&value(*direct), 16, ' ')
        );
        let _ = writeln!(text, "{}", row.trim_end());
    }
}

fn verdicts(demo: &Demo, text: &mut String) {
    text.push_str("\nVerdicts\n");
    for verdict in &demo.verdicts {
        let mark = if verdict.pass { "yes" } else { "NO " };
        let _ = writeln!(text, "  {mark} {}: {}", verdict.name, verdict.evidence);
    }
    let failed = demo.verdicts.iter().filter(|verdict| !verdict.pass).count();
    let all = demo.verdicts.len();
    let _ = match failed {
        0 => writeln!(text, "All {all} verdicts hold."),
        _ => writeln!(text, "{failed} of {all} verdicts do NOT hold."),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_counts_characters_not_octets() {
        assert_eq!(pad("é", 3, '·'), "é··");
        assert_eq!(pad("long", 3, ' '), "long");
    }
}
