//! That what a command says was signed, was: by the key it names, for its purpose, and over a journal that is this one.
//! Whose key it is, and what follows, is decided in `policies`.

use certs::sshsig::{self, Namespace, SignatureKind};
use policies::decide::Command;
use policies::digest::Digest;
use policies::people::SshKey;
use policies::refusals::Refusal;
use policies::requests::SeenHead;
use ssh_key::PublicKey;

use super::fold::Fold;
use super::{Rejected, Unsigned};

pub(super) fn check(command: &Command, fold: &Fold) -> Result<(), Rejected> {
    match command {
        Command::Vote { verdict } | Command::Reopen { verdict, .. } | Command::CloseOut { verdict, .. } => {
            let statement = &verdict.statement;
            check_one(
                Namespace::Approval,
                statement.digest(),
                &statement.journal,
                &verdict.key,
                &verdict.signature,
                fold,
            )
        }
        Command::Certify { certificate } => {
            let statement = &certificate.statement;
            let (key, signature) = (&certificate.key, &certificate.signature);
            check_one(Namespace::Certify, statement.digest(), &statement.journal, key, signature, fold)
        }
        Command::InviteGuest { invitation, .. } => {
            let statement = &invitation.statement;
            let (key, signature) = (&invitation.key, &invitation.signature);
            check_one(Namespace::Guest, statement.digest(), &statement.journal, key, signature, fold)
        }
        Command::SignPlant { signed } => {
            let statement = &signed.statement;
            check_one(Namespace::Plant, statement.digest(), &statement.journal, &signed.key, &signed.signature, fold)
        }
        Command::SignErasure { signed } => {
            let statement = &signed.statement;
            check_one(Namespace::Erase, statement.digest(), &statement.journal, &signed.key, &signed.signature, fold)
        }
        Command::Restore { administrator, operator } => [administrator, operator].into_iter().try_for_each(|signed| {
            let (key, signature) = (&signed.key, &signed.signature);
            let statement = &signed.statement;
            check_one(Namespace::Restore, statement.digest(), &statement.journal, key, signature, fold)
        }),
        Command::Found { .. }
        | Command::Contract { .. }
        | Command::Invite { .. }
        | Command::Reinvite { .. }
        | Command::EndGuest { .. }
        | Command::Enrol { .. }
        | Command::AddKey { .. }
        | Command::Rename { .. }
        | Command::Disable { .. }
        | Command::DisableVendor { .. }
        | Command::AllowInvitations { .. }
        | Command::NameManager { .. }
        | Command::DismissManager { .. }
        | Command::Attest { .. }
        | Command::WithdrawAttestation { .. }
        | Command::Lock { .. }
        | Command::SetPassword { .. }
        | Command::LinkSubject { .. }
        | Command::UnlinkSubject { .. }
        | Command::RenameSubject { .. }
        | Command::ComeOnDuty { .. }
        | Command::ProposePlant { .. }
        | Command::SetSecret { .. }
        | Command::ForgetSecret { .. }
        | Command::Submit(_)
        | Command::VoteWeaker { .. }
        | Command::Accept { .. }
        | Command::Withdraw { .. }
        | Command::AskExtension { .. }
        | Command::AskWidening { .. }
        | Command::Revoke { .. }
        | Command::Admit(_)
        | Command::End { .. }
        | Command::Freeze { .. }
        | Command::Thaw { .. }
        | Command::Watch { .. }
        | Command::EndWatch { .. }
        | Command::Escort { .. }
        | Command::EndEscort { .. }
        | Command::Tell { .. }
        | Command::Fetch { .. }
        | Command::Hold { .. }
        | Command::Release { .. }
        | Command::Pack { .. }
        | Command::Capture { .. }
        | Command::Disconnect { .. }
        | Command::ReportTransfer { .. }
        | Command::ReportIdle { .. }
        | Command::ReportWarning { .. }
        | Command::ReportHostKey { .. }
        | Command::ReportRefusal { .. }
        | Command::Cut { .. }
        | Command::Account { .. }
        | Command::Sweep
        | Command::LeaveUnaccepted { .. }
        | Command::StartNode { .. }
        | Command::StopNode { .. }
        | Command::ForgetNodes { .. }
        | Command::Checkpoint { .. }
        | Command::ReportRecorder { .. }
        | Command::Backup { .. }
        | Command::NameRecipients { .. }
        | Command::Rehearse { .. } => Ok(()),
    }
}

fn check_one(
    namespace: Namespace,
    digest: Digest,
    journal: &SeenHead,
    key: &SshKey,
    signature: &str,
    fold: &Fold,
) -> Result<(), Rejected> {
    let key = PublicKey::from_openssh(&key.0).map_err(|_| Unsigned::NoKey)?;
    match sshsig::verify(&key, namespace, &digest.0, signature).map_err(Unsigned::Signature)? {
        SignatureKind::SecurityKey { user_present: false, .. } => return Err(Unsigned::NotTouched.into()),
        SignatureKind::Passkey { .. } | SignatureKind::SecurityKey { .. } | SignatureKind::Plain => {}
    }
    if fold.had(journal) { Ok(()) } else { Err(Refusal::OtherJournal.into()) }
}
