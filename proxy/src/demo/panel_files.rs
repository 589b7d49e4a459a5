//! The panel's files over SFTP (version 3, draft-ietf-secsh-filexfer-02): one flat folder. What a copy may do is the
//! gate's business; the panel lets its one account do everything.

use std::sync::Arc;

use russh_sftp::protocol::{
    Attrs, Data, File, FileAttributes, FileMode, Handle, Name, OpenFlags, Status, StatusCode, Version,
};
use russh_sftp::server::Handler;

use super::panel::Panel;

/// One visitor's view of the folder. A file's handle is its name; the folder's is [`FOLDER`], which no file is called.
pub(super) struct PanelFiles {
    panel: Arc<Panel>,
    /// Whether the listing was given already.
    listed: bool,
}

const FOLDER: &str = "/";
/// What a client asks for at once, at most.
const READ_BYTES_MAX: usize = 64 << 10;

impl PanelFiles {
    pub(super) const fn new(panel: Arc<Panel>) -> Self {
        Self { panel, listed: false }
    }

    fn attributes(&self, path: &str) -> Result<FileAttributes, StatusCode> {
        match name(path) {
            "" => Ok(folder()),
            name => self.panel.file(name).map(|bytes| file(bytes.len())).ok_or(StatusCode::NoSuchFile),
        }
    }
}

impl Handler for PanelFiles {
    type Error = StatusCode;

    fn unimplemented(&self) -> StatusCode {
        StatusCode::OpUnsupported
    }

    async fn init(&mut self, _: u32, _: std::collections::HashMap<String, String>) -> Result<Version, StatusCode> {
        Ok(Version::new())
    }

    async fn open(&mut self, id: u32, path: String, flags: OpenFlags, _: FileAttributes) -> Result<Handle, StatusCode> {
        let name = name(&path);
        let is_new = self.panel.file(name).is_none();
        if name.is_empty() || name.contains('/') || is_new && !flags.contains(OpenFlags::CREATE) {
            return Err(StatusCode::NoSuchFile);
        }
        if is_new || flags.contains(OpenFlags::TRUNCATE) {
            self.panel.clear_file(name);
        }
        Ok(Handle { id, handle: name.to_owned() })
    }

    async fn read(&mut self, id: u32, handle: String, offset: u64, len: u32) -> Result<Data, StatusCode> {
        let bytes = self.panel.file(&handle).ok_or(StatusCode::NoSuchFile)?;
        let from = usize::try_from(offset).ok().filter(|from| *from < bytes.len()).ok_or(StatusCode::Eof)?;
        let wanted = usize::try_from(len).unwrap_or(READ_BYTES_MAX).min(READ_BYTES_MAX);
        Ok(Data { id, data: bytes[from..].iter().take(wanted).copied().collect() })
    }

    async fn write(&mut self, id: u32, handle: String, offset: u64, data: Vec<u8>) -> Result<Status, StatusCode> {
        let offset = usize::try_from(offset).map_err(|_| StatusCode::Failure)?;
        if self.panel.write_file(&handle, offset, &data) { Ok(done(id)) } else { Err(StatusCode::Failure) }
    }

    async fn close(&mut self, id: u32, _: String) -> Result<Status, StatusCode> {
        Ok(done(id))
    }

    async fn opendir(&mut self, id: u32, path: String) -> Result<Handle, StatusCode> {
        self.listed = false;
        if name(&path).is_empty() { Ok(Handle { id, handle: FOLDER.to_owned() }) } else { Err(StatusCode::NoSuchFile) }
    }

    async fn readdir(&mut self, id: u32, _: String) -> Result<Name, StatusCode> {
        if std::mem::replace(&mut self.listed, true) {
            return Err(StatusCode::Eof);
        }
        Ok(Name { id, files: self.panel.files().into_iter().map(|(name, size)| File::new(name, file(size))).collect() })
    }

    async fn realpath(&mut self, id: u32, path: String) -> Result<Name, StatusCode> {
        Ok(Name { id, files: vec![File::dummy(format!("/{}", name(&path)))] })
    }

    async fn stat(&mut self, id: u32, path: String) -> Result<Attrs, StatusCode> {
        Ok(Attrs { id, attrs: self.attributes(&path)? })
    }

    async fn lstat(&mut self, id: u32, path: String) -> Result<Attrs, StatusCode> {
        Ok(Attrs { id, attrs: self.attributes(&path)? })
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Result<Attrs, StatusCode> {
        Ok(Attrs { id, attrs: self.attributes(&handle)? })
    }

    /// Times and modes mean nothing here, and no client should fail for that.
    async fn setstat(&mut self, id: u32, _: String, _: FileAttributes) -> Result<Status, StatusCode> {
        Ok(done(id))
    }

    async fn fsetstat(&mut self, id: u32, _: String, _: FileAttributes) -> Result<Status, StatusCode> {
        Ok(done(id))
    }

    async fn remove(&mut self, id: u32, path: String) -> Result<Status, StatusCode> {
        if self.panel.remove_file(name(&path)) { Ok(done(id)) } else { Err(StatusCode::NoSuchFile) }
    }
}

/// A file's name in the one folder; nothing for the folder itself.
fn name(path: &str) -> &str {
    let name = path.trim_start_matches("./").trim_matches('/');
    if name == "." { "" } else { name }
}

fn folder() -> FileAttributes {
    with_mode(FileAttributes::empty(), FileMode::DIR, 0o755)
}

fn file(size: usize) -> FileAttributes {
    let sized = FileAttributes { size: u64::try_from(size).ok(), ..FileAttributes::empty() };
    with_mode(sized, FileMode::REG, 0o644)
}

fn with_mode(mut attributes: FileAttributes, mode: FileMode, permissions: u32) -> FileAttributes {
    attributes.permissions = Some(permissions);
    attributes.set_type(mode);
    attributes
}

fn done(id: u32) -> Status {
    Status { id, status_code: StatusCode::Ok, error_message: "done".to_owned(), language_tag: "en".to_owned() }
}
