//! The file system, against std's.

use fibers::fs::{self, File, OpenOptions};
use fibers::{Cond, Handle, Op, Shutdown, channel, op, spawn, time};
use fibers_tests::{Drops, HANG, everywhere, on_workers, rounds, watchdog};
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A directory of the test's own, removed at its end.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("fibers-os-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Place(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn names(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

#[test]
fn what_is_written_is_read() {
    everywhere(|_| {
        let place = Place::new();
        let (a, b, c) = (place.at("a"), place.at("b"), place.at("c"));
        let data = pattern(300_000);
        fs::write(&a, &data).unwrap();
        assert_eq!(std::fs::read(&a).unwrap(), data);
        assert_eq!(fs::read(&a).unwrap(), data);
        assert_eq!(fs::copy(&a, &b).unwrap(), 300_000);
        fs::rename(&b, &c).unwrap();
        assert!(!fs::exists(&b).unwrap() && fs::exists(&c).unwrap());
        fs::hard_link(&c, &b).unwrap();
        assert_eq!(fs::read(&b).unwrap(), data);
        fs::remove_file(&b).unwrap();
        fs::symlink("c", &b).unwrap();
        assert_eq!(fs::read_link(&b).unwrap(), Path::new("c"));
        assert_eq!(fs::canonicalize(&b).unwrap(), std::fs::canonicalize(&c).unwrap());
        assert!(fs::symlink_metadata(&b).unwrap().is_symlink());
        assert_eq!(fs::metadata(&b).unwrap().len(), 300_000);
        fs::set_permissions(&c, fs::Permissions::from_mode(0o400)).unwrap();
        assert_eq!(std::fs::metadata(&c).unwrap().permissions().mode() & 0o777, 0o400);
        fs::write(&a, "text").unwrap();
        assert_eq!(fs::read_to_string(&a).unwrap(), "text");
        fs::write(&a, [0xFF]).unwrap();
        assert_eq!(fs::read_to_string(&a).unwrap_err().kind(), ErrorKind::InvalidData);
    });
}

#[test]
fn directories() {
    everywhere(|_| {
        let place = Place::new();
        fs::create_dir(place.at("one")).unwrap();
        assert_eq!(fs::create_dir(place.at("one")).unwrap_err().kind(), ErrorKind::AlreadyExists);
        fs::create_dir_all(place.at("two/three/four")).unwrap();
        assert_eq!(
            fs::remove_dir(place.at("two")).unwrap_err().kind(),
            ErrorKind::DirectoryNotEmpty
        );
        fs::remove_dir_all(place.at("two")).unwrap();
        fs::remove_dir(place.at("one")).unwrap();
        assert!(place.names().is_empty());
        assert_eq!(fs::read_dir(place.at("one")).unwrap_err().kind(), ErrorKind::NotFound);
    });
}

/// Of all sizes around that of a batch.
#[test]
fn a_directory_is_streamed() {
    on_workers(&[1, 2], |_| {
        for count in [0, 1, 127, 128, 129, 300] {
            let place = Place::new();
            for i in 0..count {
                std::fs::write(place.at(&i.to_string()), "").unwrap();
            }
            let names: Vec<_> = fs::read_dir(&place.0)
                .unwrap()
                .map(|entry| {
                    let entry = entry.unwrap();
                    assert!(entry.file_type().unwrap().is_file());
                    assert_eq!(entry.path(), place.0.join(entry.file_name()));
                    entry.file_name().into_string().unwrap()
                })
                .collect();
            assert_eq!(names.len(), count);
            assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), place.names());
        }
    });
}

