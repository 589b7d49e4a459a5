//! Vendors' own people: what a manager attests of a technician, with the text beside it. Who may is decided in `policies`.

use jiff::Timestamp;
use policies::decide::Command;
use policies::events::Event;
use policies::ids::PersonId;

use super::{NotDone, People};

impl People {
    /// A manager attests a technician of their company until a moment; a note stands beside it where there is one.
    ///
    /// # Errors
    /// `by` is no manager of the person's company, they are out or never enrolled, or the note is unfit.
    pub async fn attest(
        &self,
        person: PersonId,
        until: Timestamp,
        note: Option<&str>,
        by: PersonId,
    ) -> Result<Vec<Event>, NotDone> {
        // Whoever may not leaves no text behind.
        self.desk.would_take(&Command::Attest { person, until, note: None, by })?;
        let note = match note.filter(|note| !note.trim().is_empty()) {
            Some(note) => Some(self.put_text(note).await?),
            None => None,
        };
        let done = self.desk.act(Command::Attest { person, until, note, by }).await;
        if done.is_err() {
            self.forget(note).await;
        }
        Ok(done?)
    }
}
