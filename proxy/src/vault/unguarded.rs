//! Whether a path leads where only certain accounts can have it lead: no folder, file or link on the way can be put in
//! place of another, or written, by anybody else.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

/// Whoever may write or is the owner changes modes.
const WRITTEN_BY_OTHERS: u32 = 0o022;
/// In such a folder nobody moves what is another's.
const STICKY: u32 = 0o1000;
/// As many as the kernel follows (`path_resolution(7)`).
const LINKS_MAX: usize = 40;

/// The first thing on the way to this absolute path, itself included, that is others' or that others may write. What is not
/// there cannot be made by them either, where nothing before it is theirs.
///
/// # Errors
/// The system's.
pub(crate) fn on_the_way_to(path: &Path, owners: [u32; 2]) -> io::Result<Option<PathBuf>> {
    let (mut here, mut left, mut links) = (PathBuf::from("/"), parts(path), 0);
    while let Some(part) = left.pop() {
        if part == ".." {
            here.pop();
            continue;
        }
        let next = here.join(part);
        let found = match std::fs::symlink_metadata(&next) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found?,
        };
        if found.is_symlink() {
            // Nobody writes a link: it is put there, by whoever may write the folder.
            links += 1;
            if links > LINKS_MAX {
                return Err(io::Error::other(format!("{}: too many links", path.display())));
            }
            let target = std::fs::read_link(&next)?;
            if target.is_absolute() {
                here = PathBuf::from("/");
            }
            left.extend(parts(&target));
            continue;
        }
        let mode = found.mode();
        let is_open = mode & WRITTEN_BY_OTHERS != 0 && !(found.is_dir() && mode & STICKY != 0);
        if !owners.contains(&found.uid()) || is_open {
            return Ok(Some(next));
        }
        here = next;
    }
    Ok(None)
}

/// Its names, the first at the end.
fn parts(path: &Path) -> Vec<OsString> {
    let named = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    named.rev().collect()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    #[test]
    fn what_others_can_put_in_place_of_another_is_found_wherever_it_lies() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let own = rustix::process::geteuid().as_raw();
        let owners = [0, own];
        let file = |name: &str| {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            path
        };
        let found = |path: &Path| on_the_way_to(path, owners).unwrap();
        let (keys, loose) = (file("a/keys/one"), file("b/loose/two"));
        assert_eq!(found(&keys), None);
        assert_eq!(found(&root.join("a/not-there/x")), None);
        fs::set_permissions(root.join("b/loose"), Permissions::from_mode(0o777)).unwrap();
        assert_eq!(found(&loose), Some(root.join("b/loose")));
        fs::set_permissions(root.join("b/loose"), Permissions::from_mode(0o1777)).unwrap();
        assert_eq!(found(&loose), None, "as in /tmp");
        fs::set_permissions(&loose, Permissions::from_mode(0o664)).unwrap();
        assert_eq!(found(&loose), Some(loose.clone()));
        // Where links lead counts, as far as they go.
        symlink("../b", root.join("a/one")).unwrap();
        symlink(root.join("a/one/loose"), root.join("a/two")).unwrap();
        assert_eq!(found(&root.join("a/two/two")), Some(loose));
        symlink("turn", root.join("a/turn")).unwrap();
        assert!(on_the_way_to(&root.join("a/turn"), owners).is_err());
        if own == 0 {
            chown(root.join("a"), Some(65_534), None).unwrap();
            assert_eq!(found(&keys), Some(root.join("a")));
        }
    }
}
