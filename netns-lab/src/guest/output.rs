//! The program's output: from its pipes to the job's files, with CPU marks taken out and answered by the host.
//!
//! Pipes, because a program that opens /dev/stdout again must not cut off what it wrote; files, because the host
//! reading late must never hold the guest up: in virtual time that would change what happens.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    process::{ChildStderr, ChildStdout},
    thread::{self, JoinHandle},
};

use crate::runner::{JobDir, MARK_PREFIX};

/// The threads that copy.
pub(super) struct Copies(Vec<JoinHandle<io::Result<()>>>);

impl Copies {
    /// Starts to copy what there is to copy.
    pub(super) fn start(
        dir: &JobDir,
        stdout: Option<(ChildStdout, File)>,
        stderr: Option<(ChildStderr, File)>,
        cpu_marks: bool,
    ) -> Self {
        let mut threads = Vec::new();
        if let Some((mut from, mut to)) = stdout {
            let dir = dir.clone();
            threads.push(thread::spawn(move || {
                if cpu_marks {
                    copy_lines(BufReader::new(from), to, |name| ask_for_mark(&dir, name))
                } else {
                    io::copy(&mut from, &mut to).map(drop)
                }
            }));
        }
        if let Some((mut from, mut to)) = stderr {
            threads.push(thread::spawn(move || io::copy(&mut from, &mut to).map(drop)));
        }
        Self(threads)
    }

    /// Waits until all is copied: everything that could write has ended.
    pub(super) fn finish(self) -> io::Result<()> {
        for thread in self.0 {
            thread.join().map_err(|_| io::Error::other("copying the output panicked"))??;
        }
        Ok(())
    }
}

fn copy_lines(
    mut from: impl BufRead,
    mut to: impl Write,
    mut mark: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        match mark_name(&line) {
            Some(name) => mark(name)?,
            None => to.write_all(&line)?,
        }
        line.clear();
    }
    Ok(())
}

/// The name in a mark line.
fn mark_name(line: &[u8]) -> Option<&[u8]> {
    line.strip_prefix(MARK_PREFIX).map(<[u8]>::trim_ascii).filter(|name| !name.is_empty())
}

/// Waits until the host has read the kernel's CPU time. The wait spins: sleeping would let virtual time pass, and
/// while this thread runs nothing else does.
fn ask_for_mark(dir: &JobDir, name: &[u8]) -> io::Result<()> {
    dir.put("mark", name)?;
    let mark = dir.file("mark");
    while mark.exists() {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_line_has_a_name() {
        assert_eq!(mark_name(b"@cpu-mark begin\n"), Some(&b"begin"[..]));
        assert_eq!(mark_name(b"@cpu-mark two words"), Some(&b"two words"[..]));
        assert_eq!(mark_name(b"@cpu-mark \n"), None);
        assert_eq!(mark_name(b" @cpu-mark x\n"), None);
    }

    #[test]
    fn marks_are_taken_out_and_the_rest_stays_byte_for_byte() {
        let mut out = Vec::new();
        let mut marks = Vec::new();
        let input = b"one\n@cpu-mark a\n\xff\r\n@cpu-mark b\nlast";
        copy_lines(&input[..], &mut out, |name| {
            marks.push(name.to_vec());
            Ok(())
        })
        .unwrap();
        assert_eq!(out, b"one\n\xff\r\nlast");
        assert_eq!(marks, [b"a", b"b"]);
    }
}