#[test]
fn a_file_has_a_cursor_and_places() {
    everywhere(|_| {
        let place = Place::new();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(place.at("f"))
            .unwrap();
        file.write_all(b"hello world").unwrap();
        assert_eq!(file.stream_position().unwrap(), 11);
        file.rewind().unwrap();
        let mut five = [0; 5];
        file.read_exact(&mut five).unwrap();
        assert_eq!(&five, b"hello");
        assert_eq!(file.seek(SeekFrom::End(-5)).unwrap(), 6);
        let mut rest = String::new();
        (&file).read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "world");
        assert_eq!((&file).read(&mut five).unwrap(), 0, "the end");
        assert_eq!((&file).read(&mut []).unwrap(), 0);
        file.write_all_at(b"HELLO", 0).unwrap();
        file.read_exact_at(&mut five, 0).unwrap();
        assert_eq!(&five, b"HELLO");
        assert_eq!(file.read_at(&mut five, 100).unwrap(), 0);
        assert_eq!(file.read_exact_at(&mut five, 9).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        file.set_len(3).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 3);
        file.sync_data().unwrap();
        file.sync_all().unwrap();
        let mut other = file.try_clone().unwrap();
        other.seek(SeekFrom::Start(1)).unwrap();
        let mut rest = Vec::new();
        file.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"EL", "the cursor is shared");
        let mut plain = File::from(other.into_std().unwrap());
        plain.rewind().unwrap();
        assert_eq!(plain.read(&mut five).unwrap(), 3);
    });
}

/// More than one call takes, through `Read` and `Write`.
#[test]
fn large_transfers() {
    everywhere(|_| {
        let place = Place::new();
        let data = pattern(3_000_001);
        let mut file = File::create(place.at("f")).unwrap();
        file.write_all(&data).unwrap();
        let mut read = vec![0; data.len()];
        File::open(place.at("f")).unwrap().read_exact(&mut read).unwrap();
        assert!(read == data);
    });
}

/// The way over the pool, for file systems and kernels that cannot say what is in memory.
#[test]
fn reading_without_the_short_cut() {
    use fibers::fault::{Call, Fault, scoped};
    on_workers(&[1], |_| {
        let place = Place::new();
        let data = pattern(2_500_000);
        std::fs::write(place.at("f"), &data).unwrap();
        for fault in [
            Fault::always(libc::EAGAIN),
            Fault::always(libc::EOPNOTSUPP),
            Fault::short(1000),
        ] {
            let _fault = scoped(Call::ReadCached, fault);
            let mut file = File::open(place.at("f")).unwrap();
            let mut read = vec![0; data.len()];
            file.read_exact(&mut read).unwrap();
            assert!(read == data);
            assert_eq!(file.read(&mut [0; 5]).unwrap(), 0);
            file.read_exact_at(&mut read[..10], 77).unwrap();
            assert_eq!(read[..10], data[77..87]);
        }
    });
}

