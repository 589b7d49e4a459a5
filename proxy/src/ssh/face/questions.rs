//! Asking for access by keyboard-interactive (RFC 4256), before a session begins: so `scp`, WinSCP and `ssh` show it
//! alike. Three or four questions in one round, then rounds without a question that keep the line alive until the yes.

use std::borrow::Cow;
use std::time::Duration;

use policies::actions::Actions;
use policies::ids::RequestId;
use policies::plant::WorkOrder;
use policies::time::Seconds;
use russh::server::Auth;

use super::asking::{Applicant, Offer, Outcome, Standing, Wish};
use super::names::Place;

/// How often somebody who waits is told so: networks drop connections that are silent for some minutes, and people
/// believe those that are silent for some seconds to be broken.
const STILL_WAITING: Duration = Duration::from_secs(10);

/// One round of questions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Round {
    pub(super) instructions: String,
    /// Each with whether what is typed may be seen.
    pub(super) prompts: Vec<(String, bool)>,
}

impl From<Round> for Auth {
    fn from(round: Round) -> Self {
        let prompts: Vec<_> = round.prompts.into_iter().map(|(text, echo)| (Cow::Owned(text), echo)).collect();
        Self::Partial { name: "".into(), instructions: round.instructions.into(), prompts: prompts.into() }
    }
}

/// What follows from an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Another round.
    Ask(Round),
    /// A grant is open.
    Connect,
    /// It ends here, in words.
    Refuse(String),
}

/// Somebody who wants to reach a target and has no grant yet.
pub(super) struct Interview {
    applicant: Applicant,
    place: Place,
    stage: Stage,
}

enum Stage {
    Asking(Offer),
    Waiting(RequestId),
}

impl Interview {
    /// Looks how things stand: what is asked first, or that nothing needs to be.
    pub(super) fn begin(applicant: Applicant, place: Place) -> (Option<Self>, Next) {
        let (stage, next) = match applicant.standing(&place) {
            Standing::Open(_) => return (None, Next::Connect),
            Standing::Later(from) => {
                let from = applicant.shown(from);
                return (None, Next::Refuse(format!("The grant for {} begins {from}.", place.target)));
            }
            Standing::Pending(request) => (Stage::Waiting(request), Next::Ask(begin_waiting(&applicant, request))),
            Standing::Nothing => match applicant.offer(&place) {
                Err(refusal) => return (None, Next::Refuse(format!("{refusal}."))),
                Ok(offer) => {
                    let begin = format!("No grant for {} yet. Answer, and the plant is asked.", place.target);
                    let round = questions(&offer, begin);
                    (Stage::Asking(offer), Next::Ask(round))
                }
            },
        };
        (Some(Self { applicant, place, stage }), next)
    }

    /// Whether questions are open; else somebody waits for a yes.
    pub(super) const fn is_asking(&self) -> bool {
        matches!(self.stage, Stage::Asking(_))
    }

    /// Takes the answers to the last round.
    pub(super) async fn answer(&mut self, answers: &[String]) -> Next {
        match &self.stage {
            Stage::Waiting(request) => self.wait(*request).await,
            Stage::Asking(offer) => {
                let wish = match wish(offer, answers) {
                    Ok(wish) => wish,
                    Err(complaint) => return Next::Ask(questions(offer, complaint)),
                };
                match self.applicant.submit(wish).await {
                    Err(not_done) => Next::Ask(questions(offer, format!("{not_done}."))),
                    Ok(request) => {
                        let round = begin_waiting(&self.applicant, request);
                        self.stage = Stage::Waiting(request);
                        Next::Ask(round)
                    }
                }
            }
        }
    }

    async fn wait(&self, request: RequestId) -> Next {
        match self.applicant.outcome(request, STILL_WAITING).await {
            Some(Outcome::Refused(words)) => Next::Refuse(words),
            None => Next::Ask(Round { instructions: self.applicant.waiting(request), prompts: Vec::new() }),
            Some(Outcome::Granted) => match self.applicant.standing(&self.place) {
                Standing::Later(from) => {
                    let from = self.applicant.shown(from);
                    Next::Refuse(format!("The grant for {} begins {from}. Connect again then.", self.place.target))
                }
                _ => Next::Connect,
            },
        }
    }
}

fn begin_waiting(applicant: &Applicant, request: RequestId) -> Round {
    let waiting = applicant.waiting(request);
    let instructions = format!(
        "{waiting}\nYou are connected as soon as the yes comes. If you stop waiting, the request stands, and your next \
         connection picks it up."
    );
    Round { instructions, prompts: Vec::new() }
}

fn questions(offer: &Offer, instructions: String) -> Round {
    let mut prompts = vec![("Reason: ".to_owned(), true)];
    if wants_work_order(offer) {
        prompts.push(("Work order: ".to_owned(), true));
    }
    if offer.actions.len() > 1 {
        let (all, usual) = (listed(&offer.actions), listed(&offer.usual_actions()));
        prompts.push((format!("What for, of {all} [{usual}]: "), true));
    }
    prompts.push((format!("How long, at most {} [{}]: ", offer.most, offer.usual_duration()), true));
    Round { instructions, prompts }
}

