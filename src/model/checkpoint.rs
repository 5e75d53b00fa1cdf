//! Folders that appear whole or not at all, and are read whole while they are replaced.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Writes a file, with a full disk told apart.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(|e| explain(e, path))
}

/// Makes a folder appear with all its contents or not at all, replacing one that is there.
///
/// `fill` writes into a folder beside `dir`; its files and the folder are flushed to disk before it gets its name.
/// An old folder is parked as `.NAME.old` for the moment between two renames; if the program is killed right then,
/// [`settle`] puts it back. What killed writers left behind is removed.
///
/// # Errors
/// Those of `fill`, after which `dir` is as it was; a full disk.
pub fn write_atomically(dir: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = dir.file_name().with_context(|| format!("{} is not a folder name", dir.display()))?.to_string_lossy();
    fs::create_dir_all(parent).map_err(|e| explain(e, parent))?;
    settle(dir)?;
    sweep(parent, &format!(".{name}.new-"))?;
    let new = parent.join(format!(".{name}.new-{}", std::process::id()));
    let old = parked(dir);
    fs::create_dir(&new).map_err(|e| explain(e, &new))?;
    let written = fill(&new).and_then(|()| flush(&new));
    if let Err(error) = written {
        fs::remove_dir_all(&new).ok();
        return Err(error);
    }
    if dir.exists() {
        fs::rename(dir, &old).map_err(|e| explain(e, dir))?;
    }
    fs::rename(&new, dir).map_err(|e| explain(e, dir))?;
    flush_folder(parent)?;
    if old.exists() {
        fs::remove_dir_all(&old).map_err(|e| explain(e, &old))?;
    }
    Ok(())
}

/// Reads a folder that [`write_atomically`] may replace meanwhile: what `read` gives is all old or all new.
///
/// # Errors
/// Those of `read`; a folder that is replaced faster than it can be read.
pub fn read_whole<T>(dir: &Path, read: impl Fn(&Path) -> Result<T>) -> Result<T> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        // Between the writer's two renames, the old folder is the one that is whole.
        let from = if dir.exists() || !parked(dir).exists() { dir.to_owned() } else { parked(dir) };
        let before = identity(&from);
        let result = read(&from);
        let steady = before.is_some() && before == identity(&from);
        // A folder that was not there may have been between names; one that stays away is the reader's error.
        if steady || (attempts >= 10 && before.is_none()) {
            return result;
        }
        if attempts == 100 {
            bail!("{} is replaced faster than it can be read: stop the program that writes it", dir.display());
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// What changes when a folder is replaced.
fn identity(dir: &Path) -> Option<(u64, std::time::SystemTime)> {
    let data = fs::metadata(dir).ok()?;
    #[cfg(unix)]
    let number = std::os::unix::fs::MetadataExt::ino(&data);
    #[cfg(not(unix))]
    let number = 0;
    Some((number, data.modified().ok()?))
}

/// Finishes or undoes a replacement that was cut short: afterwards `dir` is the newest whole folder, if any is.
///
/// # Errors
/// A folder that cannot be renamed or removed.
pub fn settle(dir: &Path) -> Result<()> {
    let old = parked(dir);
    if !old.exists() {
        return Ok(());
    }
    let done = if dir.exists() { fs::remove_dir_all(&old) } else { fs::rename(&old, dir) };
    match done {
        // Another process settled it first.
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other.map_err(|e| explain(e, &old)),
    }
}

fn parked(dir: &Path) -> PathBuf {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    dir.with_file_name(format!(".{name}.old"))
}

/// Removes what writers that no longer run left behind.
fn sweep(parent: &Path, prefix: &str) -> Result<()> {
    for entry in fs::read_dir(parent).map_err(|e| explain(e, parent))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix(prefix) else { continue };
        let alive = pid != std::process::id().to_string() && Path::new("/proc").join(pid).exists();
        if !alive {
            fs::remove_dir_all(entry.path()).map_err(|e| explain(e, &entry.path()))?;
        }
    }
    Ok(())
}

fn flush(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(|e| explain(e, dir))? {
        let path = entry.map_err(|e| explain(e, dir))?.path();
        if path.is_dir() {
            flush(&path)?;
        } else {
            File::open(&path).and_then(|f| f.sync_all()).map_err(|e| explain(e, &path))?;
        }
    }
    flush_folder(dir)
}

fn flush_folder(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|f| f.sync_all()).map_err(|e| explain(e, dir))
}

fn explain(error: std::io::Error, path: &Path) -> anyhow::Error {
    let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    let sentence = if full {
        format!("the disk is full: cannot write {}; free some space and start again", path.display())
    } else {
        format!("cannot write {}", path.display())
    };
    anyhow::Error::new(error).context(sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dir: &Path) -> String {
        fs::read_to_string(dir.join("a")).unwrap()
    }

    #[test]
    fn a_folder_appears_whole_or_not_at_all_and_leftovers_go() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("ckpt");
        // A pid that cannot be running: above Linux' limit of 2^22.
        fs::create_dir(tmp.path().join(".ckpt.new-99999999")).unwrap();
        write_atomically(&dir, |d| write_file(&d.join("a"), b"one")).unwrap();
        assert_eq!(read(&dir), "one");
        let failed = write_atomically(&dir, |d| {
            write_file(&d.join("a"), b"half")?;
            bail!("killed")
        });
        assert!(failed.is_err());
        assert_eq!(read(&dir), "one");
        write_atomically(&dir, |d| write_file(&d.join("a"), b"two")).unwrap();
        assert_eq!(read(&dir), "two");
        let names: Vec<_> = fs::read_dir(tmp.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["ckpt"]);
    }

    #[test]
    fn a_reader_sees_all_old_or_all_new_while_the_folder_is_replaced() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("ckpt");
        let write = |i: usize| {
            write_atomically(&dir, |d| {
                write_file(&d.join("a"), i.to_string().as_bytes())?;
                write_file(&d.join("b"), i.to_string().as_bytes())
            })
        };
        write(0).unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = Vec::new();
                while !done.load(std::sync::atomic::Ordering::Relaxed) || seen.is_empty() {
                    let pair = read_whole(&dir, |d| {
                        let file = |name: &str| Ok::<_, anyhow::Error>(fs::read_to_string(d.join(name))?);
                        Ok((file("a")?, file("b")?))
                    });
                    let (a, b) = pair.unwrap();
                    assert_eq!(a, b);
                    seen.push(a);
                }
                seen.dedup();
                seen
            });
            (1..100).for_each(|i| write(i).unwrap());
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(reader.join().unwrap().len() > 1, "the reader saw no replacement");
        });
    }

    #[test]
    fn a_replacement_cut_between_its_renames_is_put_back() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("ckpt");
        write_atomically(&dir, |d| write_file(&d.join("a"), b"one")).unwrap();
        fs::rename(&dir, tmp.path().join(".ckpt.old")).unwrap();
        settle(&dir).unwrap();
        assert_eq!(read(&dir), "one");
    }

    #[test]
    fn a_full_disk_is_said_in_a_sentence() {
        let error = explain(ErrorKind::StorageFull.into(), Path::new("x"));
        assert!(error.to_string().contains("the disk is full"));
    }
}
