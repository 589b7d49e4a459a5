//! The plant file: the one in force, those that are up for signing and what each changes, in words; putting one up, and signing.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use certs::sshsig::Namespace;
use policies::digest::Digest;
use policies::requests::PlantStatement;
use toml::Table;

use super::super::types::{Done, PlantFile, PlantFiles, PlantProposed, PlantSignature, PlantTemplate, ProposePlant};
use super::inside::{Inside, Said};
use super::signing::{Prepared, page, read, sign};
use super::{Fields, Pages, Posted, Top, words};
use crate::difference;

#[derive(Template)]
#[template(path = "plant-files.html")]
struct Files {
    top: Top,
    files: Vec<Listed>,
}

struct Listed {
    digest: String,
    words: String,
    in_force: bool,
    signers: String,
    needs: String,
}

pub(super) async fn list(State(pages): State<Pages>, inside: Inside) -> Response {
    pages.shown(&inside, gather(&pages, &inside).await).await
}

async fn gather(pages: &Pages, inside: &Inside) -> Result<Files, Said> {
    let PlantFiles { files } = inside.get("/api/v1/plant/files").await?;
    Ok(Files { top: pages.top(Some(inside)).await, files: files.iter().map(listed).collect() })
}

fn listed(file: &PlantFile) -> Listed {
    Listed {
        digest: file.digest.to_string(),
        words: file.words.clone(),
        in_force: file.in_force,
        signers: file.signers.iter().map(|signer| words::plain(&signer.name)).collect::<Vec<_>>().join(", "),
        needs: file.needs.clone(),
    }
}

#[derive(Template)]
#[template(path = "plant-file.html")]
struct File {
    top: Top,
    listed: Listed,
    changes: Vec<String>,
    text: String,
    can_sign: bool,
}

pub(super) async fn one(State(pages): State<Pages>, inside: Inside, Path(digest): Path<String>) -> Response {
    pages.shown(&inside, of_file(&pages, &inside, &digest).await).await
}

async fn of_file(pages: &Pages, inside: &Inside, digest: &str) -> Result<File, Said> {
    let file = find(inside, digest).await?;
    let current: PlantFile = inside.get("/api/v1/plant").await?;
    let top = pages.top(Some(inside)).await;
    Ok(File {
        can_sign: !file.in_force && (top.is_operator || top.is_administrator),
        top,
        listed: listed(&file),
        changes: changes(&current, &file)?,
        text: file.text,
    })
}

async fn find(inside: &Inside, digest: &str) -> Result<PlantFile, Said> {
    let digest: Digest = digest.parse().map_err(|_| Said::not_there())?;
    inside.get(&format!("/api/v1/plant/files/{digest}")).await
}

/// From the file in force to this one, worked out from the two texts.
fn changes(current: &PlantFile, file: &PlantFile) -> Result<Vec<String>, Said> {
    let parsed = |text: &str| text.parse::<Table>().map_err(|cause| Said::mistake(cause.to_string()));
    if current.digest == file.digest {
        return Ok(Vec::new());
    }
    let lines = difference::in_words(&parsed(&current.text)?, &parsed(&file.text)?);
    Ok(if lines.is_empty() { vec!["It says the same as the file in force, in other words.".to_owned()] } else { lines })
}

/// Puts a file up. Forms end their lines as a letter does (HTML, 4.10.5.4); files do not.
pub(super) async fn propose(State(pages): State<Pages>, Posted { inside, fields }: Posted) -> Response {
    let text = fields.get("text").replace("\r\n", "\n");
    let proposed: Result<PlantProposed, Said> = inside.post("/api/v1/plant/files", &ProposePlant { text }).await;
    pages.then(&inside, proposed.map(|proposed| format!("/plant-files/{}", proposed.digest))).await
}

pub(super) async fn to_sign(State(pages): State<Pages>, Path(digest): Path<String>, sent: Posted) -> Response {
    let inside = sent.inside;
    pages.shown(&inside, page(&pages, &inside, prepared(&inside, &digest).await).await).await
}

async fn prepared(inside: &Inside, digest: &str) -> Result<Prepared, Said> {
    let file = find(inside, digest).await?;
    let current: PlantFile = inside.get("/api/v1/plant").await?;
    let template: PlantTemplate = inside.get(&format!("/api/v1/plant/files/{}/statement", file.digest)).await?;
    let statement = template.statement;
    let mut lines = vec!["this plant file shall be in force".to_owned()];
    lines.extend(changes(&current, &file)?);
    Ok(Prepared {
        lines,
        words: certs::words::of(&statement.plant),
        to: format!("/plant-files/{}/signed", file.digest),
        back: format!("/plant-files/{}", file.digest),
        ..Prepared::new(Namespace::Plant, &statement, statement.digest())
    })
}

pub(super) async fn signed(State(pages): State<Pages>, Path(digest): Path<String>, sent: Posted) -> Response {
    let Posted { inside, fields } = sent;
    pages.then(&inside, give(&pages, &inside, &digest, &fields).await).await
}

async fn give(pages: &Pages, inside: &Inside, digest: &str, fields: &Fields) -> Result<String, Said> {
    let digest: Digest = digest.parse().map_err(|_| Said::not_there())?;
    let statement: PlantStatement = read(fields.get("statement"))?;
    let signs = statement.digest();
    let signed = sign(pages, inside, Namespace::Plant, statement, signs, fields)?;
    let _: Done = inside.post(&format!("/api/v1/plant/files/{digest}/signatures"), &PlantSignature(signed)).await?;
    Ok(format!("/plant-files/{digest}"))
}
