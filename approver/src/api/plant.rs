//! The plant file: the one in force, those proposed, and the signatures that bring one into force. What differs is told
//! in words by the client, which has both texts.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use policies::decide::Command;
use policies::digest::Digest;
use policies::ids::PersonId;
use policies::plant::{Plant, Quorum};
use policies::refusals::Refusal;
use policies::requests::PlantStatement;

use super::Api;
use super::cards::STATEMENT_LASTS;
use super::guard::{At, Caller, Sent};
use super::problem::Problem;
use super::requests::done;
use super::types::{Done, PlantFile, PlantFiles, PlantProposed, PlantSignature, PlantTemplate, ProposePlant};
use crate::mint;

struct Found {
    digest: Digest,
    text: String,
    signers: Vec<PersonId>,
    in_force: bool,
    needs: String,
}

impl Api {
    fn plant_files(&self, wanted: impl Fn(Digest, bool) -> bool) -> Vec<Found> {
        self.desk().with_state(|state| {
            let current = state.plant.as_ref().map(|plant| plant.digest());
            let changes = state.plant.iter().flat_map(|plant| &plant.changes);
            let needs = changes.map(Quorum::to_string).collect::<Vec<_>>().join(" and ");
            let all = state.proposals.iter().filter(|(digest, _)| wanted(**digest, Some(**digest) == current));
            all.map(|(digest, proposal)| Found {
                digest: *digest,
                text: proposal.text.clone(),
                signers: proposal.signers.iter().copied().collect(),
                in_force: Some(*digest) == current,
                needs: needs.clone(),
            })
            .collect()
        })
    }

    async fn plant_file(&self, found: Found) -> PlantFile {
        let mut signers = Vec::new();
        for signer in found.signers {
            signers.push(self.named(signer).await);
        }
        let words = certs::words::of(&found.digest);
        PlantFile {
            digest: found.digest,
            words,
            text: found.text,
            in_force: found.in_force,
            signers,
            needs: found.needs,
        }
    }
}

pub(super) async fn in_force(State(api): State<Api>) -> Result<Json<PlantFile>, Problem> {
    let found = api.plant_files(|_, in_force| in_force).pop().ok_or(Refusal::NoPlant)?;
    Ok(Json(api.plant_file(found).await))
}

pub(super) async fn list(State(api): State<Api>) -> Json<PlantFiles> {
    let mut files = Vec::new();
    for found in api.plant_files(|_, _| true) {
        files.push(api.plant_file(Found { text: String::new(), ..found }).await);
    }
    Json(PlantFiles { files })
}

pub(super) async fn one(State(api): State<Api>, At(digest): At<Digest>) -> Result<Json<PlantFile>, Problem> {
    let found = api.plant_files(|other, _| other == digest).pop().ok_or(Refusal::NoSuchPlantFile)?;
    Ok(Json(api.plant_file(found).await))
}

pub(super) async fn propose(
    State(api): State<Api>,
    caller: Caller,
    Sent(ProposePlant { text }): Sent<ProposePlant>,
) -> Result<Json<PlantProposed>, Problem> {
    if let Err(mistakes) = Plant::parse(&text) {
        let refusal = Refusal::PlantFileWrong(mistakes.count());
        let lines = mistakes.to_string().lines().map(str::to_owned).collect();
        return Err(
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, refusal.id(), refusal.to_string()).with_mistakes(lines)
        );
    }
    let digest = Digest::of_bytes(text.as_bytes());
    api.desk().act(Command::ProposePlant { text, by: caller.person() }).await?;
    Ok(Json(PlantProposed { digest }))
}

pub(super) async fn statement(
    State(api): State<Api>,
    caller: Caller,
    At(digest): At<Digest>,
) -> Result<Json<PlantTemplate>, Problem> {
    let replaces = api.desk().with_state(|state| {
        state.proposals.get(&digest).ok_or(Refusal::NoSuchPlantFile)?;
        state.plant.as_ref().map(|plant| plant.digest()).ok_or(Refusal::NoPlant)
    })?;
    let statement = PlantStatement {
        deployment: api.desk().deployment().clone(),
        plant: digest,
        replaces,
        signer: caller.person(),
        nonce: mint::nonce(),
        expires: STATEMENT_LASTS.after(api.clock().wall()),
        journal: api.seen(),
    };
    Ok(Json(PlantTemplate { statement, words: certs::words::of(&digest) }))
}

pub(super) async fn sign(
    State(api): State<Api>,
    caller: Caller,
    At(digest): At<Digest>,
    Sent(PlantSignature(signed)): Sent<PlantSignature>,
) -> Result<Json<Done>, Problem> {
    if signed.statement.signer != caller.person() {
        return Err(Problem::not_you());
    }
    if signed.statement.plant != digest {
        return Err(Problem::malformed("path and body name different plant files"));
    }
    Ok(done(&api.desk().act(Command::SignPlant { signed }).await?))
}