/// Reads the answers in the order of [`questions`]; an empty one takes what was offered.
fn wish(offer: &Offer, answers: &[String]) -> Result<Wish, String> {
    let mut answers = answers.iter().map(|answer| answer.trim());
    let mut next = || answers.next().unwrap_or_default();
    let reason = next().to_owned();
    if reason.is_empty() {
        return Err("Say why: a reason is needed.".to_owned());
    }
    let work_order = wants_work_order(offer).then(|| next().to_owned()).filter(|text| !text.is_empty());
    let actions = match if offer.actions.len() > 1 { next() } else { "" } {
        "" => offer.usual_actions(),
        words => parse_actions(words).map_err(|complaint| format!("{complaint}."))?,
    };
    let duration = match next() {
        "" => offer.usual_duration(),
        text => text.parse::<Seconds>().map_err(|bad| format!("{bad}."))?,
    };
    let place = offer.place.clone();
    Ok(Wish { place, actions, duration, from: None, reason, work_order, emergency: false })
}

fn wants_work_order(offer: &Offer) -> bool {
    !matches!(offer.work_order, WorkOrder::Optional)
}

/// Reads actions with commas or blanks between.
pub(super) fn parse_actions(words: &str) -> Result<Actions, policies::actions::NoSuchAction> {
    words.split([',', ' ']).filter(|word| !word.is_empty()).map(str::parse).collect()
}

/// Actions with commas between.
pub(super) fn listed(actions: &Actions) -> String {
    actions.iter().map(|action| action.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use approver::testing::Stage as People;
    use policies::actions::Action;

    use super::*;
    use crate::session::Who;

    async fn applicant() -> (People, Applicant) {
        let stage = People::new().await;
        let proof = Arc::new(stage.login(&stage.technician).await);
        let who = Who { login: "tara".into(), proof, key: None };
        let applicant = Applicant::new(stage.desk.clone(), stage.people.clone(), who);
        (stage, applicant)
    }

    fn place(target: &str) -> Place {
        Place { target: target.parse().unwrap(), service: None }
    }

    fn answers(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn waits(next: &Next) -> bool {
        matches!(next, Next::Ask(round) if round.prompts.is_empty() && round.instructions.contains("waits for 1 of shift-lead"))
    }

    #[tokio::test]
    async fn who_has_a_grant_is_asked_nothing() {
        let (stage, applicant) = applicant().await;
        stage.grant("hmi-2", &[Action::Shell]).await;
        assert_eq!(Interview::begin(applicant, place("hmi-2")).1, Next::Connect);
    }

    #[tokio::test]
    async fn who_has_none_is_asked_and_waits_and_is_connected_when_the_yes_comes() {
        let (stage, applicant) = applicant().await;
        let (interview, next) = Interview::begin(applicant.clone(), place("hmi-2"));
        let Next::Ask(round) = next else { panic!("{next:?}") };
        let prompts: Vec<_> = round.prompts.iter().map(|(text, _)| text.as_str()).collect();
        let what = "What for, of shell, file-get, file-put [shell]: ";
        assert_eq!(prompts, ["Reason: ", what, "How long, at most 4h [1h]: "]);
        let mut interview = interview.unwrap();
        assert!(waits(&interview.answer(&answers(&["the pump trips", "", ""])).await));
        let Standing::Pending(request) = applicant.standing(&place("hmi-2")) else { panic!("it stands") };
        let approve = async {
            let verdict = stage.approval(&stage.lead, request);
            stage.desk.act(policies::decide::Command::Vote { verdict }).await.unwrap();
        };
        let (next, ()) = tokio::join!(interview.answer(&[]), approve);
        assert_eq!(next, Next::Connect);
    }

    #[tokio::test]
    async fn who_gives_up_leaves_the_request_standing_and_the_next_connection_picks_it_up() {
        let (stage, applicant) = applicant().await;
        stage.ask("hmi-2", &[Action::Shell]).await.unwrap();
        let (interview, next) = Interview::begin(applicant, place("hmi-2"));
        assert!(waits(&next) && interview.is_some_and(|interview| !interview.is_asking()));
    }

    #[tokio::test]
    async fn who_waits_hears_every_ten_seconds_that_it_goes_on() {
        let (stage, applicant) = applicant().await;
        stage.ask("hmi-2", &[Action::Shell]).await.unwrap();
        let mut interview = Interview::begin(applicant, place("hmi-2")).0.unwrap();
        let pass = async { stage.pass(STILL_WAITING) };
        let (next, ()) = tokio::join!(interview.answer(&[]), pass);
        assert!(waits(&next));
    }

    #[tokio::test]
    async fn a_bad_answer_is_asked_for_again_with_what_is_wrong() {
        let (_stage, applicant) = applicant().await;
        let mut interview = Interview::begin(applicant, place("hmi-2")).0.unwrap();
        for (given, complaint) in [
            (["", "", ""], "Say why"),
            (["why", "dance", ""], "\"dance\" is no action"),
            (["why", "", "for ever"], "is no duration"),
            (["why", "", "9h"], "9h is longer than rule acme-packaging gives: at most 4h"),
        ] {
            let next = interview.answer(&answers(&given)).await;
            let Next::Ask(round) = next else { panic!("{next:?}") };
            assert!(round.instructions.contains(complaint), "{}", round.instructions);
            assert!(!round.prompts.is_empty());
        }
    }

    #[tokio::test]
    async fn where_nothing_may_be_asked_for_the_refusal_says_why() {
        let (_stage, applicant) = applicant().await;
        for (target, why) in [("safety-plc", "nobody reaches from outside"), ("nowhere", "there is no target nowhere")]
        {
            let (interview, next) = Interview::begin(applicant.clone(), place(target));
            assert!(interview.is_none());
            assert!(matches!(&next, Next::Refuse(words) if words.contains(why)), "{next:?}");
        }
    }
}
