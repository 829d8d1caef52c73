//! The runners, for real: boots the cached lab kernel (and builds it when there is none).

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::{
    ffi::OsString,
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use ippriv_lab::{
    kernel,
    runner::{Choice, Clock, Finished, Job, Native, RunError, Runner, Uml, choose},
};

fn shell(script: &str) -> Job {
    Job::new(["sh", "-c", script])
}

fn virtual_time(script: &str, seed: u64) -> Job {
    Job { clock: Clock::Virtual { seed }, ..shell(script) }
}

fn boot(job: &Job) -> Result<Finished, RunError> {
    Uml::new(kernel::ensure()?).run(job)
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A new empty directory of this test's own.
fn own_dir(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    dir
}

#[test]
fn exit_codes_and_signals_come_back() {
    assert_eq!(boot(&shell("exit 7")).unwrap().code, 7);
    assert_eq!(boot(&shell("kill -TERM $$")).unwrap().code, 128 + 15);
    let missing = boot(&Job::new(["no-such-program"])).unwrap();
    assert_eq!(missing.code, 127);
    assert!(text(&missing.stderr).contains("no-such-program"));
}

#[test]
fn large_output_is_complete_and_streams_stay_apart() {
    let script =
        "seq 1 500000; seq 500001 900000 >&2; printf 'a\\r\\n\\0b'; echo again >/dev/stdout; printf e >&2";
    let finished = boot(&shell(script)).unwrap();
    let lines = |range: std::ops::RangeInclusive<u32>| {
        range.map(|number| format!("{number}\n")).collect::<String>().into_bytes()
    };
    assert_eq!(finished.stdout, [lines(1..=500_000), b"a\r\n\0bagain\n".to_vec()].concat());
    assert_eq!(finished.stderr, [lines(500_001..=900_000), b"e".to_vec()].concat());
    assert_eq!(finished.code, 0);
}

#[test]
fn environment_working_directory_and_input_reach_the_program() {
    let dir = own_dir("cwd");
    let mut job = shell("pwd; echo $COLOUR; cat; hostname; id -u; cat /sys/class/net/lo/flags");
    job.env.insert("COLOUR".into(), "light blue".into());
    job.cwd = dir.clone();
    job.stdin = b"given\n".to_vec();
    let finished = boot(&job).unwrap();
    let expected = format!("{}\nlight blue\ngiven\nlab\n0\n0x9\n", dir.display());
    assert_eq!(text(&finished.stdout), expected);
    fs::remove_dir(dir).unwrap();
}

#[test]
fn the_lab_kernel_does_what_the_lab_needs() {
    let script = "set -e
        ip link add x0 type xfrm dev lo if_id 1
        ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 1 mode tunnel \
            aead 'rfc4106(gcm(aes))' 0x0000000000000000000000000000000000000000 128
        tc qdisc add dev lo root netem delay 1ms
        nft 'add table ip t; add chain ip t c { type nat hook postrouting priority 100; }; add rule ip t c masquerade'
        ip netns add other
        ip link add v0 type veth peer name v1 netns other
        ip netns exec other ip -o link show v1 | cut -d: -f2
        sysctl -n net.ipv4.tcp_available_congestion_control";
    let finished = boot(&shell(script)).unwrap();
    assert_eq!(finished.code, 0, "{}", text(&finished.stderr));
    let out = text(&finished.stdout);
    assert!(out.contains("v1") && out.contains("bbr"), "{out}");
}

#[test]
fn the_host_stays_untouched_but_for_the_output_directory() {
    let out = own_dir("out");
    let name = format!("ippriv-lab-written.{}", std::process::id());
    let script = format!(
        "for dir in /etc /var/tmp /tmp /root /dev /run; do echo x >$dir/{name} || exit 1; done
         cat /etc/{name}
         echo x >/{name} && exit 2
         echo result >$LAB_OUT/result"
    );
    let job = Job { out_dir: Some(out.clone()), ..shell(&script) };
    let finished = boot(&job).unwrap();
    assert_eq!((finished.code, text(&finished.stdout)), (0, "x\n"), "{}", text(&finished.stderr));
    for dir in ["/", "/etc", "/var/tmp", "/tmp", "/root", "/dev", "/run"] {
        assert!(!Path::new(dir).join(&name).exists(), "{dir} was written to");
    }
    assert_eq!(fs::read_to_string(out.join("result")).unwrap(), "result\n");
    fs::remove_dir_all(out).unwrap();
}

#[test]
fn equal_seeds_give_equal_bytes_and_others_do_not() {
    let script = "date +%s.%N; od -An -tx1 -N 64 /dev/urandom; cat /proc/sys/kernel/random/uuid
        ip netns add other
        ip link add v0 type veth peer name v1 netns other
        ip addr add 192.0.2.1/24 dev v0 && ip link set v0 up
        ip -n other addr add 192.0.2.2/24 dev v1 && ip -n other link set v1 up
        tc qdisc add dev v0 root netem rate 10mbit delay 5ms 2ms loss 30%
        ping -D -c 20 -i 0.2 192.0.2.2; ip -o link show v0; date +%N";
    let run = |seed| boot(&virtual_time(script, seed)).unwrap().stdout;
    let first = run(7);
    assert!(text(&first).contains("20 packets transmitted"), "{}", text(&first));
    assert_eq!(text(&first), text(&run(7)));
    assert_ne!(first, run(8));
}

#[test]
fn the_lab_kernel_runs_no_program_of_the_host_by_itself() {
    // An unknown kind of link has the kernel look for a module.
    let script = "cat /proc/sys/kernel/modprobe; grep ^processes /proc/stat
        ip link add x type nothing 2>/dev/null
        ip link add x type nothing 2>/dev/null
        grep ^processes /proc/stat";
    let finished = boot(&shell(script)).unwrap();
    let lines: Vec<&str> = text(&finished.stdout).lines().collect();
    let [asked, before, after] = lines[..] else { panic!("{lines:?}") };
    let count = |line: &str| line.rsplit(' ').next().unwrap().parse::<u32>().unwrap();
    // The shell's own: `ip` twice, and `grep` again.
    assert_eq!((asked, count(after) - count(before)), ("", 3));
}

#[test]
fn an_hour_of_virtual_time_passes_at_once() {
    let job = virtual_time("date +%s; sleep 3600; date +%s", 1);
    let finished = boot(&job).unwrap();
    assert_eq!(text(&finished.stdout), "1700000000\n1700003600\n");
    assert!(finished.wall < Duration::from_secs(20), "{:?}", finished.wall);
}

#[test]
fn a_job_is_ended_at_its_limit_with_its_last_lines() {
    let job = Job { limit: Duration::from_secs(2), ..shell("echo the last words; sleep 1000") };
    match boot(&job) {
        Err(RunError::TimedOut { limit, last }) => {
            assert_eq!(limit, job.limit);
            assert!(last.contains("the last words"), "{last}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_program_left_running_does_not_hold_the_guest() {
    let finished = boot(&shell("sleep 1000 & echo done")).unwrap();
    assert_eq!((finished.code, text(&finished.stdout)), (0, "done\n"));
}

#[test]
fn cpu_marks_are_answered_in_order_and_taken_out() {
    let busy = "echo @cpu-mark begin; sleep 0.01; head -c 30000000 /dev/zero | md5sum >/dev/null; \
                echo @cpu-mark end; sleep 0.01; echo text";
    for clock in [Clock::Real, Clock::Virtual { seed: 1 }] {
        let finished = boot(&Job { cpu_marks: true, clock, ..shell(busy) }).unwrap();
        assert_eq!(text(&finished.stdout), "text\n");
        let [(begin, from), (end, to)] = finished.cpu_marks.as_slice() else {
            panic!("{:?}", finished.cpu_marks)
        };
        assert_eq!((begin.as_str(), end.as_str()), ("begin", "end"));
        assert!(to > from && *from > Duration::ZERO, "{:?}", finished.cpu_marks);
    }
}

#[test]
fn simple_programs_run_natively() {
    let name = format!("ippriv-native-written.{}", std::process::id());
    let script =
        format!("ip -o link; hostname; echo e >&2; echo x >/tmp/{name}; echo x >/{name} || exit 5; exit 6");
    let finished = Native.run(&shell(&script)).unwrap();
    assert_eq!(finished.code, 5, "{}", text(&finished.stderr));
    let out = text(&finished.stdout);
    assert!(out.contains("lo: <LOOPBACK,UP") && out.ends_with("lab\n"), "{out}");
    assert!(text(&finished.stderr).starts_with("e\n"));
    assert!(!Path::new("/tmp").join(name).exists());
}

#[test]
fn what_the_native_runner_cannot_do_is_refused() {
    assert!(matches!(choose(Choice::Native, Clock::Virtual { seed: 1 }), Err(RunError::NativeVirtual)));
    let marked = Job { cpu_marks: true, ..shell("true") };
    assert!(matches!(Native.run(&marked), Err(RunError::NoMarks)));
    assert!(matches!(Native.run(&Job::new(Vec::<OsString>::new())), Err(RunError::NoProgram)));
}

/// Starts the program itself, with `dir` for its temporary files, and waits until the guest runs.
fn start_in(dir: &Path, arguments: &[&str]) -> Child {
    kernel::ensure().unwrap();
    // A shell has what it starts in the background ignore Ctrl-C, and this may be part of that.
    let mut command = Command::new("env");
    command
        .args(["--default-signal=INT", env!("CARGO_BIN_EXE_ippriv-lab"), "exec"])
        .args(arguments)
        .env("TMPDIR", dir)
        .current_dir(dir);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0).spawn().unwrap();
    let mut first = [0];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).unwrap();
    child
}

/// Processes that work below `dir`: the kernel and its helpers do, in their job's directory.
fn processes_in(dir: &Path) -> Vec<PathBuf> {
    let links = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    links.filter(|path| fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(dir))).collect()
}

/// Sends a signal to the process group of `child`, as a terminal's Ctrl-C does.
fn signal_group(child: &Child, signal: &str) {
    let group = format!("-{}", child.id());
    assert!(Command::new("kill").args(["-s", signal, "--", &group]).status().unwrap().success());
}

#[test]
fn nothing_is_left_behind_when_the_host_process_is_killed() {
    for (signal, runner) in [("KILL", "uml"), ("INT", "uml"), ("KILL", "native")] {
        let dir = own_dir(&format!("{signal}-{runner}"));
        let mut child = start_in(&dir, &["--runner", runner, "--", "sh", "-c", "echo up; sleep 1000"]);
        assert!(processes_in(&dir).len() > 1);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        signal_group(&child, signal);
        assert_eq!(child.wait().unwrap().code(), None);
        wait_until_empty(&dir);
    }
}

#[test]
fn the_guest_ends_with_its_keeper() {
    let dir = own_dir("kill-keeper");
    let mut child = start_in(&dir, &["--runner", "uml", "--", "sh", "-c", "echo up; sleep 1000"]);
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    let killed = Command::new("kill").args(["-KILL", children.trim()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    wait_until_empty(&dir);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "waits for processes of the host")]
fn a_guest_in_virtual_time_has_a_processor_of_its_own() {
    let dir = own_dir("processor");
    let begun = Instant::now();
    // While other tests' guests have them all, it has none.
    loop {
        let script = "echo up; sleep infinity";
        let mut child = start_in(&dir, &["--runner", "uml", "--virtual", "--", "sh", "-c", script]);
        let guests = processes_in(&dir)
            .into_iter()
            .filter(|path| fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd != dir));
        let mut processors: Vec<String> = guests.map(|path| processors_of(&path)).collect();
        signal_group(&child, "KILL");
        child.wait().unwrap();
        wait_until_gone(&dir);
        processors.dedup();
        if let [one] = &processors[..]
            && one.parse::<u32>().is_ok()
        {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{processors:?}");
    }
    fs::remove_dir(dir).unwrap();
}

/// The processors that a process may run on, as the kernel lists them.
fn processors_of(process: &Path) -> String {
    let status = fs::read_to_string(process.join("status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn wait_until_empty(dir: &Path) {
    wait_until_gone(dir);
    fs::remove_dir(dir).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "waits for processes of the host")]
fn wait_until_gone(dir: &Path) {
    let begun = Instant::now();
    while !processes_in(dir).is_empty() || fs::read_dir(dir).unwrap().count() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "left: {:?}", processes_in(dir));
        std::thread::sleep(Duration::from_millis(20));
    }
}
