//! Whether a gate was set back: before it writes anything, its logs are compared with what witnesses remember of them, and
//! the recordings with what the journal says of them. What it published itself, each log compares when it is opened.

use std::fmt;
use std::path::Path;

use approver::witnesses::{Said, Witnesses};
use certs::log_key::{LogKey, Verifier};
use policies::events::Event;
use policies::ids::NodeId;
use recordings::fault::OpenFault;
use recordings::restoring::Resting;
use recordings::segment::SegmentsFault;
use recordings::tlog::checkpoint::{Checkpoint, SignedCheckpoint};

use super::Reason;
use super::stores::{self, Identity, StoreFault, is_in_use};
use crate::trusting;

/// Somebody remembers more of a log than there is, or another log of that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetBack {
    /// The log's name.
    pub(crate) log: String,
    /// Its entries.
    pub(crate) here: u64,
    /// As many are remembered, where that is known.
    pub(crate) remembered: Option<u64>,
    /// Whether they are others than those that are here.
    pub(crate) parted: bool,
    /// Who remembers.
    pub(crate) by: String,
}

impl fmt::Display for SetBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { log, here, remembered, parted, by } = self;
        let entries = |count: u64| if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") };
        let remembers = remembered.map_or_else(
            || "other entries".to_owned(),
            |size| {
                if *parted { format!("{size} others") } else { entries(size) }
            },
        );
        write!(
            f,
            "{log} has {} here, and {by} remembers {remembers}: an older copy was put back, or this gate ran twice. Put the \
             newest copy back. Where there is none, an administrator and an operator go on from this one together: \
             `holdpoint restore`. Nothing was changed",
            entries(*here)
        )?;
        // A folder that never had one is the wrong folder rather than an old one.
        if *here == 0 {
            f.write_str(
                ". Where this is one node of several, and its folder is lost, it takes a name that no node had (`node` under \
                 [store]) and an empty data folder",
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for SetBack {}

/// Compares the logs at rest with what others remember. Where another program has them, or they cannot be read, opening
/// them tells that.
///
/// # Errors
/// Whoever remembers more, or something else; or it cannot be compared.
pub(crate) async fn check(
    data: &Path,
    identity: &Identity,
    key: &LogKey,
    witnesses: &Witnesses,
) -> Result<(), Vec<Reason>> {
    if is_in_use(data).unwrap_or(true) {
        return Ok(());
    }
    let (asked, rest) = (data.to_owned(), (identity.clone(), key.clone()));
    let found = tokio::task::spawn_blocking(move || vouched(&asked, &rest.0, &rest.1)).await;
    let found = found.map_err(|panic| vec![Reason::Died(panic.to_string())])?;
    let fault = |fault| vec![Reason::Store(StoreFault::Log { what: "recordings", fault })];
    let Some((heads, told)) = found.map_err(fault)? else { return Ok(()) };
    let set_back = told.into_iter().chain(remembered_by(witnesses, &heads).await);
    let reasons: Vec<Reason> = set_back.map(Reason::from).collect();
    if reasons.is_empty() { Ok(()) } else { Err(reasons) }
}

/// What witnesses remember more, or else, of logs with these heads.
pub(crate) async fn remembered_by(witnesses: &Witnesses, heads: &[SignedCheckpoint]) -> Vec<SetBack> {
    let soundings = witnesses.sound(heads).await;
    let told = soundings.into_iter().filter_map(|sounding| {
        let head = heads.iter().map(SignedCheckpoint::checkpoint).find(|head| head.origin == sounding.log)?;
        let (log, here) = (head.origin.clone(), head.size);
        let by = format!("the witness {}", sounding.witness);
        match sounding.said {
            Said::HasMore(size) => Some(SetBack { log, here, remembered: Some(size), parted: false, by }),
            Said::HasOther(size) => Some(SetBack { log, here, remembered: size, parted: true, by }),
            Said::Agrees => None,
            Said::Nothing(why) => {
                tracing::warn!(
                    witness = sounding.witness,
                    log,
                    why,
                    "a witness could not be asked whether this is all"
                );
                None
            }
        }
    });
    told.collect()
}

/// The logs' heads, and what lies here itself against them. None where opening them tells why.
type Vouched = Option<(Vec<SignedCheckpoint>, Vec<SetBack>)>;

fn vouched(data: &Path, identity: &Identity, key: &LogKey) -> Result<Vouched, OpenFault> {
    let Ok([journal, records]) = stores::at_rest(data, identity, key) else { return Ok(None) };
    let heads = [&journal, &records].into_iter().filter_map(|log| log.sign(key).ok()).collect();
    let verifiers = trusting::verifiers(identity, key);
    let mut told = Vec::new();
    for (log, verifier) in [&journal, &records].into_iter().zip(&verifiers) {
        told.extend(contradicted_beside(log, verifier)?);
    }
    if let Some(verifier) = verifiers.get(1) {
        told.extend(contradicted(&journal, &identity.node, verifier, &records)?);
    }
    told.extend(contradicted_by_records(&journal, &records)?);
    Ok(Some((heads, told)))
}

/// What was cosigned of it, or published, and lies beside it, if it does not have that. Whatever goes less far follows.
fn contradicted_beside(log: &Resting, verifier: &Verifier) -> Result<Option<SetBack>, OpenFault> {
    let Some(head) = log.furthest_signed(verifier) else { return Ok(None) };
    compared(log, verifier.name(), &head, "what was published of it")
}

/// Whether the log has this head, and if not, what is to be told.
fn compared(log: &Resting, name: &str, head: &Checkpoint, by: &str) -> Result<Option<SetBack>, OpenFault> {
    let told = |parted| SetBack {
        log: name.to_owned(),
        here: log.head().size,
        remembered: Some(head.size),
        parted,
        by: by.to_owned(),
    };
    Ok(match log.had(head)? {
        Some(true) => None,
        Some(false) => Some(told(true)),
        None => Some(told(false)),
    })
}

/// Whether recordings since their last restore tell of a longer journal.
///
/// # Errors
/// They do not say.
pub(crate) fn contradicted_by_records(journal: &Resting, records: &Resting) -> Result<Option<SetBack>, OpenFault> {
    let (here, told) = (journal.head().size, records.tells_of_journal()?);
    Ok((told > here).then(|| SetBack {
        log: journal.format().origin.clone(),
        here,
        remembered: Some(told),
        parted: false,
        by: "the recordings' log".to_owned(),
    }))
}

/// The newest head of the recordings in the journal, if their log does not have it.
///
/// # Errors
/// The recordings' log does not say. Why a journal cannot be read, opening it tells.
pub(crate) fn contradicted(
    journal: &Resting,
    node: &NodeId,
    verifier: &Verifier,
    records: &Resting,
) -> Result<Option<SetBack>, OpenFault> {
    let Ok(Some((index, head))) = newest_head(journal, node, verifier) else { return Ok(None) };
    compared(records, verifier.name(), &head, &format!("entry {index} of the journal"))
}

/// Where the gate runs, each start and each minute says one, so little is read.
fn newest_head(
    journal: &Resting,
    node: &NodeId,
    verifier: &Verifier,
) -> Result<Option<(u64, Checkpoint)>, SegmentsFault> {
    journal.find_newest(|entry| match Event::decode(&entry.bytes).ok()? {
        Event::Checkpointed { node: of, checkpoint } if of == *node => {
            let signed = SignedCheckpoint::open(checkpoint.as_bytes(), std::slice::from_ref(verifier)).ok()?;
            Some((entry.index, signed.checkpoint().clone()))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_one_entry_may_be_that_of_a_node_that_lost_its_own() {
        for (here, is_told) in [(0, true), (1, false)] {
            let (log, by) = ("mill-3/records/gate-2".to_owned(), "entry 43 of the journal".to_owned());
            let told = SetBack { log, here, remembered: Some(6), parted: false, by }.to_string();
            assert!(told.contains("`holdpoint restore`"), "{told}");
            assert_eq!(told.contains("a name that no node had"), is_told, "{told}");
        }
    }
}
