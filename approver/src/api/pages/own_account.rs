//! One's own ways to sign in: keys, and the identity providers that one is linked to.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::super::types::{Done, PersonView};
use super::inside::{Inside, Said};
use super::people::{Subject, subject, subject_of};
use super::signing_in::passkeys_of;
use super::{Fields, Pages, Posted, Top, words};
use crate::people::key_in_words;

#[derive(Template)]
#[template(path = "own-account.html")]
struct Account {
    top: Top,
    keys: Vec<String>,
    key_added: String,
    ways: Vec<Way>,
    site: String,
    has_passkey: bool,
    /// Where technicians get the code for a passkey.
    lobby: String,
}

struct Way {
    name: String,
    title: String,
    subject: Option<Subject>,
    /// The configuration does not name it any more.
    is_gone: bool,
}

pub(super) async fn show(State(pages): State<Pages>, inside: Inside) -> Response {
    pages.shown(&inside, gather(&pages, &inside).await).await
}

async fn gather(pages: &Pages, inside: &Inside) -> Result<Account, Said> {
    let me: PersonView = inside.get("/api/v1/me").await?;
    let (now, zone) = pages.clock();
    let mut subjects: Vec<_> = me.subjects.iter().map(|one| subject(one, now, &zone)).collect();
    let mut of = |name: &str| {
        let at = subjects.iter().position(|subject| subject.provider == name)?;
        Some(subjects.swap_remove(at))
    };
    let mut ways: Vec<Way> = Vec::new();
    let known = pages.api.desk().with_state(|state| state.people.get(&inside.person()).cloned());
    let asked = known.iter().flat_map(|me| pages.api.parts().providers.knowing(pages.api.face(), me));
    for provider in asked {
        let (name, title) = (provider.name().to_string(), provider.title().to_owned());
        ways.push(Way { subject: of(&name), name, title, is_gone: false });
    }
    let gone = subjects.into_iter().map(|subject| {
        let name = subject.provider.clone();
        Way { title: name.clone(), name, subject: Some(subject), is_gone: true }
    });
    ways.extend(gone);
    let keys = me.keys.iter().map(|key| key_in_words(key)).collect();
    Ok(Account {
        top: pages.top(Some(inside)).await,
        keys,
        key_added: me.key_added.map(|added| words::moment(added, now, &zone)).unwrap_or_default(),
        ways,
        site: pages.site.id().to_owned(),
        has_passkey: !passkeys_of(pages, inside.person()).is_empty(),
        lobby: pages.api.parts().gate.ssh("NAME"),
    })
}

pub(super) async fn unlink(State(pages): State<Pages>, Posted { inside, fields }: Posted) -> Response {
    pages.then(&inside, let_go(&inside, &fields).await).await
}

async fn let_go(inside: &Inside, fields: &Fields) -> Result<String, Said> {
    let _: Done = inside.delete(&subject_of("/api/v1/me", fields)?).await?;
    Ok("/me".to_owned())
}
