//! An index by clause: for each clause of two standards that one session can say something about, which items speak to
//! it and whether they do. It claims no compliance: a clause asks for more than one session shows, and what it asks
//! stands in the standard, here only in our words. Nothing counts as observed that was encrypted inside, not opened or
//! not recorded.

use std::collections::BTreeSet;

use policies::events::{Ending, Event, Factor};
use policies::plant::Protocol;
use policies::state::{LookBack, RequestStanding};
use serde::{Deserialize, Serialize};

use super::sheet::{Sheet, ending_of, is_signed};

/// What a session shows about a clause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clause {
    /// Which standard.
    pub standard: String,
    /// Which clause.
    pub clause: String,
    /// What it is about, in our words.
    pub about: String,
    /// The items that speak to it.
    pub items: Vec<u8>,
    /// Whether they do.
    pub seen: Seen,
    /// What was seen, or why nothing was.
    pub words: String,
}

/// Whether something was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// In what was recorded and checked.
    Observed,
    /// Not in this pack.
    NotObserved,
    /// Nobody can say.
    EncryptedInside,
}

impl Seen {
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Observed => "observed",
            Self::NotObserved => "not observed",
            Self::EncryptedInside => "encrypted inside: nobody can read what was done",
        }
    }
}

type Look = fn(&Sheet<'_>) -> Sight;

/// What was looked for, and whether it was there.
enum Sight {
    Yes(&'static str),
    No(&'static str),
    Opaque,
}

const IEC: &str = "IEC 62443-3-3:2013";
const CIP5: &str = "NERC CIP-005-7";
const CIP3: &str = "NERC CIP-003-9";

/// Standard, clause, what it is about, items, and what to look for.
const CLAUSES: &[(&str, &str, &str, &[u8], Look)] = &[
    (IEC, "SR 1.1", "every person is identified and proves it with more than one factor", &[2, 8], several_factors),
    (IEC, "SR 1.2", "devices are identified: the target shows the key that is pinned", &[9], host_key),
    (IEC, "SR 1.3, 1.4", "accounts and identifiers are managed and end", &[2], contract),
    (IEC, "SR 1.5", "secrets are managed and not shown", &[9], injected),
    (IEC, "SR 1.7-1.9", "passwords and certificates are strong and checked", &[8], |_| {
        Sight::No("one session does not show how passwords and certificates are ruled")
    }),
    (IEC, "SR 1.11", "wrong attempts are limited", &[8], refused_or_locked),
    (IEC, "SR 1.12", "a notice is shown before use", &[7], banner),
    (IEC, "SR 1.13", "access from untrusted networks is watched and controlled", &[3, 11], |_| {
        Sight::No("that there is one way in is shown by a scan from outside, not by a session")
    }),
    (IEC, "SR 1.13 RE 1", "access is approved by an assigned role", &[6], approved),
    (IEC, "SR 2.1", "only what is allowed, to the least needed", &[5], least),
    (IEC, "SR 2.1 RE 3", "a supervisor's override", &[5, 17], emergency),
    (IEC, "SR 2.1 RE 4", "two people approve", &[6], two_people),
    (IEC, "SR 2.5", "an idle session locks", &[15], |_| {
        Sight::No("this version ends an idle session and does not lock it")
    }),
    (IEC, "SR 2.6", "a remote session ends when idle or by hand", &[15], ended),
    (IEC, "SR 2.7", "sessions at once are limited", &[5], |_| Sight::No("one session does not show the limit")),
    (IEC, "SR 2.8", "events are recorded", &[5, 6, 12, 13, 15], operations),
    (IEC, "SR 2.9, 2.10", "room for records, and what happens when recording fails", &[14], recorder_failed),
    (IEC, "SR 2.11", "records carry times from a source that is right", &[18], |_| {
        Sight::No("times are the gate's word; whether its clock was synchronised is not recorded")
    }),
    (IEC, "SR 2.12", "nobody can deny what they did", &[6, 14], non_repudiation),
    (IEC, "SR 3.1", "what passes is not changed on the way", &[10], unchanged),
    (IEC, "SR 3.2", "malicious code is looked for", &[13], looked_at),
    (IEC, "SR 3.4", "software and configuration are what they should be", &[18], plant_file),
    (IEC, "SR 3.8", "sessions are authentic and end for good", &[1, 15], |_| {
        Sight::No("that a session's tokens are dead is shown by a test, not by a session")
    }),
    (IEC, "SR 3.9", "records are protected", &[14], whole),
    (IEC, "SR 4.1, 4.3", "records are confidential", &[10, 14], encrypted),
    (IEC, "SR 5.1, 5.2", "zones are apart, and the boundary fails closed", &[1], |_| {
        Sight::No("a drill shows this, not a session")
    }),
    (IEC, "SR 6.1", "records are there for those who may read them, and reading is recorded", &[19], read),
    (IEC, "SR 6.2", "somebody watches", &[11], watched),
    (IEC, "SR 7.1-7.7", "load, backup, settings, least function", &[], |_| Sight::No("one session does not show this")),
    (CIP5, "R2.1", "the technician's machine never reaches the asset itself", &[3, 10], in_the_clear),
    (CIP5, "R2.2", "encryption ends at the intermediate system", &[10], in_the_clear),
    (CIP5, "R2.3", "more than one factor", &[8], several_factors),
    (CIP5, "R2.4", "active vendor sessions can be found", &[1, 2, 15], found),
    (CIP5, "R2.5", "active vendor access can be disabled", &[15], disabled),
    (
        CIP5,
        "R3.1, R3.2",
        "vendor connections to access control systems are found and ended, and connecting again is controlled",
        &[15],
        blocked,
    ),
    (CIP3, "att. 1, 6.1", "vendor access is found", &[1, 2, 15], found),
    (CIP3, "att. 1, 6.2", "vendor access can be disabled", &[15], disabled),
    (CIP3, "att. 1, 6.3", "malicious communication is detected, both ways", &[12], |sheet| {
        if sheet.is_opaque() {
            Sight::Opaque
        } else {
            Sight::No("nothing looks for malicious communication in this version")
        }
    }),
];

/// The index of a session.
pub(super) fn index(sheet: &Sheet<'_>) -> Vec<Clause> {
    let clause = |(standard, clause, about, items, look): &(&str, &str, &str, &[u8], Look)| {
        let (seen, words) = match look(sheet) {
            Sight::Yes(words) => (Seen::Observed, words),
            Sight::No(words) => (Seen::NotObserved, words),
            Sight::Opaque => {
                (Seen::EncryptedInside, "what passed was encrypted inside, or of a form nobody looks into")
            }
        };
        Clause {
            standard: (*standard).to_owned(),
            clause: (*clause).to_owned(),
            about: (*about).to_owned(),
            items: items.to_vec(),
            seen,
            words: words.to_owned(),
        }
    };
    CLAUSES.iter().map(clause).collect()
}

fn several_factors(sheet: &Sheet<'_>) -> Sight {
    let knows = |factor: &Factor| matches!(factor, Factor::Totp | Factor::Recovery | Factor::Password);
    let proofs = sheet.proofs();
    if proofs.contains(&Factor::Key) && proofs.iter().any(knows) {
        return Sight::Yes("a key, and a second factor beside it");
    }
    if proofs.contains(&Factor::Oidc) && proofs.iter().any(knows) {
        return Sight::Yes("the word of an identity provider, and a second factor at the gate");
    }
    if proofs.contains(&Factor::Passkey) {
        return Sight::Yes(
            "a passkey, which is two in one: the device that holds it, and its holder's PIN or finger there",
        );
    }
    if proofs.contains(&Factor::Certificate) {
        return Sight::Yes("a certificate that the gate gives for a key and a code, for at most an hour");
    }
    Sight::No("the session stood on a login shortly before, whose factors its own record does not repeat")
}

fn host_key(sheet: &Sheet<'_>) -> Sight {
    if ending_of_sheet(sheet) == Some(&Ending::HostKeyChanged) {
        return Sight::Yes("the target showed another key than the pinned one, and the session ended");
    }
    match sheet.service() {
        Some(service) if service.host_key.is_some() && reached(sheet) => {
            Sight::Yes("a key is pinned, and the connection came about, which it does with that key alone")
        }
        _ => Sight::No("no key is pinned, or the target was not reached"),
    }
}

fn ending_of_sheet<'a>(sheet: &Sheet<'a>) -> Option<&'a Ending> {
    sheet.visit.and_then(ending_of)
}

/// Whether something came back from the target.
fn reached(sheet: &Sheet<'_>) -> bool {
    let sealed = sheet.recording.and_then(|recording| recording.sealed.as_ref());
    let accounts = sealed.and_then(|sealed| sealed.accounts.as_ref());
    accounts.is_some_and(|accounts| {
        accounts
            .iter()
            .any(|account| account.account.direction == crate::leaf::Direction::Out && account.account.received > 0)
    })
}

fn contract(sheet: &Sheet<'_>) -> Sight {
    match sheet.asking.contract {
        Some(_) => Sight::Yes("the vendor's contract has an end, and somebody at the plant answers for it"),
        None => Sight::No("no contract stood when this was asked"),
    }
}

fn injected(sheet: &Sheet<'_>) -> Sight {
    match sheet.service().map(|service| service.credential.is_some()) {
        Some(true) => Sight::Yes(
            "the plant file names what the gate opens the account with; the technician brings no secret for it",
        ),
        _ => Sight::No("the plant file of that time names no credential"),
    }
}

fn refused_or_locked(sheet: &Sheet<'_>) -> Sight {
    let locked = sheet.asking.refusals.iter().any(|(_, event)| matches!(event, Event::Locked { .. }));
    if locked {
        Sight::Yes("the technician was locked out after wrong codes")
    } else {
        Sight::No("nobody was locked out meanwhile")
    }
}

fn banner(sheet: &Sheet<'_>) -> Sight {
    match &sheet.plant {
        Some(plant) if sheet.has_banner(plant) => {
            Sight::Yes("the recording's opening names the digest of the plant file's banner, which is shown first")
        }
        _ => Sight::No("no banner, or not the one that the recording names"),
    }
}

fn approvers(sheet: &Sheet<'_>) -> usize {
    let yes = sheet.asking.approvals().filter(|vote| is_signed(vote));
    yes.map(|vote| vote.statement.operator).collect::<BTreeSet<_>>().len()
}

fn approved(sheet: &Sheet<'_>) -> Sight {
    if sheet.asking.approvals().any(|vote| vote.weaker().is_some()) {
        return Sight::No("an approval behind it is weaker than a signature: the gate's word alone");
    }
    if sheet.case.granted.is_some() && approvers(sheet) > 0 {
        Sight::Yes("operators whose groups the rule asks for signed this very request")
    } else {
        Sight::No("no signed approval stands behind it")
    }
}

fn least(sheet: &Sheet<'_>) -> Sight {
    match sheet.case.granted {
        Some(_) => Sight::Yes("what was asked, under which rule, and what was granted of it, is recorded"),
        None => Sight::No("nothing was granted"),
    }
}

fn emergency(sheet: &Sheet<'_>) -> Sight {
    match (sheet.case.request.emergency, sheet.case.reviewed()) {
        (true, Some(LookBack { objection: None, .. })) => Sight::Yes("an emergency grant, reviewed afterwards"),
        (true, Some(_)) => Sight::Yes("an emergency grant, reviewed afterwards: whoever did so objected to it"),
        (true, None) => Sight::No("an emergency grant, and nobody reviewed it yet"),
        _ => Sight::No("it was no emergency"),
    }
}

fn two_people(sheet: &Sheet<'_>) -> Sight {
    if approvers(sheet) > 1 {
        Sight::Yes("more than one operator signed")
    } else {
        Sight::No("fewer than two operators signed")
    }
}

fn ended(sheet: &Sheet<'_>) -> Sight {
    match ending_of_sheet(sheet) {
        Some(Ending::Idle | Ending::Cut { .. } | Ending::Revoked) => Sight::Yes("it was ended so"),
        Some(_) => Sight::No("it ended otherwise"),
        None => Sight::No("it has no end here"),
    }
}

/// What was done can be told only of what was opened, and of what has no inside of its own.
fn looked_at(sheet: &Sheet<'_>) -> Sight {
    match (&sheet.case.rule.file_check, sheet.inside) {
        (None, _) => Sight::No("the rule has no file_check, so nothing looked into files"),
        (Some(_), Some(_)) => Sight::Yes(
            "the rule has a file_check: uploads were looked at before the machine had them, and each verdict is in the recording",
        ),
        (Some(_), None) => Sight::No("the rule has a file_check; the recording was not opened, so no verdict was seen"),
    }
}

fn operations(sheet: &Sheet<'_>) -> Sight {
    match sheet.inside {
        _ if sheet.is_opaque() => Sight::Opaque,
        Some(inside) if inside.fault.is_none() && sheet.protocol().is_some_and(Protocol::is_forwarded) => {
            Sight::Yes("decisions, operations and the end stand in the journal and the recording, which was opened")
        }
        Some(inside) if inside.fault.is_none() => Sight::Yes(
            "decisions, commands, files and the end stand in the journal and the recording, which was opened",
        ),
        Some(_) => Sight::No("the recording could not be read to its end"),
        None => Sight::No(
            "decisions stand in the journal; the recording was not opened, so what was done was not looked at",
        ),
    }
}

fn recorder_failed(sheet: &Sheet<'_>) -> Sight {
    match ending_of_sheet(sheet) {
        Some(Ending::RecorderFailed) => Sight::Yes("the recording stopped, and the session with it"),
        _ => Sight::No("recording did not fail"),
    }
}

fn is_whole(sheet: &Sheet<'_>) -> bool {
    sheet.verdict == Some("ok")
}

fn non_repudiation(sheet: &Sheet<'_>) -> Sight {
    if approvers(sheet) > 0 && is_whole(sheet) {
        Sight::Yes("approvals are signed by keys the gate never has; the recording is sealed and in its place")
    } else {
        Sight::No("there is no signed approval, or the recording is not whole")
    }
}

fn unchanged(sheet: &Sheet<'_>) -> Sight {
    match sheet.protocol() {
        Some(Protocol::Telnet) => Sight::No("from the gate to the target nothing protects what telnet carries"),
        _ => in_the_clear(sheet),
    }
}

fn in_the_clear(sheet: &Sheet<'_>) -> Sight {
    match sheet.protocol() {
        _ if sheet.is_opaque() => Sight::Opaque,
        Some(Protocol::Ssh) if sheet.recording.is_some() => {
            Sight::Yes("the gate ended the technician's SSH connection and opened another one to the target")
        }
        Some(Protocol::Telnet) if sheet.recording.is_some() => Sight::Yes(
            "the gate ended the technician's SSH connection and opened a telnet connection of its own to the target",
        ),
        Some(protocol) if protocol.is_forwarded() && sheet.recording.is_some() => Sight::Yes(
            "the gate ended the technician's SSH or TLS connection, and opened one of its own to the target for the protocol",
        ),
        _ => Sight::No("not recorded"),
    }
}

fn plant_file(sheet: &Sheet<'_>) -> Sight {
    match (&sheet.opening, &sheet.plant) {
        (Some(_), Some(_)) => Sight::Yes(
            "the recording names the digest of the plant file in force, which is in this pack, and the program's version",
        ),
        _ => Sight::No("no recording names the plant file in force"),
    }
}

fn whole(sheet: &Sheet<'_>) -> Sight {
    if is_whole(sheet) {
        Sight::Yes("journal and recording are chained and signed, and were found whole")
    } else {
        Sight::No("the recording was not found whole")
    }
}

fn encrypted(sheet: &Sheet<'_>) -> Sight {
    match sheet.recording {
        Some(_) => Sight::Yes("the recording is ciphertext, and its key is wrapped to the auditors alone"),
        None => Sight::No("there is no recording"),
    }
}

fn read(sheet: &Sheet<'_>) -> Sight {
    let is_read = |(_, event): &(_, Event)| {
        matches!(event, Event::Fetched { .. } | Event::Packed { .. } | Event::Rehearsed { .. })
    };
    match sheet.visit {
        Some(visit) if visit.turns.iter().any(is_read) || !sheet.story.packs.is_empty() => {
            Sight::Yes("reading it stands in the journal")
        }
        _ => Sight::No("the journal names no reading of it"),
    }
}

fn watched(sheet: &Sheet<'_>) -> Sight {
    let is_watch = |(_, event): &(_, Event)| matches!(event, Event::Watched { .. });
    match sheet.visit {
        Some(visit) if visit.turns.iter().any(is_watch) => Sight::Yes("an operator watched"),
        _ => Sight::No("nobody watched"),
    }
}

fn found(sheet: &Sheet<'_>) -> Sight {
    match sheet.visit {
        Some(_) => Sight::Yes("vendor, technician, beginning and end of the session stand in the journal"),
        None => Sight::No("there was no session"),
    }
}

fn disabled(sheet: &Sheet<'_>) -> Sight {
    match ending_of_sheet(sheet) {
        Some(Ending::Cut { .. } | Ending::Revoked) => Sight::Yes("an operator ended it"),
        _ if sheet.case.standing == RequestStanding::Revoked => Sight::Yes("an operator took the grant back"),
        _ => Sight::No("nobody had to end it"),
    }
}

fn blocked(sheet: &Sheet<'_>) -> Sight {
    match sheet.visit.map(|visit| (visit.cut.is_some(), visit.reopened.is_some())) {
        Some((true, true)) => Sight::Yes("it was cut, and connecting again was let in by a signed reopening"),
        Some((true, false)) => Sight::Yes("it was cut, and nothing reopened it"),
        _ => Sight::No("it was not cut"),
    }
}
