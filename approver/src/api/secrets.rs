//! Targets' credentials: set and forgotten by administrators, sealed at once, and shown to nobody.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use policies::ids::CredentialName;
use zeroize::Zeroizing;

use super::Api;
use super::guard::{At, Caller, Sent};
use super::problem::Problem;
use super::types::{SecretNames, SecretSet};

/// Sealed, it must fit a value of the directory; the largest RSA key in OpenSSH's form has some 3 KiB.
const SECRET_BYTES_MAX: usize = 4_000;

pub(super) async fn list(State(api): State<Api>) -> Result<Json<SecretNames>, Problem> {
    Ok(Json(SecretNames { names: api.desk().directory().credential_names().await? }))
}

pub(super) async fn set(
    State(api): State<Api>,
    caller: Caller,
    At(name): At<CredentialName>,
    Sent(sent): Sent<SecretSet>,
) -> Result<StatusCode, Problem> {
    if sent.secret.is_empty() || sent.secret.len() > SECRET_BYTES_MAX {
        return Err(Problem::malformed(format!("a credential has between 1 and {SECRET_BYTES_MAX} bytes")));
    }
    let secret = Zeroizing::new(sent.secret.as_bytes().to_vec());
    api.desk().set_secret(name, secret, api.parts().secrets.clone(), caller.person()).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn forget(
    State(api): State<Api>,
    caller: Caller,
    At(name): At<CredentialName>,
) -> Result<StatusCode, Problem> {
    api.desk().forget_secret(name, caller.person()).await?;
    Ok(StatusCode::NO_CONTENT)
}
