//! The files of the key log: a profile of Wireshark's with every key of this daemon.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use ippriv::node::{KeyLine, KeyTable};
use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// Where keys are written.
#[derive(Debug)]
pub struct KeyLog {
    ike: File,
    esp: File,
}

impl KeyLog {
    /// Opens the tables in `directory`, which is made if it is not there; lines of earlier daemons stay.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(directory: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let open = |name| {
            // A link that somebody else put there is not followed.
            let file = OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .custom_flags(i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default())
                .open(directory.join(name))?;
            file.set_permissions(Permissions::from_mode(0o600))?;
            Ok::<_, io::Error>(file)
        };
        Ok(Self { ike: open("ikev2_decryption_table")?, esp: open("esp_sa")? })
    }

    /// Writes a line.
    ///
    /// # Errors
    /// What the system says.
    pub fn append(&mut self, line: &KeyLine) -> io::Result<()> {
        let file = match line.table {
            KeyTable::Ike => &mut self.ike,
            KeyTable::Esp => &mut self.esp,
        };
        let text = Zeroizing::new([line.line.as_bytes(), b"\n"].concat());
        file.write_all(&text)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn tables_are_for_their_owner_and_grow() {
        let directory = std::env::temp_dir().join(format!("ippriv-key-log-{}", std::process::id()));
        for line in ["one", "two"] {
            let line = KeyLine { table: KeyTable::Esp, line: line.to_owned().into() };
            KeyLog::open(&directory).unwrap().append(&line).unwrap();
        }
        let table = directory.join("esp_sa");
        let (text, mode) = (fs::read_to_string(&table), fs::metadata(&table).unwrap().permissions().mode());
        fs::remove_file(&table).unwrap();
        std::os::unix::fs::symlink("/dev/null", &table).unwrap();
        let refused = KeyLog::open(&directory);
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(text.unwrap(), "one\ntwo\n");
        assert_eq!(mode & 0o7777, 0o600);
        assert!(refused.is_err());
    }
}
