//! What the lab kernel is configured with, and the name its cache entry gets from that.

/// What is added to User-Mode Linux's own default configuration.
pub(super) const FRAGMENT: &str = include_str!("../../kernel/lab.config");

/// The library that seeds the kernel's randomness.
pub(super) const SHIM: &str = include_str!("../../kernel/seeded.c");

/// The line in the fragment from which on options may be absent.
const OPTIONAL: &str = "# optional";

/// When, by whom and where the kernel says it was built: it mixes its name into its randomness, and kernels built on
/// two machines have to give the same results.
pub(super) const NAMES: [(&str, &str); 4] = [
    ("KBUILD_BUILD_TIMESTAMP", "Tue Nov 14 22:13:20 UTC 2023"),
    ("KBUILD_BUILD_USER", "lab"),
    ("KBUILD_BUILD_HOST", "lab"),
    ("KBUILD_BUILD_VERSION", "1"),
];

/// Sixteen hexadecimal digits that change when the configuration, the shim or the names do.
pub(super) fn hash() -> String {
    // FNV-1a, 64 bit: it only has to tell our own versions apart.
    let names = NAMES.iter().flat_map(|(_, value)| value.bytes().chain([0]));
    let bytes = FRAGMENT.bytes().chain([0]).chain(SHIM.bytes()).chain([0]).chain(names);
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// The essential lines of `fragment` that do not hold in the finished configuration `config`. An option that must be
/// off holds also where the kernel does not know it.
pub(super) fn missing(fragment: &str, config: &str) -> Vec<String> {
    fragment
        .lines()
        .take_while(|line| !line.starts_with(OPTIONAL))
        .filter(|line| match line.strip_prefix("# ").and_then(|rest| rest.strip_suffix(" is not set")) {
            Some(option) => config.lines().any(|found| found == format!("{option}=y")),
            None => line.starts_with("CONFIG_") && !config.lines().any(|found| found == *line),
        })
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_option_is_named() {
        let fragment = "# about\nCONFIG_A=y\nCONFIG_B=y\n# CONFIG_C is not set\n# CONFIG_D is not set\n";
        let config = "CONFIG_A=y\nCONFIG_BB=y\nCONFIG_C=y\n# CONFIG_D is not set\n";
        assert_eq!(missing(fragment, config), ["CONFIG_B=y", "# CONFIG_C is not set"]);
    }

    #[test]
    fn an_optional_one_may_be_missing() {
        assert!(missing("CONFIG_A=y\n# optional: new\nCONFIG_B=y\n", "CONFIG_A=y\n").is_empty());
    }

    #[test]
    fn the_fragment_asks_for_esp_without_offload() {
        for line in ["CONFIG_INET_ESP=y", "# CONFIG_INET_ESP_OFFLOAD is not set", "CONFIG_HOSTFS=y"] {
            assert!(FRAGMENT.lines().any(|found| found == line), "{line}");
        }
        assert!(!missing(FRAGMENT, "").is_empty());
    }

    #[test]
    fn the_hash_is_a_file_name() {
        assert_eq!(hash().len(), 16);
        assert!(hash().bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
