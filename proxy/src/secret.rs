//! What opens the gate's keys when the program starts: asked for on the terminal, or handed over by systemd. Never an
//! argument, since arguments are seen by everybody on the machine.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;

use certs::keys::Seal;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::config::SealWord;

/// The credential that opens the gate's keys, by its name in the unit: `LoadCredentialEncrypted=holdpoint-seal:…`.
pub(crate) const CREDENTIAL: &str = "holdpoint-seal";

/// Why the seal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SealFault {
    /// The unit hands over no credential.
    #[error(
        "systemd hands over no credential: the unit needs LoadCredentialEncrypted={CREDENTIAL}:FILE, or change `seal` under [keys]"
    )]
    NoCredential,
    /// The passphrase cannot be asked for.
    #[error("cannot ask for the passphrase: {0}")]
    NotAsked(#[from] io::Error),
}

/// What opens keys sealed in this way.
///
/// # Errors
/// There is no credential, or nobody can be asked.
pub fn open_seal(word: SealWord) -> Result<Seal, SealFault> {
    match word {
        SealWord::File => Ok(Seal::File),
        SealWord::Passphrase => Ok(Seal::Passphrase(ask_hidden("Passphrase of the gate's keys: ")?)),
        SealWord::SystemdCredential => {
            let folder = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or(SealFault::NoCredential)?;
            Ok(Seal::SystemdCredential(PathBuf::from(folder).join(CREDENTIAL)))
        }
    }
}

/// A line from standard input; on a terminal without showing it.
///
/// # Errors
/// The input ends, or the terminal cannot be set.
pub fn ask_hidden(prompt: &str) -> io::Result<Zeroizing<String>> {
    let input = io::stdin();
    let shown = input.is_terminal().then(|| tcgetattr(&input)).transpose()?;
    if let Some(shown) = &shown {
        let mut hidden = shown.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&input, OptionalActions::Flush, &hidden)?;
        // Asked only now: what is typed at once neither shows nor is lost.
        // Who closed standard error types unasked.
        drop(write!(io::stderr(), "{prompt}"));
    }
    let mut line = Zeroizing::new(String::new());
    let read = input.lock().read_line(&mut line);
    if let Some(shown) = &shown {
        tcsetattr(&input, OptionalActions::Drain, shown)?;
        drop(writeln!(io::stderr()));
    }
    if read? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let length = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(length);
    Ok(line)
}
