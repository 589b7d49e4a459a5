//! Asking for access by keyboard-interactive (RFC 4256), before a session begins: so `scp`, WinSCP and `ssh` show it
//! alike. A round for each question, then rounds without one that keep the line alive until the yes.

use std::borrow::Cow;
use std::time::Duration;

use policies::actions::Actions;
use policies::ids::RequestId;
use russh::server::Auth;

use super::asking::{Applicant, Outcome, Standing};
use super::form::Form;
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
    Asking(Box<Form>),
    Waiting(RequestId),
    /// The yes was told, with what it took away.
    Granted,
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
            Standing::Nothing => match applicant.offer(&place).map(Form::new) {
                Err(refusal) => {
                    applicant.refused(&place, Actions::new(), false, &refusal);
                    return (None, Next::Refuse(format!("{refusal}.")));
                }
                Ok(form) => match form.check(&applicant) {
                    Err(refusal) => return (None, Next::Refuse(format!("{refusal}."))),
                    Ok(()) => {
                        let begin = format!("No grant for {} yet. Answer, and the plant is asked.", place.target);
                        let round = question(&form, begin);
                        (Stage::Asking(Box::new(form)), Next::Ask(round))
                    }
                },
            },
        };
        (Some(Self { applicant, place, stage }), next)
    }

    /// Whether questions are open; else somebody waits for a yes.
    pub(super) const fn is_asking(&self) -> bool {
        matches!(self.stage, Stage::Asking(_))
    }

    /// Takes the answer to the last round.
    pub(super) async fn answer(&mut self, answers: &[String]) -> Next {
        match &mut self.stage {
            Stage::Granted => Next::Connect,
            Stage::Waiting(request) => {
                let request = *request;
                self.wait(request).await
            }
            Stage::Asking(form) => {
                let answer = answers.first().map(String::as_str).unwrap_or_default();
                let complaint = form.take(&self.applicant, answer).err().unwrap_or_default();
                if form.prompt().is_some() {
                    return Next::Ask(question(form, complaint));
                }
                match self.applicant.submit(&form.wish()).await {
                    // Every answer was right when it was given, so another one mends nothing.
                    Err(not_done) => Next::Refuse(format!("{not_done}.")),
                    Ok(request) => {
                        let round = begin_waiting(&self.applicant, request);
                        self.stage = Stage::Waiting(request);
                        Next::Ask(round)
                    }
                }
            }
        }
    }

    async fn wait(&mut self, request: RequestId) -> Next {
        match self.applicant.outcome(request, STILL_WAITING).await {
            Some(Outcome::Refused(words)) => Next::Refuse(words),
            None => Next::Ask(Round { instructions: self.applicant.waiting(request), prompts: Vec::new() }),
            Some(Outcome::Granted) => match self.applicant.standing(&self.place) {
                Standing::Later(from) => {
                    let from = self.applicant.shown(from);
                    Next::Refuse(format!("The grant for {} begins {from}. Connect again then.", self.place.target))
                }
                _ => match self.applicant.taken_away(request) {
                    None => Next::Connect,
                    Some(taken) => {
                        self.stage = Stage::Granted;
                        Next::Ask(Round { instructions: format!("Yes, but {taken}."), prompts: Vec::new() })
                    }
                },
            },
        }
    }
}

/// The next question, after what was wrong with the last answer.
fn question(form: &Form, instructions: String) -> Round {
    let prompts = form.prompt().map(|prompt| (prompt, true));
    Round { instructions, prompts: prompts.into_iter().collect() }
}

