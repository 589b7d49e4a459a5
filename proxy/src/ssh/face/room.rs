//! One session of one technician's connection, opened when the first channel wants it: all channels of the connection
//! share it, and it ends when the connection does.

use std::sync::Arc;

use approver::lease::Ask;
use approver::mint;
use policies::actions::Actions;
use tokio::sync::OnceCell;

use super::Face;
use super::names::Place;
use crate::session::{Session, VendorLine, Who};

/// A session to be opened, or that was.
pub(super) struct Room {
    face: Arc<Face>,
    who: Who,
    place: Place,
    line: VendorLine,
    session: OnceCell<Result<Session, String>>,
}

impl Room {
    pub(super) fn new(face: &Arc<Face>, who: Who, place: Place, line: VendorLine) -> Self {
        Self { face: Arc::clone(face), who, place, line, session: OnceCell::new() }
    }

    /// The session. The first caller opens it, the others wait for that.
    ///
    /// # Errors
    /// Why there is none, in words for the technician.
    pub(super) async fn session(&self) -> Result<Session, String> {
        self.session.get_or_init(|| self.open()).await.clone()
    }

    async fn open(&self) -> Result<Session, String> {
        let ask = Ask {
            target: self.place.target.clone(),
            service: self.place.service.clone(),
            wants: Actions::new(),
            grant: None,
            session: mint::session(self.face.desk.clock().wall()),
        };
        match self.face.sessions.open(self.who.clone(), ask, self.line.clone()).await {
            Ok(session) => {
                self.remember(&session);
                Ok(session)
            }
            Err(not_opened) => {
                tracing::info!(person = %self.who.proof.person(), target = %self.place.target, "no session: {not_opened}");
                Err(format!("{not_opened}."))
            }
        }
    }

    /// A complete login serves further connections under the grant that it opened.
    fn remember(&self, session: &Session) {
        let grant = self.face.desk.with_state(|state| state.sessions.get(&session.id()).map(|facts| facts.request));
        if let Some(grant) = grant {
            self.face.recent.remember(&self.who.proof, grant);
        }
    }
}