#[test]
fn options_are_stds() {
    on_workers(&[1], |_| {
        let place = Place::new();
        assert_eq!(File::open(place.at("f")).unwrap_err().kind(), ErrorKind::NotFound);
        let mut log = File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(place.at("f"))
            .unwrap();
        log.write_all(b"one").unwrap();
        let mut other = OpenOptions::default().append(true).open(place.at("f")).unwrap();
        other.write_all(b"two").unwrap();
        log.write_all(b"three").unwrap();
        assert_eq!(fs::read_to_string(place.at("f")).unwrap(), "onetwothree");
        assert_eq!(fs::metadata(place.at("f")).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(File::create_new(place.at("f")).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!((&log).read(&mut [0]).unwrap_err().raw_os_error(), Some(libc::EBADF));
        File::create(place.at("f")).unwrap();
        assert_eq!(fs::read(place.at("f")).unwrap(), b"");
    });
}

#[test]
fn a_lock_is_one_of_the_open_file() {
    everywhere(|on| {
        let place = Place::new();
        let path = place.at("f");
        let held = File::create(&path).unwrap();
        held.lock().unwrap();
        let waiting: Vec<_> = (0..4)
            .map(|i| {
                let other = File::open(&path).unwrap();
                assert!(matches!(other.try_lock(), Err(fs::TryLockError::WouldBlock)));
                assert!(matches!(other.try_lock_shared(), Err(fs::TryLockError::WouldBlock)));
                let path = path.clone();
                on.spawn(move || {
                    match i % 2 {
                        0 => other.lock().unwrap(),
                        _ => other.lock_shared().unwrap(),
                    }
                    // Whoever has it alone finds nobody else's traces, nor leaves any.
                    if i % 2 == 0 {
                        let count: u32 = fs::read_to_string(&path).unwrap().parse().unwrap();
                        fs::write(&path, (count + 1).to_string()).unwrap();
                    }
                    other.unlock().unwrap();
                })
            })
            .collect();
        fs::write(&path, "0").unwrap();
        held.unlock().unwrap();
        waiting.into_iter().for_each(|task| task.join());
        assert_eq!(fs::read_to_string(&path).unwrap(), "2");
        held.lock_shared().unwrap();
        assert!(File::open(&path).unwrap().try_lock_shared().is_ok());
        drop(held);
        assert!(File::open(&path).unwrap().try_lock().is_ok());
    });
}

#[test]
fn owners_times_and_directories() {
    use std::os::unix::fs::MetadataExt;
    everywhere(|_| {
        let place = Place::new();
        let below = place.at("one/two");
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700);
        assert_eq!(builder.create(&below).unwrap_err().kind(), ErrorKind::NotFound);
        builder.recursive(true).create(&below).unwrap();
        builder.create(&below).unwrap();
        assert_eq!(fs::metadata(&below).unwrap().permissions().mode() & 0o777, 0o700);
        let path = place.at("f");
        let file = File::create(&path).unwrap();
        let then = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        file.set_modified(then).unwrap();
        let known = fs::metadata(&path).unwrap();
        assert_eq!(known.modified().unwrap(), then);
        // One may always give it to oneself.
        fs::symlink("f", place.at("link")).unwrap();
        fs::chown(&path, Some(known.uid()), Some(known.gid())).unwrap();
        fs::lchown(place.at("link"), None, Some(known.gid())).unwrap();
        file.chown(Some(known.uid()), None).unwrap();
        assert_eq!(fs::chown(place.at("g"), None, None).unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn reading_at_a_place_is_an_operation() {
    everywhere(|_| {
        let place = Place::new();
        std::fs::write(place.at("f"), pattern(1000)).unwrap();
        let mut file = File::open(place.at("f")).unwrap();
        let mut bytes = [0; 10];
        for _ in 0..rounds(30, 1000) {
            let won = file
                .read_at_op(&mut bytes, 500)
                .wrap(|n| Some(n.unwrap()))
                .or(op::always(None))
                .perform();
            assert!(won.is_none_or(|n| n == 10));
        }
        assert_eq!(file.read_at_op(&mut bytes, 995).perform().unwrap(), 5);
        assert_eq!(bytes[..5], pattern(1000)[995..]);
        assert_eq!(file.read_at_op(&mut bytes, 1000).perform().unwrap(), 0);
        assert_eq!(file.stream_position().unwrap(), 0);
    });
}

#[test]
fn an_atomic_write_replaces_the_whole() {
    everywhere(|_| {
        let place = Place::new();
        let path = place.at("f");
        fs::write_atomic(&path, "first").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        fs::hard_link(&path, place.at("old")).unwrap();
        fs::write_atomic(&path, "second").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_to_string(place.at("old")).unwrap(), "first");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        fs::write_atomic(&path, "open to all").unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o666, "whatever the mask of the process");
        fs::symlink("f", place.at("link")).unwrap();
        fs::write_atomic(place.at("link"), "third").unwrap();
        assert!(fs::symlink_metadata(place.at("link")).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "third");
        assert_eq!(place.names(), ["f", "link", "old"].map(String::from).into());
    });
}

/// It would run as whoever has written, who may be root.
#[test]
fn an_atomic_write_does_not_hand_on_whom_a_file_runs_as() {
    everywhere(|_| {
        let place = Place::new();
        let path = place.at("f");
        std::fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o6755)).unwrap();
        fs::write_atomic(&path, "new").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o755);
    });
}

#[test]
fn an_atomic_write_replaces_no_pipes_and_devices() {
    everywhere(|_| {
        let place = Place::new();
        let path = place.at("pipe");
        let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: the name ends with a zero.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        std::fs::write(place.at("f"), "old").unwrap();
        let error = fs::write_atomic(&path, "contents").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(place.names(), ["f", "pipe"].map(String::from).into());
    });
}

