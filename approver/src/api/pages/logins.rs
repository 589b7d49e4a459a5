//! Who is signed in on pages. They are kept in memory, so that whoever signed in still sees and cuts while directory and
//! journal are gone; after a restart everybody signs in again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use certs::proof::Factors;
use policies::digest::Digest;
use tokio_util::sync::CancellationToken;

use super::super::Source;
use super::super::guard::Login;
use crate::clock::Boot;
use crate::mint;

/// `__Host-`: this very host alone, over TLS, for all its pages (RFC 6265bis, 4.1.3.2).
const COOKIE: &str = "__Host-holdpoint";
/// A shift. What needs a signature needs the key again anyway.
const LASTS: Duration = Duration::from_secs(12 * 60 * 60);
/// An eldest one gives way: a control room has a handful.
const LOGINS_MAX: usize = 1_024;

/// Somebody signed in on a page.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) login: Login,
    pub(super) csrf: String,
    id: Digest,
    until: Boot,
    /// When the passkey last answered.
    proved: Boot,
    /// It was forgotten before its time.
    out: CancellationToken,
}

impl Held {
    /// Whether it is the same sign-in.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.id == other.id
    }

    /// How long ago the passkey last answered.
    pub(super) fn age(&self, now: Boot) -> Duration {
        now.since(self.proved)
    }

    /// Completes when they sign out, or what proved the sign-in counts no more: not when it is merely over, which ends no work.
    pub(super) fn signed_out(&self) -> impl Future<Output = ()> + Send + use<> {
        self.out.clone().cancelled_owned()
    }
}

/// Everybody who is.
#[derive(Default)]
pub(in super::super) struct Logins(Mutex<HashMap<Digest, Held>>);

impl Logins {
    /// Keeps a sign-in; gives the cookie that names it.
    pub(super) fn keep(&self, login: Login, now: Boot) -> HeaderValue {
        let secret = data_encoding::HEXLOWER.encode(&mint::random::<32>());
        let id = Digest::of_bytes(secret.as_bytes());
        let (person, is_unattended) = (login.who.person(), login.who.factors() == Factors::UnattendedKey);
        let csrf = data_encoding::HEXLOWER.encode(&mint::random::<32>());
        let (until, out) = (now.after(LASTS), CancellationToken::new());
        let held = Held { login, csrf, id, until, proved: now, out };
        let mut logins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What signs in by itself takes one place, however often it does.
        let comes_back = |other: &Held| is_unattended && other.login.who.person() == person;
        logins.retain(|_, held| now < held.until && !comes_back(held));
        if logins.len() >= LOGINS_MAX {
            let eldest = logins.values().min_by_key(|held| held.until).map(|held| held.id);
            eldest.and_then(|id| logins.remove(&id));
        }
        logins.insert(id, held);
        let cookie = format!("{COOKIE}={secret}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={}", LASTS.as_secs());
        HeaderValue::try_from(cookie).expect("hexadecimal digits fit a header")
    }

    /// Whose cookie this is, from where they signed in and before it is over.
    pub(super) fn held(&self, headers: &HeaderMap, source: Source, now: Boot) -> Option<Held> {
        let id = Digest::of_bytes(cookie(headers, COOKIE)?.as_bytes());
        let logins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = logins.get(&id).filter(|held| now < held.until)?;
        (held.login.who.source() == source.0.to_canonical()).then(|| held.clone())
    }

    /// Whether this sign-in still stands.
    pub(super) fn is_held(&self, held: &Held, now: Boot) -> bool {
        now < held.until && self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&held.id)
    }

    /// The passkey answered once more within a sign-in, which lasts no longer for it.
    pub(super) fn renew(&self, held: &Held, login: Login, now: Boot) {
        if let Some(known) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&held.id) {
            (known.login, known.proved) = (login, now);
        }
    }

    pub(super) fn forget(&self, held: &Held) {
        held.out.cancel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&held.id);
    }
}

/// Takes the cookie away.
pub(super) fn no_cookie() -> HeaderValue {
    HeaderValue::from_static("__Host-holdpoint=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0")
}

/// The value of a cookie of ours.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(';')).find_map(|one| one.trim().strip_prefix(name)?.strip_prefix('='))
}
