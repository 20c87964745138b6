//! Archives: placed as a whole or not at all, whatever is in them.

use flate2::{Compression, write::GzEncoder};
use tar::{EntryType, Header};

use super::*;

/// An entry whose name is written as it is.
fn entry(name: &str, kind: EntryType, size: u64, content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    if kind.is_symlink() || kind.is_hard_link() {
        header.set_link_name("/etc/passwd").unwrap();
    }
    header.set_cksum();
    let mut bytes = [header.as_bytes(), content].concat();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

pub fn file_entry(name: &str, content: &[u8]) -> Vec<u8> {
    entry(name, EntryType::Regular, content.len() as u64, content)
}

pub fn packed(entries: &[Vec<u8>]) -> Vec<u8> {
    gzip(&[entries.concat(), vec![0; 1024]].concat())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn packed_source(archive: &[u8]) -> Source {
    Source { packed: true, ..source_of("set.tar.gz", archive) }
}

#[test]
fn an_archive_is_placed_as_a_whole_with_its_sums() {
    let long = "a".repeat(120);
    let archive = packed(&[
        // What other programs write before their files.
        entry("pax_global_header", EntryType::XGlobalHeader, 13, b"12 comment=x\n"),
        entry("././@LongLink", EntryType::GNULongName, 121, format!("{long}\0").as_bytes()),
        file_entry(&long[..100], b"long"),
        entry("./", EntryType::Directory, 0, b""),
        entry("set/", EntryType::Directory, 0, b""),
        file_entry("set/one.bin", b"1"),
        file_entry("./set/deep/er/two.bin", b"22"),
    ]);
    let served = archive.clone();
    let server = Server::new(move |r| good(&served, r));
    let mut world = World::new();
    // What a killed process left goes away.
    fs::create_dir_all(world.path(".unfinished-set-abc/set")).unwrap();
    fs::write(world.path(".unfinished-set-abc/set/one.bin"), b"h").unwrap();
    let source = packed_source(&archive);
    let fetched = world.fetch(&source, &server.url).unwrap();
    assert_eq!((fetched.dir, &fetched.files[0].1), (world.path("set"), &Arrival::Fetched));
    let sums = format!("{}  one.bin\n", hex_sum(b"1"));
    let expected: [(String, Vec<u8>); 3] = [
        ("set/SHA256SUMS".into(), sums.into()),
        ("set/deep/er/two.bin".into(), b"22".into()),
        ("set/one.bin".into(), b"1".into()),
    ];
    assert_eq!(world.files(), expected);
    // There already: verified without a request; changed: named.
    assert_eq!(world.fetch(&source, &server.url).unwrap().files, [("set".into(), Arrival::Verified)]);
    assert_eq!(server.requests().len(), 1);
    let mut message = |change: &dyn Fn(&World)| {
        change(&world);
        let error = world.fetch(&source, &server.url).unwrap_err();
        assert!(error.is_input());
        error.to_string()
    };
    assert!(
        message(&|w| fs::write(w.path("set/one.bin"), b"2").unwrap()).contains("one.bin is there already and is not")
    );
    assert!(message(&|w| fs::remove_file(w.path("set/one.bin")).unwrap()).contains("it lacks one.bin"));
    let sums = |text: &'static str| move |w: &World| fs::write(w.path("set/SHA256SUMS"), text).unwrap();
    assert!(message(&sums("00  ../../etc/passwd\n")).contains("its line `00  ../../etc/passwd` is no sum and name"));
    assert!(message(&sums("what")).contains("its line `what` is no sum and name"));
    // A list that lacks files, or all, verifies nothing.
    assert!(message(&sums("")).contains("SHA256SUMS is there already and is not as published (it is empty)"));
    fs::write(world.path("set/one.bin"), b"1").unwrap();
    fs::write(world.path("set/SHA256SUMS"), format!("{}  one.bin\n", hex_sum(b"1"))).unwrap();
    assert_eq!(world.fetch(&source, &server.url).unwrap().files, [("set".into(), Arrival::Verified)]);
    let larger = Source { contents: vec!["one.bin".into(), "two.bin".into()], ..source };
    let error = world.fetch(&larger, &server.url).unwrap_err();
    assert!(error.is_input() && error.to_string().contains("(it has no sum of two.bin)"), "{error}");
}

#[test]
fn an_archive_is_locked_until_its_directory_is_in_place() {
    // Taking the sum of so much is slow enough to be seen from here.
    let archive = packed(&[file_entry("set/one.bin", &content(16 << 20))]);
    let source = packed_source(&archive);
    let dir = tempfile::tempdir().unwrap();
    let (path, to) = (dir.path().join("set.tar.gz"), dir.path());
    fs::write(&path, &archive).unwrap();
    let at_work = || fs::read_dir(to).unwrap().any(|e| e.unwrap().path().to_string_lossy().contains(".unfinished-"));
    std::thread::scope(|scope| {
        let placing = scope.spawn(|| place(&source, &path, to));
        // Its directory is made under the lock, so from then on trying disturbs nobody.
        while !at_work() && !placing.is_finished() {
            std::thread::yield_now();
        }
        let other = File::open(&path).unwrap();
        while other.try_lock().is_err() {
            std::thread::yield_now();
        }
        assert!(to.join("set/SHA256SUMS").is_file());
        assert_eq!(placing.join().unwrap(), Ok(Arrival::Fetched));
    });
    // One that waited for the lock finds the directory, and leaves it as it is.
    fs::write(to.join("set/more"), b"mine").unwrap();
    assert_eq!(place(&source, &path, to), Ok(Arrival::Verified));
    assert_eq!(fs::read(to.join("set/more")).unwrap(), b"mine");
}

#[test]
fn a_directory_unpacked_by_hand_is_read() {
    let server = Server::new(|_| Vec::new());
    let mut world = World::new();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/svhn-a");
    fs::create_dir(world.path("svhn")).unwrap();
    for name in ["train_32x32.mat", "test_32x32.mat"] {
        fs::copy(fixtures.join(name), world.path("svhn").join(name)).unwrap();
    }
    let source = Source { directory: "svhn".into(), ..packed_source(b"x") };
    assert_eq!(world.fetch(&source, &server.url).unwrap().files, [("svhn".into(), Arrival::Readable)]);
    fs::write(world.path("svhn/test_32x32.mat"), b"<html>").unwrap();
    let error = world.fetch(&source, &server.url).unwrap_err();
    assert!(error.is_input() && error.to_string().contains("it is an HTML page"), "{error}");
    assert_eq!(server.requests(), Vec::<String>::new());
}

#[test]
fn archives_that_are_not_safe_are_refused_whole() {
    let file = || file_entry("set/one.bin", b"1");
    let rows = [
        (vec![file(), file_entry("../x", b"out")], "its entry `../x` leads out of the target with `..`"),
        (vec![file(), file_entry("set/../../x", b"out")], "its entry `set/../../x` leads out of the target with `..`"),
        (vec![file_entry("/tmp/x", b"out")], "its entry `/tmp/x` leads out of the target with an absolute path"),
        (
            vec![entry("set/link", EntryType::Symlink, 0, b""), file_entry("set/link/x", b"out")],
            "its entry `set/link` is a symbolic link, only files are unpacked",
        ),
        (
            vec![entry("set/link", EntryType::Link, 0, b"")],
            "its entry `set/link` is a hard link, only files are unpacked",
        ),
        (vec![entry("set/null", EntryType::Char, 0, b"")], "its entry `set/null` is a device, only files are unpacked"),
        (vec![entry("set/pipe", EntryType::Fifo, 0, b"")], "its entry `set/pipe` is a pipe, only files are unpacked"),
        (vec![file_entry("set\\..\\x", b"")], "its entry `set\\..\\x` has a name that is none everywhere"),
        (vec![file_entry(&"d/".repeat(20), b"")], "lies too deep"),
        (vec![file_entry(".", b"x")], "it holds a file without a name"),
        (vec![file(), file()], "it holds `set/one.bin` twice"),
        (vec![file_entry("other/one.bin", b"1")], "it holds no directory set"),
        (vec![entry("set/big", EntryType::Regular, 1 << 40, b"")], "it unpacks to more than 1073741824 bytes"),
    ];
    for (entries, why) in rows {
        let archive = packed(&entries);
        let served = archive.clone();
        let server = Server::new(move |r| good(&served, r));
        let mut world = World::new();
        let message = world.error(&packed_source(&archive), &server.url);
        let at = world.path("set.tar.gz");
        assert!(
            message.starts_with(&format!("{} was not unpacked: ", at.display())) && message.ends_with(why),
            "{message}"
        );
        // Only the archive, whose sum was right, is there.
        assert_eq!(world.files(), [("set.tar.gz".into(), archive)]);
    }
}

#[test]
fn bombs_and_damaged_archives_end_within_their_limits() {
    let unpacked = |bytes: &[u8], limits: Limits| {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        fs::create_dir(&target).unwrap();
        let message = unpack(bytes, "a.tar.gz", &target, limits).unwrap_err().to_string();
        let held: u64 = fs::read_dir(&target).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        (message, held)
    };
    let small = Limits { bytes: 1 << 20, entries: 4 };
    let zeros = vec![0; 3 << 20];
    let too_large = "a.tar.gz was not unpacked: it unpacks to more than 1048576 bytes";
    // A file that is larger, many that are together, zeros without end behind the last, names without end before it.
    let halves: Vec<Vec<u8>> = ["a", "b", "c"].map(|name| file_entry(name, &zeros[..400_000])).into();
    let names = entry("././@LongLink", EntryType::GNULongName, zeros.len() as u64, &zeros);
    for (archive, most) in [
        (packed(&[file_entry("a", &zeros)]), 0),
        (packed(&halves), 800_000),
        (gzip(&[file_entry("a", b"1"), zeros.clone()].concat()), 1),
        (packed(&[names, file_entry("a", b"1")]), 0),
    ] {
        let (message, held) = unpacked(&archive, small);
        assert_eq!(message, too_large);
        assert!(held <= most, "{held} of {most}");
    }
    let many: Vec<Vec<u8>> = (0..5).map(|i| file_entry(&i.to_string(), b"")).collect();
    assert_eq!(unpacked(&packed(&many), small).0, "a.tar.gz was not unpacked: it holds more than 4 files");
    let whole = packed(&[file_entry("a", &content(5000))]);
    for cut in [0, 1, 9, 100, whole.len() / 2, whole.len() - 1] {
        let (message, _) = unpacked(&whole[..cut], small);
        assert!(message.contains("it is damaged or no tar.gz file ("), "{cut}: {message}");
    }
    let short = gzip(&file_entry("a", &content(5000))[..3000]);
    assert_eq!(unpacked(&short, small).0, "a.tar.gz was not unpacked: it is damaged: it ends within `a`");
    let mut wrong_sum = whole;
    let at = wrong_sum.len() - 6;
    wrong_sum[at] ^= 1;
    assert!(unpacked(&wrong_sum, small).0.contains("it is damaged or no tar.gz file"));
    assert!(unpacked(b"<html>", small).0.contains("it is damaged or no tar.gz file"));
    assert!(unpacked(&gzip(&content(2000)), small).0.contains("it is damaged or no tar.gz file"));
}
