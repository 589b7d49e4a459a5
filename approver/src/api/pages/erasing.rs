//! That a recording is erased: signed by an administrator and an operator, each with their own passkey, once its rule lets it go
//! and nobody holds it.

use axum::extract::{Path, State};
use axum::response::Response;
use certs::sshsig::Namespace;
use policies::ids::SessionId;
use policies::requests::EraseStatement;

use super::super::types::{Done, EraseSignature, EraseTemplate, SessionView};
use super::card::id_of;
use super::history::names;
use super::inside::{Inside, Said};
use super::signing::{Prepared, page, read, sign};
use super::{Fields, Pages, Posted, words};

pub(super) async fn to_sign(State(pages): State<Pages>, Path(id): Path<String>, sent: Posted) -> Response {
    let inside = sent.inside;
    let prepared = prepared(&pages, &inside, &id).await;
    pages.shown(&inside, page(&pages, &inside, prepared).await).await
}

async fn prepared(pages: &Pages, inside: &Inside, id: &str) -> Result<Prepared, Said> {
    let id: SessionId = id_of(id)?;
    let EraseTemplate { statement } = inside.get(&format!("/api/v1/recordings/{id}/erasure")).await?;
    let session: SessionView = inside.get(&format!("/api/v1/sessions/{id}")).await?;
    let (_, zone) = pages.clock();
    let (who, began) = (words::plain(&session.technician.name), words::exact(session.started, &zone));
    let signers = session.kept.map(|kept| names(&kept.signers)).unwrap_or_default();
    let others = if signers.is_empty() { "nobody yet".to_owned() } else { signers };
    Ok(Prepared {
        lines: vec![
            format!("the recording of {who} at {}, which began at {began}, shall be erased", session.target),
            "its keys first, then its bytes: nobody can bring it back".to_owned(),
            format!("it takes an administrator and an operator; signed so far by {others}"),
            format!("session {id}"),
        ],
        to: format!("/sessions/{id}/erased"),
        back: format!("/sessions/{id}"),
        ..Prepared::new(Namespace::Erase, &statement, statement.digest())
    })
}

pub(super) async fn signed(State(pages): State<Pages>, Path(id): Path<String>, sent: Posted) -> Response {
    let Posted { inside, fields } = sent;
    pages.then(&inside, give(&pages, &inside, &id, &fields).await).await
}

async fn give(pages: &Pages, inside: &Inside, id: &str, fields: &Fields) -> Result<String, Said> {
    let id: SessionId = id_of(id)?;
    let statement: EraseStatement = read(fields.get("statement"))?;
    let digest = statement.digest();
    let signed = sign(pages, inside, Namespace::Erase, statement, digest, fields)?;
    let _: Done = inside.post(&format!("/api/v1/recordings/{id}/erasure"), &EraseSignature(signed)).await?;
    Ok(format!("/sessions/{id}"))
}
