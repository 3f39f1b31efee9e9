//! The stored membership: dynamic configuration files, and the static file that names them.
//!
//! In: texts of the membership in force and of a proposed one. Out: the files that Apache ZooKeeper would write,
//! and after a start the texts again.
//!
//! Always true:
//! * every file is replaced atomically and durably, and the static file names a dynamic file that is durable;
//! * where the directory of the static file cannot be written, the files stand in `dataDir`, the static file stays
//!   as it is, and at the next start what stands in `dataDir` wins.
//!
//! Not here: what a membership means (`base`), which one is in force (`zab`).

use std::io;
use std::path::{Path, PathBuf};

use super::disk::{Disk, exists, parent, read_file, remove_file, replace_file};
use super::epochs::shown;
use super::error::Error;
use super::layout::{EnsembleFiles, Layout};
use crate::base::{Ensemble, ServerId, properties};

/// The name of the static file where a server was started without one.
const NAME_DEFAULT: &str = "zoo.cfg";
/// Keys that never stand in a static file that names a dynamic one; the first three are prefixes.
const DYNAMIC_KEYS: [&str; 5] = ["server.", "group", "weight", "dynamicConfigFile", "peerType"];
/// Keys that move into the server's line.
const CLIENT_KEYS: [&str; 4] =
    ["clientPort", "clientPortAddress", "secureClientPort", "secureClientPortAddress"];

/// A membership's text, apart from its version.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Text {
    /// `key=value`, sorted.
    lines: Vec<String>,
    /// 0 if the text has none.
    version: u64,
}

impl Text {
    fn parse(text: &str) -> Text {
        let mut lines = Vec::new();
        let mut version = 0;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match line.strip_prefix("version=") {
                Some(hex) => version = u64::from_str_radix(hex.trim(), 16).unwrap_or(0),
                None => lines.push(line.to_owned()),
            }
        }
        lines.sort();
        Text { lines, version }
    }

    fn without_version(&self) -> String {
        self.lines.join("\n")
    }

    fn with_version(&self) -> String {
        let mut lines = self.lines.clone();
        lines.push(format!("version={:x}", self.version));
        lines.join("\n")
    }
}

/// Stores the membership in force and the proposed one.
pub(super) fn store(
    disk: &dyn Disk,
    layout: &Layout,
    current: &str,
    proposed: Option<&str>,
) -> Result<(), Error> {
    let (current, proposed) = (Text::parse(current), proposed.map(Text::parse));
    let files = &layout.ensemble;
    if let Some(file) = &files.static_file {
        match store_beside(disk, file, files.me, &current, proposed.as_ref()) {
            Err(Error::Io { path, source, .. }) if is_read_only(&source) => {
                tracing::debug!(path = %path.display(), error = %source, "membership is kept in dataDir");
            }
            done => return done,
        }
    }
    let base = layout.data_dir.join(static_name(files));
    write(disk, &versioned(&base, current.version), &current.without_version())?;
    store_next(disk, &base, proposed.as_ref())
}

/// The texts of the stored membership in force and of one that was proposed after it.
pub(super) fn load(disk: &dyn Disk, layout: &Layout) -> Result<(Option<String>, Option<String>), Error> {
    let files = &layout.ensemble;
    let in_data = layout.data_dir.join(static_name(files));
    let mut found = Vec::new();
    found.extend(newest(disk, &in_data)?);
    found.extend(files.dynamic_file.clone().map(|path| (version_of(&path), path)));
    // Of equal versions the one in `dataDir` wins.
    let best = found.into_iter().rev().max_by_key(|(version, _)| *version);
    let mut current = None;
    if let Some((version, path)) = best {
        let text = read_text(disk, &path)?.ok_or_else(|| {
            let source = io::ErrorKind::NotFound.into();
            Error::io("read", &path)(source)
        })?;
        if text.lines().any(|line| line.trim_start().starts_with("version=")) {
            let expected = "no line \"version=\": the version ends the file's name";
            return Err(Error::Content { path, found: shown(text.as_bytes()), expected });
        }
        current = Some(Text { version, ..Text::parse(&text) });
    }
    let mut proposed: Option<Text> = None;
    for base in files.static_file.iter().chain([&in_data]) {
        let text = read_text(disk, &next(base))?.map(|text| Text::parse(&text));
        proposed = proposed.into_iter().chain(text).max_by_key(|text| text.version);
    }
    let in_force = current.as_ref().map_or(0, |text| text.version);
    let proposed = proposed.filter(|text| text.version > in_force);
    Ok((current.map(|text| text.with_version()), proposed.map(|text| text.with_version())))
}

/// Stores the texts as Apache ZooKeeper does: beside the static file, which then names them.
fn store_beside(
    disk: &dyn Disk,
    file: &Path,
    me: ServerId,
    current: &Text,
    proposed: Option<&Text>,
) -> Result<(), Error> {
    let dynamic = versioned(file, current.version);
    write(disk, &dynamic, &current.without_version())?;
    name_dynamic(disk, file, &dynamic, me, current)?;
    store_next(disk, file, proposed)
}

