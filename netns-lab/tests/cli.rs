//! The command line: exit codes, messages, and an ordinary user's run.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use ippriv_lab::kernel;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ippriv-lab");

fn lab(arguments: &[&str], cache: &Path) -> Output {
    Command::new(PROGRAM).args(arguments).env("IPPRIV_CACHE", cache).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A new empty directory that everybody can enter.
fn open_dir(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("ippriv-cli-{name}.{}", std::process::id()));
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

#[test]
fn wrong_usage_is_2_and_failure_is_1_with_one_line() {
    let cache = open_dir("errors");
    assert_eq!(lab(&["exec"], &cache).status.code(), Some(2));
    assert_eq!(lab(&["exec", "--seed", "1", "--", "true"], &cache).status.code(), Some(2));

    let output = lab(&["kernel", "path"], &cache);
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(message.starts_with("ippriv-lab: no lab kernel in "), "{message}");
    assert!(message.contains("run `cargo lab kernel build`"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");

    let output = lab(&["exec", "--runner", "native", "--virtual", "--", "true"], &cache);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("real time only"), "{}", text(&output.stderr));
    fs::remove_dir_all(cache).unwrap();
}

#[test]
fn a_failed_build_leaves_nothing_but_its_lock() {
    let cache = open_dir("build");
    let output = lab(&["kernel", "build", "--source", "/etc/passwd"], &cache);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/etc/passwd is not a kernel source"), "{}", text(&output.stderr));
    let left: Vec<_> =
        fs::read_dir(cache.join("lab-kernel")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"]);
    fs::remove_dir_all(cache).unwrap();
}

#[test]
fn info_says_what_was_tried_for_each_capability() {
    let cache = open_dir("info");
    let output = lab(&["kernel", "info", "--json"], &cache);
    let info: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let running = info["running"].as_array().unwrap();
    for name in ["veth", "xfrm interface", "ESP", "netem", "nftables masquerade"] {
        let capability = running.iter().find(|capability| capability["name"] == name).unwrap();
        assert!(capability["tried"].as_str().unwrap().contains("unshare"));
        assert_eq!(capability["present"] == true, capability["answer"].is_null());
    }
    assert!(info["lab_kernel"].is_null());
    fs::remove_dir_all(cache).unwrap();
}

#[test]
fn the_exit_code_and_the_output_are_the_programs() {
    let cache = kernel::cache_dir().unwrap().parent().unwrap().to_owned();
    kernel::ensure().unwrap();
    let output =
        lab(&["exec", "--runner", "uml", "--", "sh", "-c", "echo out; echo err >&2; exit 42"], &cache);
    assert_eq!(output.status.code(), Some(42));
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("out\n", "err\n"));
}

/// Root becomes nobody for this; for an ordinary user all tests are this test.
#[test]
fn an_ordinary_user_runs_the_lab() {
    let built = kernel::ensure().unwrap();
    let dir = open_dir("user");
    let entry = dir.join("lab-kernel").join(built.path().parent().unwrap().file_name().unwrap());
    fs::create_dir_all(&entry).unwrap();
    for file in [built.path(), built.seeded()] {
        fs::copy(&file, entry.join(file.file_name().unwrap())).unwrap();
    }
    let program = dir.join("ippriv-lab");
    fs::copy(PROGRAM, &program).unwrap();

    let is_root = text(&Command::new("id").arg("-u").output().unwrap().stdout).trim() == "0";
    let mut command = Command::new(if is_root { "setpriv" } else { "env" });
    if is_root {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    let script =
        "id -u; ip link add x0 type xfrm dev lo if_id 1 && echo xfrm; echo x >/etc/written && echo written";
    command.arg(program).args(["exec", "--virtual", "--", "sh", "-c", script]);
    let output =
        command.env_clear().env("PATH", "/usr/bin:/bin").env("IPPRIV_CACHE", &dir).current_dir("/").output();
    let output = output.unwrap();
    assert_eq!(text(&output.stdout), "0\nxfrm\nwritten\n", "{}", text(&output.stderr));
    fs::remove_dir_all(dir).unwrap();
}