#[test]
fn an_atomic_write_that_fails_leaves_nothing_behind() {
    everywhere(|_| {
        let place = Place::new();
        std::fs::create_dir_all(place.at("dir/full")).unwrap();
        // All steps succeed but the last: a directory cannot be replaced by a file.
        assert!(fs::write_atomic(place.at("dir"), "contents").is_err());
        assert_eq!(place.names(), ["dir"].map(String::from).into());
        assert_eq!(
            fs::write_atomic(place.at("missing/f"), "").unwrap_err().kind(),
            ErrorKind::NotFound
        );
    });
}

/// A reader sees one of the versions, whole, at any time.
#[test]
fn readers_never_see_half_of_an_atomic_write() {
    on_workers(&[1, 2], |_| {
        let place = Place::new();
        let path = place.at("f");
        fs::write_atomic(&path, vec![0; 50_000]).unwrap();
        let (stop, stopped) = channel::<()>(0);
        let theirs = path.clone();
        let reader = spawn(move || {
            let mut seen = 0_u64;
            while stopped.try_recv() == Err(fibers::TryRecvError::Empty) {
                let bytes = fs::read(&theirs).unwrap();
                assert!(bytes.len() == 50_000 && bytes.iter().all(|byte| *byte == bytes[0]));
                seen += 1;
            }
            seen
        });
        for version in 0..rounds(20, 500) {
            fs::write_atomic(&path, vec![version as u8; 50_000]).unwrap();
        }
        drop(stop);
        assert!(reader.join().unwrap() > 0);
        assert_eq!(place.names().len(), 1);
    });
}

/// Opening a named pipe takes until somebody opens its other end.
#[test]
fn an_opening_that_takes_too_long() {
    on_workers(&[1, 2], |on| {
        let place = Place::new();
        let path = place.at("pipe");
        let made = fibers::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let enough = Cond::new();
        let (theirs, pipe) = (enough.clone(), path.clone());
        let waiting = spawn(move || {
            let opening = OpenOptions::new().read(true).open_op(pipe);
            opening.wrap(drop).or(theirs.wait_op()).perform();
        });
        // Before it has begun it would be cancelled.
        on.eventually(|| Handle::current().blocking_pool().running == 1);
        enough.signal();
        waiting.join().unwrap();
        // It goes on, for nobody. The other end finds it, and then finds it closed.
        let writer = OpenOptions::new().write(true).open(&path).unwrap();
        on.eventually(|| (&writer).write(b"x").is_err_and(|e| e.kind() == ErrorKind::BrokenPipe));
    });
}

#[test]
fn questions_win_and_lose() {
    everywhere(|_| {
        let place = Place::new();
        std::fs::write(place.at("f"), "text").unwrap();
        for _ in 0..rounds(30, 1000) {
            let text = fs::read_to_string_op(place.at("f")).wrap(Some).or(op::never()).perform();
            assert_eq!(text.unwrap().unwrap(), "text");
            let len = fs::metadata_op(place.at("f"))
                .wrap(|m| m.unwrap().len())
                .or(op::always(9))
                .perform();
            assert!(len == 4 || len == 9);
        }
    });
}

/// Fibers that are in a call when the runtime ends are unwound at once, and what they own is dropped.
#[test]
fn the_end_of_the_runtime_does_not_wait_for_calls() {
    watchdog(HANG, || {
        for shutdown in [Shutdown::Unwind, Shutdown::Drain] {
            let place = Place::new();
            let drops = Drops::default();
            let runtime = fibers::Runtime::builder().workers(2).shutdown(shutdown).build().unwrap();
            runtime.run(|| {
                for i in 0..50 {
                    let (kept, path) = (drops.make(()), place.at(&i.to_string()));
                    spawn(move || {
                        let _kept = kept;
                        fs::write_atomic(&path, pattern(10_000)).unwrap();
                        assert_eq!(fs::read(&path).unwrap().len(), 10_000);
                    });
                }
                time::sleep(Duration::from_micros(300));
            });
            assert_eq!(drops.live(), 0);
            if shutdown == Shutdown::Drain {
                assert_eq!(place.names().len(), 50);
            }
            drop(runtime);
            // What was under way ends by itself, and what had not begun never does: then no temporary file is there.
            while place.names().iter().any(|name| name.ends_with(".tmp")) {
                std::thread::yield_now();
            }
        }
    });
}
