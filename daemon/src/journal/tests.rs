use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// A directory of the test's own, removed when dropped.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ipprivd-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn set(key: &str, value: &[u8]) -> Record {
    Record { key: key.to_owned(), value: Some(Zeroizing::new(value.to_vec())) }
}

fn forget(key: &str) -> Record {
    Record { key: key.to_owned(), value: None }
}

fn open(directory: &Directory) -> (Journal, Recovered) {
    Journal::open(&directory.0, Storage::Anywhere).unwrap()
}

/// What would be recovered, as text.
fn content(recovered: &Recovered) -> Vec<(String, Vec<u8>)> {
    let value = |record: &Record| record.value.as_ref().unwrap().to_vec();
    recovered.records.iter().map(|record| (record.key.clone(), value(record))).collect()
}

fn pairs(expected: &[(&str, &[u8])]) -> Vec<(String, Vec<u8>)> {
    expected.iter().map(|(key, value)| ((*key).to_owned(), value.to_vec())).collect()
}

#[test]
fn the_latest_record_of_each_key_comes_back() {
    let directory = Directory::new("latest");
    let (mut journal, recovered) = open(&directory);
    assert!(recovered.records.is_empty());
    for record in [set("b", b"1"), set("a", b"2"), set("b", b"3"), set("c", b"4"), forget("c")] {
        journal.append(&record).unwrap();
    }
    drop(journal);
    let (_, recovered) = open(&directory);
    assert_eq!(content(&recovered), pairs(&[("a", b"2"), ("b", b"3")]));
    assert_eq!(recovered.torn, 0);
}

/// A daemon killed at any octet of a write leaves what was whole, and can go on.
#[test]
fn a_file_cut_at_any_octet_keeps_every_whole_record() {
    let directory = Directory::new("cut");
    let (mut journal, _) = open(&directory);
    let mut ends = vec![(codec::HEADER.len(), Vec::new())];
    let mut expected = Vec::new();
    for (key, value) in [("a", "first"), ("b", "second"), ("c", "")] {
        journal.append(&set(key, value.as_bytes())).unwrap();
        expected.push((key.to_owned(), value.as_bytes().to_vec()));
        ends.push((usize::try_from(journal.end).unwrap(), expected.clone()));
    }
    drop(journal);
    let whole = fs::read(directory.0.join("journal")).unwrap();
    for length in 0..=whole.len() {
        fs::write(directory.0.join("journal"), &whole[..length]).unwrap();
        let (mut journal, recovered) = open(&directory);
        let kept = ends.iter().rev().find(|(end, _)| *end <= length);
        let (end, kept) = kept.cloned().unwrap_or_default();
        assert_eq!(content(&recovered), kept, "{length}");
        assert_eq!(recovered.torn, (length - end) as u64, "{length}");
        journal.append(&set("z", b"after")).unwrap();
        drop(journal);
        let (_, recovered) = open(&directory);
        assert_eq!(content(&recovered).last().unwrap().0, "z", "{length}");
        assert_eq!(recovered.records.len(), kept.len() + 1, "{length}");
    }
}

#[test]
fn what_is_dead_is_swept_out_and_what_lives_stays() {
    let directory = Directory::new("compact");
    let (mut journal, _) = open(&directory);
    journal.append(&set("stays", b"here")).unwrap();
    let large = vec![1; 1 << 18];
    for round in 0..20 {
        journal.append(&set("changes", &large)).unwrap();
        journal.append(&set("round", &[round])).unwrap();
    }
    assert!(journal.end < 3 << 20, "{}", journal.end);
    journal.append(&set("last", b"one")).unwrap();
    drop(journal);
    let (journal, recovered) = open(&directory);
    let expected = pairs(&[("changes", &large), ("last", b"one"), ("round", &[19]), ("stays", b"here")]);
    assert_eq!(content(&recovered), expected);
    assert_eq!(fs::metadata(directory.0.join("journal")).unwrap().len(), journal.end);
    assert_eq!(fs::metadata(directory.0.join("journal")).unwrap().mode() & 0o777, 0o600);
}

