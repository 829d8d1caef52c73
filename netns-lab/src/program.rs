//! Where the lab's own program is: it is the guest's first process and the keeper of a running guest.

use std::{
    io,
    path::{Path, PathBuf},
};

/// The name of the lab's program.
pub const NAME: &str = "ippriv-lab";

/// The path of the lab's program: the running one, or, for a test of this package, the one built beside it.
pub fn path() -> io::Result<PathBuf> {
    let running = newest(std::env::current_exe()?).canonicalize()?;
    if is_ours(&running) {
        return Ok(running);
    }
    // A test runs as target/<profile>/deps/<test>-<hash>; cargo builds the program as target/<profile>/ippriv-lab.
    let beside = running.parent().and_then(Path::parent).map(|profile| profile.join(NAME));
    beside.filter(|path| path.is_file()).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("{} is not {NAME} and none was built beside it", running.display()),
        )
    })
}

/// The file itself, or, when a build has replaced it since this process began, the one that lies there now. Linux
/// says so in the link's text (`proc_pid_exe(5)`).
fn newest(running: PathBuf) -> PathBuf {
    let replaced = running.to_str().and_then(|path| path.strip_suffix(" (deleted)")).map(PathBuf::from);
    replaced.filter(|path| path.is_file()).unwrap_or(running)
}

fn is_ours(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_was_built_again_is_found() {
        let here = std::env::current_exe().unwrap();
        let gone = PathBuf::from(format!("{} (deleted)", here.display()));
        assert_eq!(newest(gone), here);
        assert_eq!(newest(here.clone()), here);
        let nowhere = PathBuf::from("/nowhere/ippriv-lab (deleted)");
        assert_eq!(newest(nowhere.clone()), nowhere);
    }
}