fn store_next(disk: &dyn Disk, base: &Path, proposed: Option<&Text>) -> Result<(), Error> {
    let path = next(base);
    match proposed {
        Some(text) => write(disk, &path, &text.with_version()),
        None => remove_file(disk, &path).map_err(Error::io("remove", &path)),
    }
}

/// Rewrites the static file so that it names the dynamic one; what stood there is kept as `.bak` the first time.
fn name_dynamic(
    disk: &dyn Disk,
    file: &Path,
    dynamic: &Path,
    me: ServerId,
    current: &Text,
) -> Result<(), Error> {
    let Some(old) = read_text(disk, file)? else { return Ok(()) };
    let moved: &[&str] = if has_client_address(me, current) { &CLIENT_KEYS } else { &[] };
    let new = edited(&old, dynamic, moved);
    if new == old {
        return Ok(());
    }
    let backup = with_suffix(file, ".bak");
    if !exists(disk, &backup).map_err(Error::io("read", &backup))? {
        write(disk, &backup, &old)?;
    }
    write(disk, file, &new)
}

/// Whether the server's own line says where its clients connect.
fn has_client_address(me: ServerId, current: &Text) -> bool {
    let ensemble = Ensemble::parse(&current.without_version()).ok();
    ensemble.and_then(|it| it.members.get(&me).map(|member| member.client.is_some())).unwrap_or(false)
}

/// The text of a static file without the keys that stand in the dynamic one, which it names; `moved` are more of them.
fn edited(old: &str, dynamic: &Path, moved: &[&str]) -> String {
    let lines: Vec<&str> = old.lines().collect();
    let mut kept = vec![true; lines.len()];
    for property in properties::parse(old).unwrap_or_default() {
        let key = property.key.as_str();
        let goes = DYNAMIC_KEYS[..3].iter().any(|prefix| key.starts_with(prefix))
            || DYNAMIC_KEYS[3..].contains(&key)
            || moved.contains(&key);
        let mut at = property.line as usize - 1;
        while goes && at < lines.len() {
            kept[at] = false;
            let slashes = lines[at].bytes().rev().take_while(|byte| *byte == b'\\').count();
            at = if slashes % 2 == 1 { at + 1 } else { lines.len() };
        }
    }
    let mut new: String =
        lines.iter().zip(kept).filter(|(_, kept)| *kept).map(|(line, _)| format!("{line}\n")).collect();
    new.push_str(&format!("dynamicConfigFile={}\n", dynamic.display()));
    new
}

/// The dynamic file in a directory with the highest version.
fn newest(disk: &dyn Disk, base: &Path) -> Result<Option<(u64, PathBuf)>, Error> {
    let dir = parent(base);
    let prefix = with_suffix(base, ".dynamic.");
    let entries = disk.list(dir).map_err(Error::io("list", dir))?;
    let paths = entries.into_iter().map(|entry| dir.join(entry.name));
    let hex = |path: &Path| {
        let hex = path.to_str()?.strip_prefix(prefix.to_str()?)?;
        u64::from_str_radix(hex, 16).ok()
    };
    Ok(paths.filter_map(|path| hex(&path).map(|version| (version, path))).max())
}

fn static_name(files: &EnsembleFiles) -> &str {
    let name = files.static_file.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    name.unwrap_or(NAME_DEFAULT)
}

fn versioned(base: &Path, version: u64) -> PathBuf {
    with_suffix(base, &format!(".dynamic.{version:x}"))
}

fn next(base: &Path) -> PathBuf {
    with_suffix(base, ".dynamic.next")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// What follows the last `.dynamic.` of a name as hex; 0 if that is none.
fn version_of(path: &Path) -> u64 {
    let hex = path.to_str().and_then(|path| path.rsplit_once(".dynamic.")).map(|(_, hex)| hex);
    hex.and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0)
}

fn read_text(disk: &dyn Disk, path: &Path) -> Result<Option<String>, Error> {
    let Some(bytes) = read_file(disk, path).map_err(Error::io("read", path))? else { return Ok(None) };
    let expected = "text in UTF-8";
    let wrong = |err: std::string::FromUtf8Error| Error::Content {
        path: path.to_owned(),
        found: shown(err.as_bytes()),
        expected,
    };
    String::from_utf8(bytes).map(Some).map_err(wrong)
}

/// Replaces a file unless it holds the text already.
fn write(disk: &dyn Disk, path: &Path, text: &str) -> Result<(), Error> {
    let old = read_file(disk, path).map_err(Error::io("read", path))?;
    if old.as_deref() == Some(text.as_bytes()) {
        // It may stem from a process that died before its name was durable.
        return disk.sync_dir(parent(path)).map_err(Error::io("sync", parent(path)));
    }
    replace_file(disk, path, text.as_bytes()).map_err(Error::io("replace", path))
}

