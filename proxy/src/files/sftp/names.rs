//! Names of files at the target, as far as the names alone tell which file is meant. What links and `..` make of them
//! only the target knows.

/// The parts of a path; doubled slashes and `.` add none.
fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let root = path.starts_with(b"/").then_some(&b"/"[..]);
    let named = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    root.into_iter().chain(named)
}

/// Whether two names mean the same.
pub(super) fn is_same(one: &[u8], other: &[u8]) -> bool {
    parts(one).eq(parts(other))
}

/// What `name` is called when `from`, which may be a directory above it, is called `to`.
pub(super) fn renamed(name: &[u8], from: &[u8], to: &[u8]) -> Option<Box<[u8]>> {
    let mut rest = parts(name);
    parts(from).all(|part| rest.next() == Some(part)).then(|| {
        let below = rest.flat_map(|part| [b"/", part]);
        std::iter::once(to).chain(below).collect::<Vec<_>>().concat().into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_in_writing_alone_are_the_same() {
        assert!(is_same(b"/a//b/./c/", b"/a/b/c") && is_same(b"./a", b"a"));
        assert!(!is_same(b"/a", b"a") && !is_same(b"/a/b", b"/ab") && !is_same(b"a", b"a/b"));
    }

    #[test]
    fn what_is_below_a_renamed_directory_goes_with_it() {
        assert_eq!(renamed(b"/a/b/c", b"/a//b", b"/x").as_deref(), Some(&b"/x/c"[..]));
        assert_eq!(renamed(b"/a/b", b"/a/b", b"/x").as_deref(), Some(&b"/x"[..]));
        assert_eq!(renamed(b"/a/bc", b"/a/b", b"/x"), None);
    }
}
