//! A profile: one person at one face, in a small file that the person may edit. What it names lies beside it.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use certs::proof::Face;
use serde::Deserialize;

use crate::config::Origin;

/// One person at one face.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The file it was read from, or is to be written to.
    pub path: PathBuf,
    /// By which name one signs in.
    pub name: String,
    /// Which face.
    pub face: Face,
    /// How the face is named.
    pub origin: Origin,
    /// Where to connect, where the name does not lead there.
    pub address: Option<SocketAddr>,
    /// The certificate of the only CA trusted.
    pub ca: PathBuf,
    /// A private key, or a public one whose private half an agent holds.
    pub key: PathBuf,
    /// It is no person's but a sensor's, which signs in by its key alone.
    pub sensor: bool,
}

/// There is no usable profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileFault {
    /// No file.
    #[error("no profile at {path}: enrol with `holdpoint enrol`, or name one with --profile", path = .0.display())]
    Missing(PathBuf),
    /// A file that cannot be read or written.
    #[error("{path}: {cause}", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A file that says something else.
    #[error("{path} is no profile: {cause}", path = .path.display())]
    Wrong {
        /// Which.
        path: PathBuf,
        /// What is wrong in it.
        cause: String,
    },
    /// There is one already.
    #[error("{path} is there already: name another with --profile", path = .0.display())]
    Exists(PathBuf),
    /// Nobody has a home.
    #[error("it is not known where profiles lie: set HOLDPOINT_PROFILE, or give --profile")]
    NoHome,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    name: String,
    face: Face,
    origin: String,
    address: Option<SocketAddr>,
    ca: PathBuf,
    key: PathBuf,
    #[serde(default)]
    sensor: bool,
}

impl Profile {
    /// Where the profile lies if nobody says otherwise.
    ///
    /// # Errors
    /// The environment names no home.
    pub fn default_path() -> Result<PathBuf, ProfileFault> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let config = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
        Ok(config.ok_or(ProfileFault::NoHome)?.join("holdpoint").join("profile.toml"))
    }

    /// Reads the profile at `path`. What it names is taken from its own folder.
    ///
    /// # Errors
    /// There is none, or it is wrong.
    pub fn load(path: &Path) -> Result<Self, ProfileFault> {
        let text = match std::fs::read_to_string(path) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
                return Err(ProfileFault::Missing(path.to_owned()));
            }
            text => text.map_err(at(path))?,
        };
        let wrong = |cause: String| ProfileFault::Wrong { path: path.to_owned(), cause };
        let Text { name, face, origin, address, ca, key, sensor } =
            toml::from_str(&text).map_err(|cause| wrong(cause.to_string()))?;
        let origin = origin.parse::<Origin>().map_err(|cause| wrong(format!("origin: {cause}")))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let (path, ca, key) = (path.to_owned(), folder.join(ca), folder.join(key));
        Ok(Self { path, name, face, origin, address, ca, key, sensor })
    }

    /// Writes the profile, which must not exist yet.
    ///
    /// # Errors
    /// It does, or cannot be written.
    pub fn write_new(&self) -> Result<(), ProfileFault> {
        let mut text = String::new();
        let face = if self.face == Face::Plant { "plant" } else { "vendor" };
        let mut line = |name: &str, value: &str| {
            let value = toml::Value::String(value.to_owned());
            writeln!(text, "{name} = {value}").expect("a string takes everything");
        };
        line("name", &self.name);
        line("face", face);
        line("origin", &self.origin.to_string());
        if let Some(address) = self.address {
            line("address", &address.to_string());
        }
        line("ca", &self.beside(&self.ca).to_string_lossy());
        line("key", &self.beside(&self.key).to_string_lossy());
        if self.sensor {
            text.push_str("sensor = true\n");
        }
        write_new(&self.path, text.as_bytes(), 0o600)
    }

    /// A path as the profile writes it: short where the file lies beside it.
    fn beside<'p>(&self, path: &'p Path) -> &'p Path {
        self.path.parent().and_then(|folder| path.strip_prefix(folder).ok()).unwrap_or(path)
    }

    /// The CA's certificate.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read_ca(&self) -> Result<String, ProfileFault> {
        std::fs::read_to_string(&self.ca).map_err(at(&self.ca))
    }

    /// Puts these certificates in place of the CA's, in one step.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn replace_ca(&self, pem: &str) -> Result<(), ProfileFault> {
        // Where it is a link, what it leads to is replaced.
        let path = self.ca.canonicalize().map_err(at(&self.ca))?;
        let new = path.with_extension(format!("pem.{}", std::process::id()));
        write_new(&new, pem.as_bytes(), 0o644)?;
        std::fs::rename(&new, &path).map_err(at(&path))
    }
}

/// A new file of this mode, on the disk when this returns.
pub(super) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), ProfileFault> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    match file.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all())) {
        Err(there) if there.kind() == io::ErrorKind::AlreadyExists => Err(ProfileFault::Exists(path.to_owned())),
        done => done.map_err(at(path)),
    }
}

pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> ProfileFault {
    let path = path.to_owned();
    move |cause| ProfileFault::File { path, cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(folder: &Path) -> Profile {
        Profile {
            path: folder.join("profile.toml"),
            name: "le\"e".into(),
            face: Face::Vendor,
            origin: "https://gate.mill3.example:8443".parse().unwrap(),
            address: Some("127.0.0.1:41234".parse().unwrap()),
            ca: folder.join("ca.pem"),
            key: "/home/lee/.ssh/id_ed25519.pub".into(),
            sensor: true,
        }
    }

    #[test]
    fn a_profile_reads_back_as_written_and_is_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let written = profile(folder.path());
        written.write_new().unwrap();
        assert_eq!(Profile::load(&written.path).unwrap(), written);
        let text = std::fs::read_to_string(&written.path).unwrap();
        assert!(text.contains("ca = \"ca.pem\"\n"), "{text}");
        assert!(matches!(written.write_new(), Err(ProfileFault::Exists(_))));
    }

    #[test]
    fn the_ca_is_replaced_where_the_profile_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        let profile = profile(folder.path());
        assert!(profile.replace_ca("new").is_err(), "none is made where there is none");
        std::fs::write(folder.path().join("real.pem"), "old").unwrap();
        std::os::unix::fs::symlink("real.pem", &profile.ca).unwrap();
        profile.replace_ca("new").unwrap();
        assert_eq!(profile.read_ca().unwrap(), "new");
        assert_eq!(std::fs::read_to_string(folder.path().join("real.pem")).unwrap(), "new");
    }

    #[test]
    fn what_is_wrong_in_a_profile_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profile.toml");
        assert!(Profile::load(&path).unwrap_err().to_string().contains("holdpoint enrol"));
        let text = "name = \"lee\"\nface = \"plant\"\norigin = \"https://10.0.0.1\"\nca = \"a\"\nkey = \"b\"\n";
        std::fs::write(&path, text).unwrap();
        assert!(Profile::load(&path).unwrap_err().to_string().contains("an IP address is no origin"));
        std::fs::write(&path, format!("colour = 1\n{text}")).unwrap();
        assert!(Profile::load(&path).unwrap_err().to_string().contains("colour"));
    }
}
