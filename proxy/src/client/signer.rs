//! The person's key as the client uses it: a file it reads, or one that an agent at `SSH_AUTH_SOCK` holds (a security
//! key, a key locked once a day). The gate cannot tell them apart.

use std::io;
use std::path::Path;

use certs::keys::KeyFault;
use certs::sshsig::{self, Namespace};
use russh::keys::agent::client::AgentClient;
use ssh_key::{Algorithm, HashAlg, PrivateKey, PublicKey};
use zeroize::Zeroizing;

use super::Fault;

/// What signs for a person.
pub enum Signer {
    /// A private key that was read.
    File(Box<PrivateKey>),
    /// A public key whose private half the agent has.
    Agent(PublicKey),
}

/// Why a signature could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SignerFault {
    /// No agent.
    #[error(
        "the profile names a public key, so an agent has to sign, and none answers ({0}). Start one and `ssh-add` the key"
    )]
    NoAgent(String),
    /// The agent does not sign.
    #[error("the agent does not sign with this key ({0}). `ssh-add -l` lists what it has")]
    NotSigned(String),
    /// A public key file.
    #[error("{path}: {cause}")]
    PublicKey {
        /// The file.
        path: String,
        /// What is wrong.
        cause: String,
    },
    /// Nobody can be asked for the passphrase.
    #[error(
        "{path} is locked, and its passphrase cannot be asked for here ({cause}): put it into an agent, and name its .pub file"
    )]
    Locked {
        /// The file.
        path: String,
        /// Why.
        cause: io::Error,
    },
}

impl Signer {
    /// The key at `path`: a `.pub` file means the agent. `passphrase` is asked where the file is locked.
    ///
    /// # Errors
    /// It cannot be read, or does not open.
    pub fn open(path: &Path, passphrase: impl FnOnce(&Path) -> io::Result<Zeroizing<String>>) -> Result<Self, Fault> {
        if path.extension().is_some_and(|ending| ending == "pub") {
            return Ok(Self::Agent(read_public(path)?));
        }
        match sshsig::load_private(path, None) {
            Err(KeyFault::PassphraseNeeded { .. }) => {
                let locked = |cause| SignerFault::Locked { path: path.display().to_string(), cause };
                let passphrase = passphrase(path).map_err(locked)?;
                Ok(Self::File(Box::new(sshsig::load_private(path, Some(&passphrase))?)))
            }
            read => Ok(Self::File(Box::new(read?))),
        }
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        match self {
            Self::File(key) => key.public_key(),
            Self::Agent(key) => key,
        }
    }

    /// A signature over `message` for one purpose, as text.
    ///
    /// # Errors
    /// The key or the agent cannot.
    pub async fn sign(&self, namespace: Namespace, message: &[u8]) -> Result<String, Fault> {
        match self {
            Self::File(key) => Ok(sshsig::sign_with(key, namespace, message)?),
            Self::Agent(key) => Ok(sign_by_agent(key, namespace, message).await?),
        }
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let how = if matches!(self, Self::File(_)) { "file" } else { "agent" };
        write!(f, "Signer({how}, {})", self.public_key().fingerprint(HashAlg::Sha256))
    }
}

async fn sign_by_agent(key: &PublicKey, namespace: Namespace, message: &[u8]) -> Result<String, SignerFault> {
    let mut agent = AgentClient::connect_env().await.map_err(|cause| SignerFault::NoAgent(cause.to_string()))?;
    // Only RSA has a choice; of the others the agent wants to hear nothing.
    let hash = matches!(key.algorithm(), Algorithm::Rsa { .. }).then_some(HashAlg::Sha512);
    let signed = agent.sign_request_signature(key, hash, &sshsig::signed_data(namespace, message)).await;
    let signature = signed.map_err(|cause| SignerFault::NotSigned(cause.to_string()))?;
    Ok(sshsig::wrap(key, namespace, signature))
}

/// Reads a public key file.
///
/// # Errors
/// It is none.
pub(super) fn read_public(path: &Path) -> Result<PublicKey, SignerFault> {
    let wrong = |cause: String| SignerFault::PublicKey { path: path.display().to_string(), cause };
    let text = std::fs::read_to_string(path).map_err(|cause| wrong(cause.to_string()))?;
    PublicKey::from_openssh(text.trim()).map_err(|cause| wrong(cause.to_string()))
}
