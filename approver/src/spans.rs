//! What is timed, for whoever looks for what was slow: spans, as OpenTelemetry has them. All that can be said of one is named
//! here: the kinds of work, the keys, and what a value may be. So no text that somebody typed comes into one, and nothing else
//! leaves the gate by this way. Where nobody collects them, none is made. Who takes them away is `traces`.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime};

use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::{
    FutureExt as _, SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _, WithContext,
};
use opentelemetry::{Context, KeyValue, Value};
use policies::ids::{PersonId, RequestId, ServiceName, SessionId, TargetName};

/// Who makes them, in this process; set once, if at all.
static TRACER: OnceLock<BoxedTracer> = OnceLock::new();

/// From now on spans are made. Whether this was the first who said so: a process has one collector.
pub(crate) fn are_kept_by(tracer: BoxedTracer) -> bool {
    TRACER.set(tracer).is_ok()
}

macro_rules! named {
    ($(#[$doc:meta])* $kind:ident { $($(#[$of:meta])* $name:ident $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $kind {
            $($(#[$of])* $name,)*
        }

        impl $kind {
            /// Each.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// As collectors are told.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

named! {
    /// Work that is timed, beside requests of the API, which are called by their route.
    Work {
        /// From a technician's connection to being signed in. Of those who show no key that is known here there is none.
        Login "login",
        /// Looking up whose a key is.
        Key "key",
        /// Checking a code, or a password and a code.
        Code "code",
        /// From asking for a session to its first moment.
        Admission "admission",
        /// The Desk's deciding, with waiting for its turn.
        Decision "decision",
        /// Writing to the journal, wherever it is kept.
        Append "journal append",
        /// Asking the vault.
        Vault "vault",
        /// Beginning a recording.
        Recording "recording",
        /// Reaching a target's socket.
        Dial "dial",
        /// Agreeing on keys with a target, and logging in there.
        TargetLogin "target login",
        /// A session, until it is sealed and journaled as ended.
        Session "session",
        /// Bringing a recording to the bucket.
        Deposit "deposit",
        /// Telling people by one way.
        Notice "notice",
    }
}

named! {
    /// What is said of a span.
    Key {
        /// Whose.
        Person "holdpoint.person",
        /// The session.
        Session "holdpoint.session",
        /// The request that was granted.
        Request "holdpoint.request",
        /// The target's name in the plant file.
        Target "holdpoint.target",
        /// Its service.
        Service "holdpoint.service",
        /// Why a session ended, in one word.
        Ending "holdpoint.ending",
        /// Why nobody was let in, in one word.
        Refusal "holdpoint.refusal",
        /// How many entries.
        Entries "holdpoint.entries",
        /// What the vault was asked for, in one word.
        Question "holdpoint.question",
        /// By which way people are told.
        Way "holdpoint.way",
        /// A request's method.
        Method "http.request.method",
        /// Its route, as the API's description has it.
        Route "http.route",
        /// What it was answered with.
        Status "http.response.status_code",
    }
}

/// What may be said: words of this program, numbers, identifiers, names of the plant file.
#[derive(Debug, Clone)]
pub struct Said(Value);

impl From<&'static str> for Said {
    fn from(word: &'static str) -> Self {
        Self(word.into())
    }
}

impl From<u16> for Said {
    fn from(number: u16) -> Self {
        Self(i64::from(number).into())
    }
}

impl From<usize> for Said {
    fn from(number: usize) -> Self {
        Self(i64::try_from(number).unwrap_or(i64::MAX).into())
    }
}

macro_rules! said {
    ($($kind:ty)*) => {$(
        impl From<&$kind> for Said {
            fn from(id: &$kind) -> Self {
                Self(id.to_string().into())
            }
        }
    )*};
}

said! { PersonId RequestId ServiceName SessionId TargetName }

/// A moment, by the clock on the wall and by one that is never set.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    wall: SystemTime,
    monotonic: Instant,
}

impl Moment {
    /// This one.
    pub fn now() -> Self {
        Self { wall: SystemTime::now(), monotonic: Instant::now() }
    }

    /// Now, as it stands to that moment: a clock that is set meanwhile makes nothing shorter.
    fn since(self) -> SystemTime {
        self.wall + self.monotonic.elapsed()
    }
}

/// Work under way. It ends when this is dropped.
#[derive(Debug, Default)]
#[must_use = "dropped at once, it times nothing"]
pub struct Span(Option<Timed>);

#[derive(Debug)]
struct Timed {
    context: Context,
    began: Moment,
}

/// Where work belongs: what begins there is a part of it, however long that is over. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Place(Context);

impl Place {
    /// Where this task is now.
    pub fn here() -> Self {
        Self(Context::map_current(|here| parent(here.span().span_context().clone())))
    }

    /// The same work, as a part of what is here.
    pub fn around<F: Future>(&self, work: F) -> WithContext<F> {
        work.with_context(self.0.clone())
    }
}

/// It names the parent, and holds nothing of it.
fn parent(context: opentelemetry::trace::SpanContext) -> Context {
    if context.is_valid() { Context::new().with_remote_span_context(context) } else { Context::new() }
}

impl Span {
    /// A part of what this task does now, or else the first of a trace.
    pub fn begin(work: Work) -> Self {
        started(work.as_str().into(), SpanKind::Internal, Moment::now(), &Context::current())
    }

    /// The same, and nothing where this task does nothing that is timed.
    pub fn within(work: Work) -> Self {
        let here = Context::current();
        match here.span().span_context().is_valid() {
            true => started(work.as_str().into(), SpanKind::Internal, Moment::now(), &here),
            false => Self::default(),
        }
    }

    /// A part of what is or was there.
    pub fn under(place: &Place, work: Work) -> Self {
        started(work.as_str().into(), SpanKind::Internal, Moment::now(), &place.0)
    }

    /// The first of a trace, which began at this moment with somebody's coming.
    pub fn since(began: Moment, work: Work) -> Self {
        started(work.as_str().into(), SpanKind::Server, began, &Context::new())
    }

    /// A request of the API. Its route is one of the table's, with the variables in braces: never the path. Whose trace a stranger
    /// says that it belongs to is not heard.
    pub fn request(method: &'static str, route: &str) -> Self {
        let request = started(format!("{method} {route}").into(), SpanKind::Server, Moment::now(), &Context::current());
        request.set(Key::Method, method);
        request.say(Key::Route, || Value::from(route.to_owned()));
        request
    }

    /// Says something of it.
    pub fn set(&self, key: Key, said: impl Into<Said>) {
        self.say(key, || said.into().0);
    }

    fn say(&self, key: Key, value: impl FnOnce() -> Value) {
        if let Some(Timed { context, .. }) = &self.0 {
            context.span().set_attribute(KeyValue::new(key.as_str(), value()));
        }
    }

    /// It came to nothing, in one word.
    pub fn failed(&self, why: &'static str) {
        if let Some(Timed { context, .. }) = &self.0 {
            context.span().set_status(Status::error(why));
        }
    }

    /// Where its parts belong, also once it is over.
    pub fn place(&self) -> Place {
        Place(self.0.as_ref().map_or_else(Context::new, |timed| parent(timed.context.span().span_context().clone())))
    }

    /// The same work, whose parts are this one's.
    pub fn around<F: Future>(&self, work: F) -> WithContext<F> {
        work.with_context(self.0.as_ref().map_or_else(Context::current, |timed| timed.context.clone()))
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(Timed { context, began }) = &self.0 {
            context.span().end_with_timestamp(began.since());
        }
    }
}

fn started(name: Cow<'static, str>, kind: SpanKind, began: Moment, parent: &Context) -> Span {
    let Some(tracer) = TRACER.get() else { return Span::default() };
    let builder = SpanBuilder::from_name(name).with_kind(kind).with_start_time(began.wall);
    let context = parent.with_span(tracer.build_with_context(builder, parent));
    Span(Some(Timed { context, began }))
}

/// The same work for another task, as a part of what this one does.
pub fn along<F: Future>(work: F) -> WithContext<F> {
    work.with_context(Context::current())
}

/// Asks the vault within what is timed here: see [`certs::vault::Line::timed`].
pub fn ask_vault(question: &'static str, ask: &mut dyn FnMut()) {
    let asked = Span::within(Work::Vault);
    asked.set(Key::Question, question);
    ask();
}

/// The trace that what is done here belongs to, if it is one that is kept: for the log.
pub fn trace_id() -> Option<String> {
    TRACER.get()?;
    Context::map_current(|here| {
        let span = here.span();
        let known = span.span_context();
        known.is_sampled().then(|| known.trace_id().to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever reads there what leaves the plant reads all of it.
    #[test]
    fn the_guide_names_all_that_can_be_said() {
        let guide = include_str!("../../docs/administrator.md");
        let names = Work::ALL.iter().map(|work| work.as_str()).chain(Key::ALL.iter().map(|key| key.as_str()));
        for name in names {
            assert!(guide.contains(&format!("`{name}`")), "{name}");
        }
    }
}
