//! A log's files as of one moment, while the gate goes on: for whoever fetches them, and for backups.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use recordings::disk::RealDisk;
use recordings::log::{Log, Now};
use recordings::read::{Format, ReadFault, before_dir};
use recordings::segment::{self, SegmentState, SegmentsFault};
use recordings::tlog::folder::{Folder, FolderFault, PublishedFile};
use recordings::tlog::kept::KEPT;

use super::tar::{self, Content, Member};

/// Why a log's files cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum LogFault {
    #[error(transparent)]
    Published(#[from] FolderFault),
    #[error(transparent)]
    Segments(#[from] SegmentsFault),
    #[error(transparent)]
    Format(#[from] ReadFault),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A segment that was retired after it was listed lies in bundles by now, so all is listed again.
const LISTINGS_MAX: u32 = 8;

/// A log's files below `root`, and how far they go. What is written meanwhile is not looked at.
pub(super) fn members(log: &Log, dir: &Path, root: &str) -> Result<(Vec<Member>, Now), LogFault> {
    for _ in 1..LISTINGS_MAX {
        match list(log, dir, root) {
            Err(LogFault::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
            listed => return listed,
        }
    }
    list(log, dir, root)
}

/// In this order: what the log published, what witnesses cosigned, then the segments that there are, opened, and last how far
/// it is. So nothing that is listed goes further than what comes after it.
fn list(log: &Log, dir: &Path, root: &str) -> Result<(Vec<Member>, Now), LogFault> {
    let named = |path: &Path| format!("{root}/{}", path.strip_prefix(dir).unwrap_or(path).display());
    let format = dir.join(recordings::FORMAT);
    let mut members = vec![Member { name: named(&format), content: Content::Path(format) }];
    for PublishedFile { path, bytes } in Folder::new(Arc::new(RealDisk), dir).published()? {
        let path = dir.join(path);
        members.push(Member { name: named(&path), content: bytes.map_or_else(|| Content::Path(path), Content::Bytes) });
    }
    for (_, path) in tar::plain_files(&dir.join(KEPT))? {
        // It may be thinned out before its turn comes.
        members.push(Member { name: named(&path), content: Content::Open(File::open(&path)?, None) });
    }
    for at in Format::read(dir)?.restored {
        for (_, path) in tar::plain_files(&dir.join(before_dir(at.restore)))? {
            members.push(Member { name: named(&path), content: Content::Path(path) });
        }
    }
    let used = segment::segments(&RealDisk, dir)?.into_iter().filter(|file| file.state != SegmentState::Spare);
    // Each may be retired before its turn comes.
    let open = |file: segment::SegmentFile| File::open(&file.path).map(|open| (file.number, named(&file.path), open));
    let segments = used.map(open).collect::<io::Result<Vec<_>>>()?;
    let now = log.now();
    for (number, name, file) in segments {
        let until = (number == now.segment).then_some(now.offset);
        members.push(Member { name, content: Content::Open(file, until) });
    }
    Ok((members, now))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use recordings::disk::RealMachine;
    use recordings::log::{LogOptions, Purpose};
    use recordings::sim::SimSigner;

    use super::*;

    #[tokio::test]
    async fn what_is_written_meanwhile_is_not_sent() {
        let folder = tempfile::tempdir().unwrap();
        let options = LogOptions {
            segment_bytes: 64 << 10,
            ..LogOptions::new(Purpose::Journal, "mill-3/journal", "node-1".parse().unwrap())
        };
        let (disk, signer) = (Arc::new(RealDisk), Arc::new(SimSigner::new(1)));
        let (log, _) = Log::open(disk, Arc::new(RealMachine), folder.path(), options, signer).unwrap();
        let append = async |bytes: &[u8]| {
            log.append(log.head(), vec![bytes.to_vec()], jiff::Timestamp::now()).await.unwrap();
        };
        append(b"before").await;
        let (members, now) = members(&log, folder.path(), "journal").unwrap();
        append(b"meanwhile").await;
        let segment = members.into_iter().find(|member| member.name == "journal/segments/00000000.seg").unwrap();
        let (length, bytes) = segment.content.open().unwrap();
        let mut sent = Vec::new();
        bytes.take(length).read_to_end(&mut sent).unwrap();
        assert_eq!(sent.len(), 64 << 10);
        assert!(sent.windows(6).any(|window| window == b"before"));
        assert!(sent[usize::try_from(now.offset).unwrap()..].iter().all(|byte| *byte == 0));
    }
}
