//! One operation on a target, as a protocol gate read it from what passed: the structured half of a gate's verdict, beside
//! its line for a person. Its raw bytes are in the recording too, and remain the evidence.

use policies::actions::Action;
use policies::ids::RuleId;
use policies::plant::Protocol;
use serde::{Deserialize, Serialize};

use crate::words::Words;

/// What a technician's message asks of the target, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// In which protocol.
    pub protocol: Protocol,
    /// The action it counts as; none where the gate does not know the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Action>,
    /// The protocol's own number or name for it, such as `6`, `8/1` or `28 P_PROGRAM`.
    pub code: Words,
    /// What it is about, such as `holding register 40101 (address 100), unit 1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<Words>,
    /// What is written, decoded, such as `55`; of several values the first ones, then how many more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Words>,
    /// Under which rule it passed or was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleId>,
    /// Why it was refused, in words; none where it passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Words>,
    /// How many alike this stands for: repeats of the same refusal are told once with their count.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub times: u64,
}

const fn one() -> u64 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_one(times: &u64) -> bool {
    *times == 1
}