/// Killed while it compacts: the old file still has its name.
#[test]
fn a_half_made_copy_is_ignored_and_removed() {
    let directory = Directory::new("half");
    let (mut journal, _) = open(&directory);
    journal.append(&set("a", b"1")).unwrap();
    drop(journal);
    fs::write(directory.0.join("journal.new"), b"ippriv journal 1\nhalf").unwrap();
    let (_, recovered) = open(&directory);
    assert_eq!(content(&recovered), pairs(&[("a", b"1")]));
    assert!(!directory.0.join("journal.new").exists());
}

#[test]
fn damage_in_the_middle_keeps_what_is_before_it() {
    let directory = Directory::new("damage");
    let (mut journal, _) = open(&directory);
    journal.append(&set("a", b"1")).unwrap();
    let first = usize::try_from(journal.end).unwrap();
    journal.append(&set("b", b"2")).unwrap();
    journal.append(&set("c", b"3")).unwrap();
    drop(journal);
    let mut octets = fs::read(directory.0.join("journal")).unwrap();
    octets[first + 9] ^= 0x80;
    fs::write(directory.0.join("journal"), &octets).unwrap();
    let (_, recovered) = open(&directory);
    assert_eq!(content(&recovered), pairs(&[("a", b"1")]));
    assert_eq!(recovered.torn, (octets.len() - first) as u64);
}

#[test]
fn a_second_daemon_is_refused() {
    let directory = Directory::new("second");
    let _first = open(&directory);
    let second = Journal::open(&directory.0, Storage::Anywhere).err().unwrap();
    assert!(second.to_string().contains("in use by another ipprivd"), "{second}");
}

#[test]
fn a_directory_that_others_write_to_is_refused() {
    let directory = Directory::new("open");
    fs::set_permissions(&directory.0, fs::Permissions::from_mode(0o777)).unwrap();
    let refused = Journal::open(&directory.0, Storage::Anywhere).err().unwrap();
    assert!(matches!(refused, JournalError::Exposed { mode: 0o777, .. }), "{refused}");
}

#[test]
fn a_journal_that_others_read_is_refused() {
    let directory = Directory::new("readable");
    drop(open(&directory));
    fs::set_permissions(directory.0.join("journal"), fs::Permissions::from_mode(0o640)).unwrap();
    let refused = Journal::open(&directory.0, Storage::Anywhere).err().unwrap();
    assert!(matches!(refused, JournalError::Exposed { mode: 0o640, .. }), "{refused}");
}

#[test]
fn a_file_of_another_version_is_left_alone() {
    let directory = Directory::new("foreign");
    drop(open(&directory));
    fs::write(directory.0.join("journal"), b"ippriv journal 9\nsomething").unwrap();
    let refused = Journal::open(&directory.0, Storage::Anywhere).err().unwrap();
    assert!(matches!(refused, JournalError::Foreign { .. }), "{refused}");
    assert!(fs::read(directory.0.join("journal")).unwrap().ends_with(b"something"));
}

#[test]
fn only_memory_will_do_unless_said_otherwise() {
    // The sources are on a disk wherever this runs; /dev/shm is a tmpfs (man 7 shm_overview).
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    let refused = check_directory(sources, Storage::Memory).unwrap_err();
    assert!(matches!(refused, JournalError::Persistent { .. }), "{refused}");
    let shared = Path::new("/dev/shm");
    let judged = check_directory(shared, Storage::Memory);
    assert!(!matches!(judged, Err(JournalError::Persistent { .. })), "{judged:?}");
}

#[test]
fn a_removed_journal_leaves_nothing_to_adopt() {
    let directory = Directory::new("removed");
    let (mut journal, _) = open(&directory);
    journal.append(&set("a", b"1")).unwrap();
    journal.remove().unwrap();
    assert!(open(&directory).1.records.is_empty());
}
