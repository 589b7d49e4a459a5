//! What opens accounts of targets and ways to tell people: set, and forgotten, by administrators. Each is journaled first: what
//! opens something must not be there without a trace.

use certs::secrets::Secrets;
use policies::decide::Command;
use policies::ids::{CredentialName, PersonId};
use zeroize::Zeroizing;

use super::{Desk, Fault, Rejected};

impl Desk {
    /// Keeps a secret, sealed, in place of the one that was there.
    ///
    /// # Errors
    /// Only administrators may; or it could not be journaled, or not be kept: then it is to be set once more.
    pub async fn set_secret(
        &self,
        credential: CredentialName,
        secret: Zeroizing<Vec<u8>>,
        secrets: Secrets,
        by: PersonId,
    ) -> Result<(), Rejected> {
        let inner = self.0.clone();
        let set = async move {
            let _one = inner.secrets.lock().await;
            inner.act(Command::SetSecret { credential: credential.clone(), by }).await?;
            let kept = inner.directory.set_credential(&credential, &secret, &secrets).await;
            kept.map_err(Fault::SecretNotKept).inspect_err(|fault| tracing::error!(%credential, %fault))?;
            tracing::warn!(person = %by, %credential, "a secret was set");
            Ok(())
        };
        self.to_its_end(Box::pin(set)).await?
    }

    /// Forgets a secret.
    ///
    /// # Errors
    /// Only administrators may; or it could not be journaled, or not be forgotten: then it is to be forgotten once more.
    pub async fn forget_secret(&self, credential: CredentialName, by: PersonId) -> Result<(), Rejected> {
        let inner = self.0.clone();
        let forget = async move {
            let _one = inner.secrets.lock().await;
            inner.act(Command::ForgetSecret { credential: credential.clone(), by }).await?;
            let forgotten = inner.directory.forget_credential(&credential).await;
            forgotten.map_err(Fault::SecretNotForgotten).inspect_err(|fault| tracing::error!(%credential, %fault))?;
            tracing::warn!(person = %by, %credential, "a secret was forgotten");
            Ok(())
        };
        self.to_its_end(Box::pin(forget)).await?
    }
}
