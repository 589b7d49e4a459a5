//! The certificate of a face: the gate's own, and the one that the plant gave, read again when its files change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use approver::certificates::{Certificates, Standing};
use approver::clock::Clock;
use certs::given::{FaceKey, GivenCertificate, GivenFault};
use certs::keys::KeyStore;
use certs::tls::{ServerTls, TlsCa, TlsFault};
use rustls::ServerConfig;
use tokio::sync::watch;

use crate::config::CertificateFiles;

/// Why a certificate that was given cannot be shown.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {cause}", path = .path.display())]
pub(crate) struct CannotShow {
    path: PathBuf,
    cause: GivenFault,
}

/// The certificate in these files, for a face of this name, as whoever may read them read them.
///
/// # Errors
/// It cannot be read, or could never be this face's. One that has ended is none of them.
pub(crate) fn read(
    files: &CertificateFiles,
    host: &str,
    (chain, key): (Result<Vec<u8>, GivenFault>, Result<FaceKey, GivenFault>),
) -> Result<GivenCertificate, CannotShow> {
    let fails = |path: &Path, cause| CannotShow { path: path.to_owned(), cause };
    let chain = chain.map_err(|fault| fails(&files.chain, fault))?;
    let key = key.map_err(|fault| fails(&files.key, fault))?;
    GivenCertificate::read(&chain, &key, host).map_err(|fault| {
        let is_of_key = matches!(fault, GivenFault::NoKey | GivenFault::Pair(_));
        fails(if is_of_key { &files.key } else { &files.chain }, fault)
    })
}

fn read_by(keys: &KeyStore, files: &CertificateFiles, host: &str) -> Result<GivenCertificate, CannotShow> {
    read(files, host, (keys.face_chain(&files.chain), keys.face_key(&files.key)))
}

/// A face, as far as its certificate goes.
pub(super) struct FaceTls {
    pub(super) ca: TlsCa,
    /// Who reads a certificate that was given, and its private key.
    pub(super) keys: Arc<KeyStore>,
    /// Told when the gate's own keys were read anew.
    pub(super) turned: watch::Receiver<()>,
    /// In the words of the configuration.
    pub(super) face: &'static str,
    /// The face's name, and the addresses by which it is reached.
    pub(super) names: Vec<String>,
    pub(super) files: Option<CertificateFiles>,
    pub(super) clock: Clock,
    pub(super) certificates: Certificates,
}

/// What a face shows.
pub(super) struct Shown {
    served: ServerTls,
    given: Option<GivenCertificate>,
}

impl FaceTls {
    /// Files are looked at as often as this, because an authority's own tools replace them when they like.
    const FILES_LOOKED_AT: Duration = Duration::from_secs(10);
    /// Somebody may set the clock, so the time left is looked at anew.
    const LOOKED_AT: Duration = Duration::from_secs(3_600);

    /// What it shows first: the gate's own where a certificate was given that cannot be shown, because a control room without
    /// pages is worse than one with a warning.
    ///
    /// # Errors
    /// There is no certificate at all.
    pub(super) fn begin(&self) -> Result<(Shown, watch::Sender<Arc<ServerConfig>>), TlsFault> {
        let given = self.files.as_ref().and_then(|files| {
            let cannot = |cannot: &CannotShow| {
                tracing::error!(%cannot, face = self.face, "browsers are shown the gate's own certificate");
                self.certificates.none(self.face, cannot.to_string());
            };
            self.read(files).inspect_err(cannot).ok()
        });
        let served = self.make(given.as_ref())?;
        let (current, _) = watch::channel(Arc::clone(&served.config));
        Ok((Shown { served, given }, current))
    }

    /// Makes a new certificate long before the old one ends and when the gate's authority is another, and shows what is given
    /// anew. By the wall clock, which is what clients go by.
    pub(super) async fn keep(mut self, mut shown: Shown, current: watch::Sender<Arc<ServerConfig>>) {
        let every = if self.files.is_some() { Self::FILES_LOOKED_AT } else { Self::LOOKED_AT };
        let mut is_stale = false;
        loop {
            let every = if is_stale { Self::FILES_LOOKED_AT } else { every };
            is_stale |= tokio::select! {
                () = self.clock.sleep(every) => false,
                Ok(()) = self.turned.changed() => true,
            };
            if let Some(read) = self.read_apart().await {
                is_stale |= self.look_again(read, &mut shown.given);
            }
            if !is_stale && self.clock.wall() < shown.served.renew_at {
                continue;
            }
            match self.make(shown.given.as_ref()) {
                Ok(served) => {
                    current.send_replace(Arc::clone(&served.config));
                    shown.served = served;
                    is_stale = false;
                }
                Err(fault) => tracing::error!(%fault, face = self.face, "a face's certificate could not be renewed"),
            }
        }
    }

