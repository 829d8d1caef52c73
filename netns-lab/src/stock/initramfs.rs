//! The archive that a kernel unpacks as its first file system: cpio's `newc` format, as the kernel's
//! Documentation/driver-api/early-userspace/buffer-format.rst has it.

/// The device number of the console.
const CONSOLE: (u32, u32) = (5, 1);
const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;
const DEVICE: u32 = 0o020_600;

/// An archive being written.
#[derive(Debug, Default)]
pub(super) struct Archive {
    octets: Vec<u8>,
    entries: u32,
}

impl Archive {
    pub(super) fn folder(&mut self, name: &str) -> &mut Self {
        self.entry(name, FOLDER, (0, 0), &[])
    }

    pub(super) fn console(&mut self, name: &str) -> &mut Self {
        self.entry(name, DEVICE, CONSOLE, &[])
    }

    pub(super) fn program(&mut self, name: &str, content: &[u8]) -> &mut Self {
        self.entry(name, PROGRAM, (0, 0), content)
    }

    pub(super) fn file(&mut self, name: &str, content: &[u8]) -> &mut Self {
        self.entry(name, FILE, (0, 0), content)
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.octets
    }

    /// A header of thirteen numbers, the name with a zero octet, and the content, each up to a multiple of four.
    fn entry(&mut self, name: &str, mode: u32, (major, minor): (u32, u32), content: &[u8]) -> &mut Self {
        self.entries += 1;
        let length = |octets: usize| u32::try_from(octets).unwrap_or(u32::MAX);
        let numbers = [
            self.entries,
            mode,
            0, // user
            0, // group
            1, // links
            0, // time
            length(content.len()),
            0, // device of the file
            0,
            major,
            minor,
            length(name.len() + 1),
            0, // checksum, which this format has not
        ];
        self.octets.extend(b"070701");
        for number in numbers {
            self.octets.extend(format!("{number:08X}").as_bytes());
        }
        self.octets.extend(name.as_bytes());
        self.octets.push(0);
        self.pad();
        self.octets.extend(content);
        self.pad();
        self
    }

    fn pad(&mut self) {
        self.octets.resize(self.octets.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_header_a_name_and_a_content_in_steps_of_four() {
        let mut archive = Archive::default();
        archive.program("init", b"hello");
        let octets = archive.finish();
        assert!(octets.starts_with(b"07070100000001000081ED"));
        assert_eq!(&octets[54..62], b"00000005");
        assert_eq!(&octets[110..116], b"init\0\0");
        assert_eq!(&octets[116..124], b"hello\0\0\0");
        assert_eq!(&octets[124..130], b"070701");
        assert!(octets.windows(10).any(|window| window == b"TRAILER!!!"));
    }

    #[test]
    fn the_console_is_a_device() {
        let mut archive = Archive::default();
        archive.console("dev/console");
        let octets = archive.finish();
        assert_eq!(&octets[14..22], b"00002180");
        assert_eq!(&octets[78..94], b"0000000500000001");
    }
}
