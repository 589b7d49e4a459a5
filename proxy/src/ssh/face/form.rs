//! What somebody without a grant is asked: one answer at a time, each checked before the next question, because a person
//! who is told at the end has typed everything for nothing.

use approver::directory::clean_text;
use policies::actions::Actions;
use policies::offers::Offer;
use policies::plant::WorkOrder;
use policies::refusals::Refusal;
use policies::time::Seconds;

use super::asking::{Applicant, Wish};
use super::names::Place;

/// The answers so far.
pub(super) struct Form {
    /// What may be asked for; once the actions are known, on the terms of the rule that decides about them.
    offer: Offer,
    reason: Option<String>,
    actions: Option<Actions>,
    work_order: Option<String>,
    duration: Option<Seconds>,
}

#[derive(Clone, Copy)]
enum Question {
    Reason,
    Actions,
    WorkOrder,
    Duration,
}

impl Form {
    /// An empty one.
    pub(super) fn new(offer: Offer) -> Self {
        let actions = (offer.actions.len() == 1).then(|| offer.actions.clone());
        Self { offer, reason: None, actions, work_order: None, duration: None }
    }

    /// The words of the next question; `None` once all are answered.
    pub(super) fn prompt(&self) -> Option<String> {
        let offer = &self.offer;
        Some(match self.question()? {
            Question::Reason => "Reason: ".to_owned(),
            Question::Actions => {
                format!("What for, of {} [{}]: ", listed(&offer.actions), listed(&offer.usual_actions()))
            }
            Question::WorkOrder => "Work order: ".to_owned(),
            Question::Duration => format!("How long, at most {} [{}]: ", offer.terms.most, offer.usual_duration()),
        })
    }

    fn question(&self) -> Option<Question> {
        let is_wanted = !matches!(self.offer.terms.work_order, WorkOrder::Optional);
        [
            (self.reason.is_none(), Question::Reason),
            (self.actions.is_none(), Question::Actions),
            (is_wanted && self.work_order.is_none(), Question::WorkOrder),
            (self.duration.is_none(), Question::Duration),
        ]
        .into_iter()
        .find_map(|(is_open, question)| is_open.then_some(question))
    }

    /// Takes the answer to the next question; an empty one takes what was offered. That no rule allows the actions is
    /// journaled; what is wrong with another answer is mended by the next one, and is not.
    ///
    /// # Errors
    /// What is wrong with it, in words; then the question stays open.
    pub(super) fn take(&mut self, applicant: &Applicant, answer: &str) -> Result<(), String> {
        let answer = answer.trim();
        match self.question() {
            Some(Question::Reason) => self.reason = Some(reason(answer)?),
            Some(Question::Actions) => {
                let actions = match answer {
                    "" => self.offer.usual_actions(),
                    words => parse_actions(words).map_err(|complaint| format!("{complaint}."))?,
                };
                let on_terms = applicant.terms(&self.offer, &actions).inspect_err(|refusal| {
                    applicant.refused(&Place::of(&self.offer), actions.clone(), false, refusal);
                });
                self.offer = on_terms.map_err(|refusal| format!("{refusal}."))?;
                self.actions = Some(actions);
            }
            Some(Question::WorkOrder) => self.work_order = Some(self.checked_work_order(applicant, answer)?),
            Some(Question::Duration) => self.duration = Some(self.checked_duration(applicant, answer)?),
            None => {}
        }
        Ok(())
    }

    fn checked_work_order(&self, applicant: &Applicant, answer: &str) -> Result<String, String> {
        let text = clean_text(answer).map_err(|_| "Say which work order: one is needed.".to_owned())?;
        let wish = Wish { work_order: Some(text.as_str().to_owned()), ..self.wish() };
        applicant.check(&wish).map_err(|refusal| format!("{refusal}."))?;
        Ok(text.as_str().to_owned())
    }

    fn checked_duration(&self, applicant: &Applicant, answer: &str) -> Result<Seconds, String> {
        let duration = match answer {
            "" => self.offer.usual_duration(),
            text => text.parse::<Seconds>().map_err(|bad| format!("{bad}."))?,
        };
        if duration.0 == 0 {
            return Err("That is no time at all: say for example 30m.".to_owned());
        }
        applicant.check(&Wish { duration, ..self.wish() }).map_err(|refusal| format!("{refusal}."))?;
        Ok(duration)
    }

    /// What is wished for; where nothing was answered yet, what is offered.
    pub(super) fn wish(&self) -> Wish {
        Wish {
            place: Place::of(&self.offer),
            actions: self.actions.clone().unwrap_or_else(|| self.offer.usual_actions()),
            duration: self.duration.unwrap_or_else(|| self.offer.usual_duration()),
            from: None,
            reason: self.reason.clone().unwrap_or_default(),
            work_order: self.work_order.clone(),
            emergency: false,
        }
    }

    /// Whether anything could be asked at all, before somebody is made to answer. That it could not is journaled.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn check(&self, applicant: &Applicant) -> Result<(), Refusal> {
        let wish = self.wish();
        match applicant.check(&wish) {
            // It is asked for yet.
            Err(Refusal::WorkOrderWanted) => Ok(()),
            checked => checked
                .inspect_err(|refusal| applicant.refused(&wish.place, wish.actions.clone(), wish.emergency, refusal)),
        }
    }
}

fn reason(answer: &str) -> Result<String, String> {
    match clean_text(answer) {
        Ok(text) => Ok(text.as_str().to_owned()),
        Err(_) if answer.is_empty() => Err("Say why: a reason is needed.".to_owned()),
        Err(refused) => Err(format!("Say why: {refused}.")),
    }
}

/// Reads actions with commas or blanks between.
pub(super) fn parse_actions(words: &str) -> Result<Actions, policies::actions::NoSuchAction> {
    words.split([',', ' ']).filter(|word| !word.is_empty()).map(str::parse).collect()
}

/// Actions with commas between.
pub(super) fn listed(actions: &Actions) -> String {
    actions.iter().map(|action| action.as_str()).collect::<Vec<_>>().join(", ")
}
