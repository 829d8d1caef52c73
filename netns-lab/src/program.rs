//! Where the lab's own program is: it is the guest's first process and the keeper of a running guest.

use std::{
    io,
    path::{Path, PathBuf},
};

/// The name of the lab's program.
pub const NAME: &str = "ippriv-lab";

/// The path of the lab's program: the running one, or, for a test of this package, the one built beside it.
pub fn path() -> io::Result<PathBuf> {
    let running = std::env::current_exe()?.canonicalize()?;
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

fn is_ours(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == NAME)
}