    fn read(&self, files: &CertificateFiles) -> Result<GivenCertificate, CannotShow> {
        read_by(&self.keys, files, &self.names[0])
    }

    /// What is given now, if anything is: where a disk hangs, nobody's session hangs with it.
    async fn read_apart(&self) -> Option<Result<GivenCertificate, CannotShow>> {
        let (keys, files, host) = (Arc::clone(&self.keys), self.files.clone()?, self.names[0].clone());
        let chain = files.chain.clone();
        let read = tokio::task::spawn_blocking(move || read_by(&keys, &files, &host)).await;
        Some(read.unwrap_or_else(|died| Err(CannotShow { path: chain, cause: GivenFault::NoAnswer(died.to_string()) })))
    }

    fn make(&self, given: Option<&GivenCertificate>) -> Result<ServerTls, TlsFault> {
        if let Some(given) = given {
            let (issuer, until) = (given.issuer(), given.valid_until());
            tracing::info!(face = self.face, issuer, %until, "browsers are shown the certificate that was given");
            self.tell(given, None);
        }
        self.ca.server(&self.names, given, self.clock.wall())
    }

    /// Whether the files hold another certificate now. What cannot be shown leaves the one before, and so does what does not
    /// count yet.
    fn look_again(&self, read: Result<GivenCertificate, CannotShow>, given: &mut Option<GivenCertificate>) -> bool {
        let now = self.clock.wall();
        match (read, &given) {
            (Ok(new), Some(before)) if new.is_same_as(before) => self.tell(before, None),
            (Ok(new), Some(before)) if now < new.valid_from() && now < before.valid_until() => {
                self.tell(before, Some(format!("it counts only from {} on", new.valid_from())));
            }
            (Ok(new), _) => {
                *given = Some(new);
                return true;
            }
            (Err(cannot), Some(before)) => self.tell(before, Some(cannot.to_string())),
            (Err(cannot), None) => self.certificates.none(self.face, cannot.to_string()),
        }
        false
    }

    fn tell(&self, given: &GivenCertificate, unread: Option<String>) {
        self.certificates.tell(self.face, Standing { from: given.valid_from(), until: given.valid_until(), unread });
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::thread;

    use certs::keys::Seal;
    use certs::vault::Line;
    use certs::vault::answering::{Allowed, Vault};
    use certs::vault::wire::{self, Answer, Ask};
    use jiff::Timestamp;
    use tokio::time::timeout;

    use super::*;

    /// A line to a vault that refuses the next so many certificates of servers.
    fn refusing(keys: KeyStore, refusals: watch::Sender<u32>) -> Line {
        let (ours, mut gate) = UnixStream::pair().unwrap();
        let (mut vault, mut theirs) = UnixStream::pair().unwrap();
        let answering = Vault::new(keys, Allowed::default());
        thread::spawn(move || answering.serve(&mut theirs, Timestamp::now).unwrap_or_default());
        thread::spawn(move || {
            while let Ok(Some(ask)) = wire::read::<Ask>(&mut gate) {
                let refuses = matches!(ask, Ask::ServerCertificate { .. })
                    && refusals.send_if_modified(|left| left.checked_sub(1).map(|less| *left = less).is_some());
                let answer = if refuses {
                    Answer::Refused("not now".to_owned())
                } else {
                    wire::write(&mut vault, &ask).unwrap();
                    wire::read(&mut vault).unwrap().unwrap()
                };
                wire::write(&mut gate, &answer).unwrap();
            }
        });
        Line::new(ours)
    }

    #[tokio::test]
    async fn a_certificate_that_could_not_be_made_once_is_made_seconds_later() {
        let folder = tempfile::tempdir().unwrap();
        let (refusals, mut refused) = watch::channel(0);
        let vault = KeyStore::create(&folder.path().join("keys"), &Seal::File).unwrap();
        let keys = Arc::new(KeyStore::in_vault(&refusing(vault, refusals.clone())).unwrap());
        let ((turn_keys, turned), (clock, turn)) = (watch::channel(()), Clock::turned());
        let (ca, names) = (keys.tls_ca(), vec!["plant.example".to_owned()]);
        let certificates = Certificates::default();
        let tls = FaceTls { ca, keys, turned, face: "plant", names, files: None, clock, certificates };
        let (first, current) = tls.begin().unwrap();
        let mut served = current.subscribe();
        let keeping = tokio::spawn(tls.keep(first, current));
        refusals.send_replace(1);
        turn_keys.send_replace(());
        // One thread carries both: what was refused was dealt with before this goes on.
        timeout(Duration::from_secs(10), refused.wait_for(|left| *left == 0)).await.unwrap().unwrap();
        assert!(!served.has_changed().unwrap());
        turn.pass(FaceTls::FILES_LOOKED_AT);
        timeout(Duration::from_secs(10), served.changed()).await.expect("it is made").unwrap();
        keeping.abort();
    }
}