/// A directory mounted read-only, owned by somebody else, or a file that is a mount of its own.
fn is_read_only(err: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
    matches!(err.kind(), PermissionDenied | ReadOnlyFilesystem | ResourceBusy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::sim_disk::SimDisk;

    const STATIC: &str =
        "# mine\ntickTime=2000\nclientPort=2181\nserver.1=a:1:2\\\n  :observer\npeerType=observer\n";
    const MEMBERS: &str = "server.2=b:1:2:participant\nserver.1=a:1:2:participant;0.0.0.0:2181\nversion=1f";

    fn layout(static_file: Option<&str>, dynamic_file: Option<&str>) -> Layout {
        let mut layout = Layout::in_dir(Path::new("/data"), ServerId(1));
        layout.ensemble.static_file = static_file.map(PathBuf::from);
        layout.ensemble.dynamic_file = dynamic_file.map(PathBuf::from);
        layout
    }

    fn disk() -> SimDisk {
        let disk = SimDisk::new(1);
        disk.put(Path::new("/conf/zoo.cfg"), STATIC.as_bytes());
        disk.put(Path::new("/data/myid"), b"1");
        disk
    }

    fn text(disk: &SimDisk, path: &str) -> Option<String> {
        read_text(disk, Path::new(path)).unwrap()
    }

    #[test]
    fn files_are_those_of_apache_zookeeper() {
        let disk = disk();
        let layout = layout(Some("/conf/zoo.cfg"), None);
        assert_eq!(load(&disk, &layout).unwrap(), (None, None));
        store(&disk, &layout, MEMBERS, Some("server.1=a:1:2:observer\nversion=20")).unwrap();
        disk.crash();
        let lines = "server.1=a:1:2:participant;0.0.0.0:2181\nserver.2=b:1:2:participant";
        assert_eq!(text(&disk, "/conf/zoo.cfg.dynamic.1f").as_deref(), Some(lines));
        let next = "server.1=a:1:2:observer\nversion=20";
        assert_eq!(text(&disk, "/conf/zoo.cfg.dynamic.next").as_deref(), Some(next));
        let edited = "# mine\ntickTime=2000\ndynamicConfigFile=/conf/zoo.cfg.dynamic.1f\n";
        assert_eq!(text(&disk, "/conf/zoo.cfg").as_deref(), Some(edited));
        assert_eq!(text(&disk, "/conf/zoo.cfg.bak").as_deref(), Some(STATIC));

        let named = self::layout(Some("/conf/zoo.cfg"), Some("/conf/zoo.cfg.dynamic.1f"));
        let (current, proposed) = load(&disk, &named).unwrap();
        assert_eq!(current.unwrap(), format!("{lines}\nversion=1f"));
        assert_eq!(proposed.as_deref(), Some(next));

        store(&disk, &named, next, None).unwrap();
        assert_eq!(text(&disk, "/conf/zoo.cfg.dynamic.next"), None);
        assert_eq!(text(&disk, "/conf/zoo.cfg.bak").as_deref(), Some(STATIC));
        let edited = "# mine\ntickTime=2000\ndynamicConfigFile=/conf/zoo.cfg.dynamic.20\n";
        assert_eq!(text(&disk, "/conf/zoo.cfg").as_deref(), Some(edited));
    }

    #[test]
    fn a_client_port_that_did_not_move_stays() {
        let disk = disk();
        let layout = layout(Some("/conf/zoo.cfg"), None);
        store(&disk, &layout, "server.1=a:1:2:participant\nversion=1", None).unwrap();
        let edited = "# mine\ntickTime=2000\nclientPort=2181\ndynamicConfigFile=/conf/zoo.cfg.dynamic.1\n";
        assert_eq!(text(&disk, "/conf/zoo.cfg").as_deref(), Some(edited));
    }

    #[test]
    fn a_read_only_directory_puts_the_files_into_data_dir() {
        let disk = disk();
        let layout = layout(Some("/conf/zoo.cfg"), None);
        disk.set_read_only(Path::new("/conf"));
        store(&disk, &layout, MEMBERS, Some("server.1=a:1:2\nversion=20")).unwrap();
        assert_eq!(text(&disk, "/conf/zoo.cfg").as_deref(), Some(STATIC));
        assert!(text(&disk, "/data/zoo.cfg.dynamic.1f").is_some());
        let (current, proposed) = load(&disk, &layout).unwrap();
        assert!(current.unwrap().ends_with("version=1f"));
        assert_eq!(proposed.as_deref(), Some("server.1=a:1:2\nversion=20"));
    }

    #[test]
    fn without_a_static_file_data_dir_is_used() {
        let disk = disk();
        store(&disk, &layout(None, None), MEMBERS, None).unwrap();
        store(&disk, &layout(None, None), "server.1=a:1:2\nversion=100000001", None).unwrap();
        let expected = (Some("server.1=a:1:2\nversion=100000001".to_owned()), None);
        assert_eq!(load(&disk, &layout(None, None)).unwrap(), expected);
    }

    #[test]
    fn a_version_inside_a_dynamic_file_is_refused() {
        let disk = disk();
        disk.put(Path::new("/conf/d"), b"server.1=a:1:2\nversion=5");
        let error = load(&disk, &layout(Some("/conf/zoo.cfg"), Some("/conf/d"))).unwrap_err();
        assert!(error.to_string().contains("expected no line \"version=\""), "{error}");
    }
}
