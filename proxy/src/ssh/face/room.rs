//! One session of one technician's connection, opened when the first channel wants it: all channels of the connection
//! share it, and it ends when the connection does.

use std::collections::VecDeque;
use std::sync::Arc;

use approver::lease::Ask;
use approver::mint;
use policies::actions::Actions;
use tokio::sync::OnceCell;

use super::Face;
use super::asking::Applicant;
use super::names::Place;
use crate::files::judge::{Asked, wants};
use crate::flow::{Event, Queue, Request};
use crate::session::{Session, VendorLine};

/// A session to be opened, or that was.
pub(super) struct Room {
    face: Arc<Face>,
    applicant: Applicant,
    place: Place,
    line: VendorLine,
    session: OnceCell<Result<Session, String>>,
}

impl Room {
    pub(super) fn new(face: &Arc<Face>, applicant: Applicant, place: Place, line: VendorLine) -> Self {
        Self { face: Arc::clone(face), applicant, place, line, session: OnceCell::new() }
    }

    /// Whether it is of no use any more: its session is over, or never began.
    pub(super) fn is_over(&self) -> bool {
        self.session.get().is_some_and(|session| session.as_ref().map_or(true, |session| session.over().is_some()))
    }

    /// Whether the first channel must say what it is for, because several grants would do.
    pub(super) fn has_choice(&self) -> bool {
        !self.session.initialized()
            && self.applicant.who().proof.grant().is_none()
            && self.applicant.choices(&self.place).len() > 1
    }

    /// The session. The first caller opens it, under the narrowest grant that allows one of `wants`; the others wait
    /// for that.
    ///
    /// # Errors
    /// Why there is none, in words for the technician.
    pub(super) async fn session(&self, wants: Actions) -> Result<Session, String> {
        self.session.get_or_init(|| self.open(wants)).await.clone()
    }

    async fn open(&self, wants: Actions) -> Result<Session, String> {
        // What no grant allows is refused within the session, with how to ask for it.
        let is_allowed = self.applicant.choices(&self.place).iter().any(|granted| !granted.is_disjoint(&wants));
        let ask = Ask {
            target: self.place.target.clone(),
            service: self.place.service.clone(),
            wants: if is_allowed { wants } else { Actions::new() },
            grant: None,
            session: mint::session(self.face.desk.clock().wall()),
        };
        let who = self.applicant.who();
        match self.face.sessions.open(who.clone(), ask, self.line.clone()).await {
            Ok(session) => {
                self.remember(&session);
                Ok(session)
            }
            Err(not_opened) => {
                tracing::info!(person = %who.proof.person(), target = %self.place.target, "no session: {not_opened}");
                Err(format!("{not_opened}."))
            }
        }
    }

    /// A complete login serves further connections under the grant that it opened.
    fn remember(&self, session: &Session) {
        let grant = self.face.desk.with_state(|state| state.sessions.get(&session.id()).map(|facts| facts.request));
        if let Some(grant) = grant {
            self.face.recent.remember(&self.applicant.who().proof, grant);
        }
    }
}

/// What a channel is for, once it says so; nothing where it closes before.
pub(super) async fn wanted(upload: &Queue) -> Actions {
    upload.look(said).await.unwrap_or_default()
}

fn said(events: &VecDeque<Event>) -> Option<Actions> {
    let mut on_terminal = false;
    for event in events {
        match event {
            Event::Request(Request::Pty { .. }) => on_terminal = true,
            Event::Request(Request::Shell) => return Some(wants(Asked::Shell)),
            Event::Request(Request::Exec(line)) => return Some(wants(Asked::Exec { line, on_terminal })),
            Event::Request(Request::Subsystem(name)) => return Some(wants(Asked::Subsystem(name))),
            Event::Close => return Some(Actions::new()),
            _ => {}
        }
    }
    None
}