fn begin_waiting(applicant: &Applicant, request: RequestId) -> Round {
    let waiting = applicant.waiting(request);
    let instructions = format!(
        "{waiting}\nYou are connected as soon as the yes comes. If you stop waiting, the request stands, and your next \
         connection picks it up."
    );
    Round { instructions, prompts: Vec::new() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use approver::testing::{PLANT, Props, Stage as People};
    use policies::actions::Action;
    use policies::events::Event;
    use policies::requests::Narrowing;

    use super::*;
    use crate::session::Who;

    const FILES_BY_WORK_ORDER: &str = r#"
[[rules]]
id = "files"
vendors = ["acme"]
roles = ["maintenance"]
zones = ["packaging"]
actions = ["file-get"]
duration_max = "30m"
approvals = [{ from = "shift-lead", count = 1 }]
work_order = "WO-[0-9]+"
"#;

    const TWO: &str = r#"approvals = [{ from = "shift-lead", count = 2 }]"#;

    async fn applicant() -> (People, Applicant) {
        let stage = People::new().await;
        let applicant = applicant_on(&stage).await;
        (stage, applicant)
    }

    async fn applicant_on(stage: &People) -> Applicant {
        let proof = Arc::new(stage.login(&stage.technician).await);
        let who = Who { login: "tara".into(), proof };
        Applicant::new(stage.desk.clone(), stage.people.clone(), who)
    }

    fn place(target: &str) -> Place {
        Place { target: target.parse().unwrap(), service: None }
    }

    fn answer(text: &str) -> [String; 1] {
        [text.to_owned()]
    }

    /// What a round says and asks.
    fn asked(next: &Next) -> (&str, Option<&str>) {
        let Next::Ask(round) = next else { panic!("{next:?}") };
        assert!(round.prompts.len() <= 1, "one answer is checked before the next question: {round:?}");
        (&round.instructions, round.prompts.first().map(|(prompt, _)| prompt.as_str()))
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
        let what = "What for, of shell, file-get, file-put [shell]: ";
        assert_eq!(asked(&next), ("No grant for hmi-2 yet. Answer, and the plant is asked.", Some("Reason: ")));
        let mut interview = interview.unwrap();
        assert_eq!(asked(&interview.answer(&answer("the pump trips")).await), ("", Some(what)));
        assert_eq!(asked(&interview.answer(&answer("")).await), ("", Some("How long, at most 4h [1h]: ")));
        assert!(waits(&interview.answer(&answer("")).await));
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
    async fn a_bad_answer_is_told_at_once_and_asked_for_again() {
        let (stage, applicant) = applicant().await;
        let mut interview = Interview::begin(applicant, place("hmi-2")).0.unwrap();
        let long = "x".repeat(10_000);
        for (given, complaint, next) in [
            ("", "Say why", "Reason"),
            (&long, "characters", "Reason"),
            ("why", "", "What for"),
            ("dance", "\"dance\" is no action", "What for"),
            ("tunnel", "tunnel", "What for"),
            ("shell", "", "How long"),
            ("for ever", "is no duration", "How long"),
            ("9h", "9h is longer than rule acme-packaging gives: at most 4h", "How long"),
            ("0s", "no time at all", "How long"),
        ] {
            let asked_next = interview.answer(&answer(given)).await;
            let (says, asks) = asked(&asked_next);
            assert!(says.contains(complaint) && says.is_empty() == complaint.is_empty(), "{given}: {says}");
            assert!(asks.unwrap().starts_with(next), "{given}: {asks:?}");
        }
        assert!(waits(&interview.answer(&answer("2h")).await));
        let entries = stage.desk.entries(0).await.unwrap();
        let refused = entries.iter().filter_map(|entry| match &entry.event {
            Event::Refused { reason, .. } => Some(reason.as_str()),
            _ => None,
        });
        assert_eq!(refused.collect::<Vec<_>>(), ["not-spoken"], "a duration that was mended was not refused");
    }

    #[tokio::test]
    async fn a_work_order_is_asked_for_where_the_rule_of_these_actions_wants_one_and_must_look_as_it_says() {
        let plant = PLANT.replace(r#""file-get", "file-put""#, r#""file-put""#) + FILES_BY_WORK_ORDER;
        let stage = People::on(Props::new(), &plant).await;
        let applicant = applicant_on(&stage).await;
        let mut interview = Interview::begin(applicant, place("hmi-2")).0.unwrap();
        interview.answer(&answer("why")).await;
        let next = interview.answer(&answer("file-get")).await;
        assert_eq!(asked(&next), ("", Some("Work order: ")));
        for (given, complaint) in [("", "Say which work order"), ("17", "does not look as rule files wants it")] {
            let next = interview.answer(&answer(given)).await;
            let (says, asks) = asked(&next);
            assert!(says.contains(complaint) && asks == Some("Work order: "), "{says}");
        }
        let next = interview.answer(&answer("WO-17")).await;
        assert_eq!(asked(&next), ("", Some("How long, at most 30m [30m]: ")));
    }

    #[tokio::test]
    async fn who_may_ask_for_nothing_more_hears_it_before_the_first_question() {
        let (stage, applicant) = applicant().await;
        for _ in 0..10 {
            stage.ask("plc-7", &[Action::Shell]).await.unwrap();
        }
        let (interview, next) = Interview::begin(applicant, place("hmi-2"));
        assert!(interview.is_none());
        assert!(matches!(&next, Next::Refuse(words) if words.contains("are waiting already")), "{next:?}");
    }

    #[tokio::test]
    async fn who_waits_reads_the_words_that_the_operator_compares_and_what_the_yes_took_away() {
        let (stage, applicant) = applicant().await;
        let request = stage.ask("hmi-2", &[Action::Shell, Action::FileGet]).await.unwrap();
        let words = |stage: &People| {
            let digest = stage.desk.with_state(|state| state.cases[&request].request.digest(stage.desk.deployment()));
            certs::words::of(&digest)
        };
        let (interview, next) = Interview::begin(applicant, place("hmi-2"));
        let asked_words = words(&stage);
        assert!(asked(&next).0.contains(&asked_words), "{next:?}");
        let mut interview = interview.unwrap();
        let narrowing = Narrowing { actions: Some([Action::Shell].into()), ..Narrowing::default() };
        let verdict = stage.narrowed_approval(&stage.lead, request, narrowing);
        stage.desk.act(policies::decide::Command::Vote { verdict }).await.unwrap();
        assert_ne!(words(&stage), asked_words);
        let told = interview.answer(&[]).await;
        assert_eq!(asked(&told), ("Yes, but without file-get.", None));
        assert_eq!(interview.answer(&[]).await, Next::Connect);
    }

    #[tokio::test]
    async fn where_two_must_agree_the_words_are_those_of_what_the_first_left() {
        let two = PLANT.replacen(r#"approvals = [{ from = "shift-lead", count = 1 }]"#, TWO, 1);
        let stage = People::on(Props::new(), &two).await;
        let applicant = applicant_on(&stage).await;
        let request = stage.ask("hmi-2", &[Action::Shell, Action::FileGet]).await.unwrap();
        let narrowing = Narrowing { actions: Some([Action::Shell].into()), ..Narrowing::default() };
        let verdict = stage.narrowed_approval(&stage.lead, request, narrowing);
        stage.desk.act(policies::decide::Command::Vote { verdict }).await.unwrap();
        let digest = stage.desk.with_state(|state| state.cases[&request].request.digest(stage.desk.deployment()));
        let (_, next) = Interview::begin(applicant, place("hmi-2"));
        assert!(asked(&next).0.contains(&certs::words::of(&digest)), "{next:?}");
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
