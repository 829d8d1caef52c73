//! Settings of interfaces under `/proc/sys/net`.

use std::fs;
use std::path::PathBuf;

use ippriv::plan::OpError;
use ippriv::state::Sysctl;

/// The value, or `None` when the setting is not there.
pub(super) fn read(sysctl: &Sysctl) -> Option<String> {
    let value = fs::read_to_string(path(sysctl).ok()?).ok()?;
    Some(value.trim_end().to_owned())
}

/// Writes the value.
pub(super) fn write(sysctl: &Sysctl) -> Result<(), OpError> {
    let path = path(sysctl)?;
    fs::write(&path, &sysctl.value).map_err(|error| {
        OpError::Tool(format!("{}: cannot write {:?}: {error}", path.display(), sysctl.value))
    })
}

/// The file, if it is a setting of the interface that the setting says it is of.
fn path(sysctl: &Sysctl) -> Result<PathBuf, OpError> {
    let word = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let parts: Vec<_> = sysctl.path.split('/').collect();
    match parts[..] {
        ["net", "ipv4" | "ipv6", "conf" | "neigh", link, key]
            if link == sysctl.link.as_str() && word(key) =>
        {
            Ok(PathBuf::from("/proc/sys").join(&sysctl.path))
        }
        _ => Err(OpError::Tool(format!(
            "sysctl {:?}: expected net/ipv4 or net/ipv6, conf or neigh, {} and a name",
            sysctl.path, sysctl.link
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_settings_of_the_interface_have_a_path() {
        let path = |path: &str| {
            let link = "ippt".parse().unwrap();
            super::path(&Sysctl { link, path: path.into(), value: "1".into() })
        };
        assert_eq!(path("net/ipv4/conf/ippt/rp_filter"), Ok("/proc/sys/net/ipv4/conf/ippt/rp_filter".into()));
        for bad in [
            "net/ipv4/conf/all/rp_filter",
            "net/ipv4/conf/ippt/../../../../kernel/core_pattern",
            "net/ipv4/conf/ippt/..",
            "kernel/core_pattern",
            "/net/ipv4/conf/ippt/rp_filter",
            "net/ipv4/conf/ippt/",
        ] {
            assert!(path(bad).is_err(), "{bad}");
        }
    }
}
