//! What the running kernel can do for the lab, found by trying it in a namespace that is thrown away.

use std::process::{Command, Stdio};

use serde::Serialize;

use crate::system;

/// Something the lab needs of a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Capability {
    /// What it is.
    pub name: &'static str,
    /// Whether the running kernel has it.
    pub present: bool,
    /// The command that was tried.
    pub tried: String,
    /// What the command said when it failed.
    pub answer: Option<String>,
}

/// Each capability and the commands that work only with it. They run in one new namespace each.
const TRIALS: &[(&str, &str)] = &[
    ("user and network namespaces", "true"),
    ("veth", "ip link add probe0 type veth peer name probe1"),
    ("xfrm interface", "ip link add probe0 type xfrm dev lo if_id 1"),
    (
        "ESP",
        "ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 1 mode tunnel \
         aead 'rfc4106(gcm(aes))' 0x0000000000000000000000000000000000000000 128",
    ),
    ("netem", "ip link set lo up && tc qdisc add dev lo root netem delay 1ms"),
    (
        "nftables masquerade",
        "nft 'add table ip probe; \
         add chain ip probe nat { type nat hook postrouting priority 100; }; \
         add rule ip probe nat masquerade'",
    ),
];

/// Tries everything. Without the programs to try with, the answer is no.
pub fn running_kernel() -> Vec<Capability> {
    TRIALS.iter().map(|(name, command)| try_one(name, command)).collect()
}

/// Whether the running kernel has everything. Stops at the first thing it lacks.
pub fn is_complete() -> bool {
    TRIALS.iter().all(|(name, command)| try_one(name, command).present)
}

fn try_one(name: &'static str, command: &str) -> Capability {
    let tried = format!("unshare --user --map-root-user --net sh -c \"{command}\"");
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "sh", "-c", command])
        .env("PATH", system::search_path())
        .stdin(Stdio::null())
        .output();
    let answer = match output {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            Some(text.lines().next().map_or_else(|| output.status.to_string(), str::to_owned))
        }
        Err(error) => Some(format!("cannot run unshare: {error}")),
    };
    Capability { name, present: answer.is_none(), tried, answer }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_trial_tells_what_was_tried_and_answered() {
        let capability = try_one("nothing", "echo no such thing >&2; exit 1");
        assert!(!capability.present);
        assert!(capability.tried.contains("no such thing"));
        assert!(capability.answer.is_some());
    }
}
