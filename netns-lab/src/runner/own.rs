//! Jobs that run our own program.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::{Job, MOUNTS};
use crate::{kernel, program, system};

/// A job that runs our own program inside the lab, with `ippriv` in its search path.
///
/// # Errors
/// When our own program cannot be found.
pub fn in_lab(arguments: &[&str]) -> io::Result<Job> {
    let program = program::path()?;
    let (programs, cache) = (Path::new(MOUNTS).join("programs"), Path::new(MOUNTS).join("cache"));
    let mut job = Job::new([programs.join(program.file_name().unwrap_or_default())]);
    job.argv.push("in-lab".into());
    job.argv.extend(arguments.iter().map(Into::into));
    let mut path = programs.into_os_string();
    path.push(":");
    path.push(system::lab_path());
    job.env.insert("PATH".into(), path);
    job.env.insert("IPPRIV_LAB".into(), "1".into());
    job.mounts.insert("programs".into(), program.parent().map(Path::to_owned).unwrap_or_default());
    if let Some(host) = kernel::cache_base().filter(|host| host.is_dir()) {
        job.env.insert("IPPRIV_CACHE".into(), cache.into());
        job.mounts.insert("cache".into(), host);
    }
    job.limit = Duration::from_secs(300);
    job.memory_mib = 3072;
    Ok(job)
}
