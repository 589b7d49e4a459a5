//! `holdpoint certify`: a signature that somebody's keys, kind and groups shall count. What is signed is what is shown.

use approver::api::types::{CertificateGiven, CertifyTemplate, Done as Happened, PersonView};
use approver::people::key_in_words;
use certs::sshsig::Namespace;
use policies::requests::CertifyStatement;

use super::gate::{ProfileArg, at_gate, confirm, person};
use super::showing::{labelled, plain};
use super::{Done, print_json};
use crate::client::Fault;

/// Vouch for somebody's keys and groups. Compare the fingerprint with what they tell you, by another way than this one.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// By name or identifier.
    #[arg(value_name = "PERSON")]
    person: String,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// For machines.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, profile: &ProfileArg) -> Done {
    at_gate(profile, async |client| {
        let about = person(client, &args.person).await?;
        let path = format!("/api/v1/people/{}", about.person);
        let template: CertifyTemplate = client.get(&format!("{path}/statement")).await?;
        let statement = template.statement;
        if statement.person != about.person || statement.signer != client.person()? {
            return Err(Fault::Odd("its statement is about somebody else".into()).into());
        }
        if !args.json {
            show(&about, &statement);
        }
        confirm("Vouch for this?", args.yes)?;
        let digest = statement.digest();
        let signed = client.sign(Namespace::Certify, statement, digest).await?;
        let _: Happened = client.post(&format!("{path}/certificates"), &CertificateGiven(signed)).await?;
        let after: PersonView = client.get(&path).await?;
        if args.json {
            return print_json(&after);
        }
        tell(&after);
        Ok(())
    })
}

/// All that counts comes from the statement itself; only the name is the gate's word.
fn show(about: &PersonView, statement: &CertifyStatement) {
    labelled("person", &format!("{} ({})", plain(&about.name), statement.person));
    labelled("as", statement.kind.as_str());
    if let Some(vendor) = statement.kind.vendor() {
        labelled("of vendor", vendor.as_str());
    }
    let groups = statement.groups.iter().map(|group| group.as_str()).collect::<Vec<_>>().join(", ");
    labelled("groups", if groups.is_empty() { "none" } else { &groups });
    for key in &statement.keys {
        labelled("key", &key_in_words(&key.0));
    }
}

fn tell(after: &PersonView) {
    if after.standing == "active" {
        say!("{} counts now.", plain(&after.name));
        return;
    }
    let vouchers = after.vouchers.iter().map(|voucher| plain(&voucher.name)).collect::<Vec<_>>().join(", ");
    say!("Signed. So far: {vouchers}. It takes an administrator, and for each group a member of it.");
}
