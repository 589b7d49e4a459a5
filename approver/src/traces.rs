//! Traces: what was timed (`spans`) is brought to a collector, as OpenTelemetry's protocol has it (OTLP 1.x over HTTP, protobuf).
//! Nothing waits for that: spans that ended wait in a queue with a bound, and one task posts them. What finds no room, or what
//! the collector does not want, is lost and counted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, KeyValue};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanProcessor};
use policies::ids::{DeploymentId, NodeId};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::post::{NoCa, Poster, Url, Wanted};
use crate::spans;

/// Spans that wait, beside those under way: some minutes of a busy gate, and a few MiB.
const WAITING_MAX: usize = 4_096;
/// Spans that are posted together.
const TOGETHER_MAX: usize = 512;
/// How long the first of them waits for others.
const GATHERED_FOR: Duration = Duration::from_secs(1);
/// From connecting to the end of the answer.
const TAKES_MAX: Duration = Duration::from_secs(10);
/// The first pause after a failure; each is twice the one before.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(60);
/// How long a stop waits for the last of them.
const LAST_MAX: Duration = Duration::from_secs(3);
/// Of the collector's answer, which is some bytes long where all is well.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Where spans are brought.
pub struct Collector {
    poster: Poster,
    headers: HeaderMap,
    percent: u8,
}

/// A line that is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {0} is no header: write for example \"Authorization: Bearer …\"")]
pub struct NoHeader(pub usize);

/// Headers, a line for each, as `Name: value`.
///
/// # Errors
/// The first line that is none. It may hold a secret, and is not told.
pub fn headers(lines: &str) -> Result<HeaderMap, NoHeader> {
    let mut headers = HeaderMap::new();
    for (place, line) in lines.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let header = line.split_once(':').and_then(|(name, value)| {
            let mut value = HeaderValue::try_from(value.trim()).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::try_from(name.trim()).ok()?, value))
        });
        let (name, value) = header.ok_or(NoHeader(place + 1))?;
        headers.append(name, value);
    }
    Ok(headers)
}

impl Collector {
    /// At this address, below which `v1/traces` is; `ca_pem` instead of the system's CAs; with these headers. Of a hundred traces so
    /// many are kept.
    ///
    /// # Errors
    /// No CA that could vouch for it.
    pub fn new(endpoint: &Url, ca_pem: Option<&str>, headers: HeaderMap, percent: u8) -> Result<Self, NoCa> {
        Ok(Self { poster: Poster::new(endpoint.below("v1/traces"), ca_pem)?, headers, percent })
    }

    /// Posts them once; how many it did not want.
    async fn post(&self, request: Vec<u8>) -> Result<u64, NotTaken> {
        let host = self.poster.url().host();
        let posted = self.poster.post("application/x-protobuf", &self.headers, request, Wanted::Body(ANSWER_BYTES_MAX));
        match tokio::time::timeout(TAKES_MAX, posted).await {
            Err(_) => Err(NotTaken::Now(format!("{host} did not answer in {TAKES_MAX:?}"))),
            Ok(Err(why)) => Err(NotTaken::Now(why)),
            Ok(Ok((200..=299, answer))) => {
                let partly = ExportTraceServiceResponse::decode(answer).ok().and_then(|answer| answer.partial_success);
                Ok(partly.map_or(0, |partly| u64::try_from(partly.rejected_spans).unwrap_or(0)))
            }
            // Those that OTLP 1.x has tried again; the first comes from what stands between.
            Ok(Ok((status @ (408 | 429 | 502..=504), _))) => Err(NotTaken::Now(format!("{host}: {status}"))),
            Ok(Ok((status, _))) => Err(NotTaken::Ever(format!("{host}: {status}"))),
        }
    }
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Collector").field(self.poster.url()).finish()
    }
}

/// Why spans were not taken.
enum NotTaken {
    /// They may be later.
    Now(String),
    /// They never will be.
    Ever(String),
}

/// How it stands with the collector. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Traces(Arc<Mutex<Standing>>);

/// How it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The collector's name or address.
    pub host: String,
    /// Spans that it took since the program was started.
    pub taken: u64,
    /// When it took the last.
    pub taken_at: Option<Timestamp>,
    /// Spans that it will never have.
    pub lost: u64,
    /// Why it takes none, where it does not.
    pub trouble: Option<String>,
}

impl Traces {
    /// How it stands now.
    pub fn standing(&self) -> Standing {
        self.lock().clone()
    }

    fn took(&self, spans: u64, refused: u64) {
        let mut standing = self.lock();
        standing.taken += spans - refused;
        standing.taken_at = Some(Timestamp::now());
        standing.lost += refused;
        let before = std::mem::replace(&mut standing.trouble, some_refused(refused));
        let (host, lost) = (standing.host.clone(), standing.lost);
        drop(standing);
        match (before, refused) {
            (None, 1..) => {
                tracing::warn!(collector = host, refused, "the collector of traces takes some and not others");
            }
            (Some(_), 0) => tracing::info!(collector = host, lost, "the collector takes traces again"),
            _ => {}
        }
    }

    /// It is told once, until it takes some again.
    fn is_away(&self, why: &str, lost: u64) {
        let mut standing = self.lock();
        standing.lost += lost;
        let (host, is_news) = (standing.host.clone(), standing.trouble.is_none());
        standing.trouble = Some(why.to_owned());
        drop(standing);
        if is_news {
            tracing::warn!(
                collector = host,
                why,
                "the collector takes no traces: what finds no room meanwhile is lost"
            );
        }
    }

    fn lost(&self, spans: u64) {
        self.lock().lost += spans;
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        // No change under this lock can stop halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn some_refused(refused: u64) -> Option<String> {
    (refused > 0).then(|| format!("of the last it refused {refused}"))
}

/// Takes spans as they end. Called wherever that is, and so never waits.
#[derive(Debug)]
struct Queue {
    waiting: mpsc::Sender<SpanData>,
    traces: Traces,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut opentelemetry_sdk::trace::Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.waiting.try_send(span).is_err() {
            self.traces.lost(1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Who brings spans to the collector.
#[derive(Debug)]
pub struct Bringer {
    collector: Collector,
    traces: Traces,
    waiting: mpsc::Receiver<SpanData>,
    /// Those that wait for others to go with them.
    gathered: Vec<SpanData>,
    resource: ResourceAttributesWithSchema,
    under_way: Option<Batch>,
}

#[derive(Debug)]
struct Batch {
    spans: u64,
    request: Vec<u8>,
}

/// From now on this process makes spans, and they wait for whoever brings them. None where it did so before: only programs of
/// tests run several gates.
pub fn begin(collector: Collector, deployment: &DeploymentId, node: &NodeId) -> Option<(Traces, Bringer)> {
    let host = collector.poster.url().host().to_owned();
    let standing = Standing { host, taken: 0, taken_at: None, lost: 0, trouble: None };
    let traces = Traces(Arc::new(Mutex::new(standing)));
    let (sender, waiting) = mpsc::channel(WAITING_MAX);
    // Not of the environment, which nobody looks at who looks at the configuration.
    let resource = Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", "holdpoint"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.namespace", deployment.to_string()),
            KeyValue::new("service.instance.id", node.to_string()),
        ])
        .build();
    let share = Sampler::TraceIdRatioBased(f64::from(collector.percent) / 100.0);
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(share)))
        .with_resource(resource.clone())
        .with_span_processor(Queue { waiting: sender, traces: traces.clone() })
        .build();
    let is_first = spans::are_kept_by(BoxedTracer::new(Box::new(provider.tracer("holdpoint"))));
    let resource = ResourceAttributesWithSchema::from(&resource);
    is_first.then(|| {
        (traces.clone(), Bringer { collector, traces, waiting, gathered: Vec::new(), resource, under_way: None })
    })
}

impl Bringer {
    /// Brings them until it is told to stop, and then what is there, but not for long.
    pub async fn run(mut self, stop: CancellationToken) {
        if stop.run_until_cancelled(self.bring()).await.is_some() {
            return;
        }
        if tokio::time::timeout(LAST_MAX, self.bring_last()).await.is_err() {
            tracing::warn!("the collector takes no traces, and the gate stops: the last of them are lost");
        }
    }

    /// Until there can be no more spans.
    async fn bring(&mut self) {
        let mut pause = AGAIN;
        while self.under_way.is_some() || self.gather().await {
            match self.post().await {
                true => pause = AGAIN,
                false => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(AGAIN_MAX);
                }
            }
        }
    }

    /// Once nobody makes any more.
    async fn bring_last(&mut self) {
        while self.under_way.is_some() || self.take_waiting() {
            if !self.post().await {
                return;
            }
        }
    }

    /// Waits for spans to bring; whether there are some.
    async fn gather(&mut self) -> bool {
        if self.gathered.is_empty() {
            let Some(first) = self.waiting.recv().await else { return false };
            self.gathered.push(first);
        }
        if self.gathered.len() + self.waiting.len() < TOGETHER_MAX {
            tokio::time::sleep(GATHERED_FOR).await;
        }
        self.take_waiting()
    }

    /// What waits by now comes under way; whether there is something.
    fn take_waiting(&mut self) -> bool {
        let mut spans = std::mem::take(&mut self.gathered);
        while spans.len() < TOGETHER_MAX
            && let Ok(span) = self.waiting.try_recv()
        {
            spans.push(span);
        }
        let count = spans.len() as u64;
        let resource_spans = group_spans_by_resource_and_scope(spans, &self.resource);
        let request = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        self.under_way = (count > 0).then_some(Batch { spans: count, request });
        count > 0
    }

    /// Posts what is under way; whether that is over, one way or the other.
    async fn post(&mut self) -> bool {
        let Some(Batch { spans, request }) = &self.under_way else { return true };
        match self.collector.post(request.clone()).await {
            Ok(refused) => self.traces.took(*spans, refused.min(*spans)),
            Err(NotTaken::Ever(why)) => self.traces.is_away(&why, *spans),
            Err(NotTaken::Now(why)) => {
                self.traces.is_away(&why, 0);
                return false;
            }
        }
        self.under_way = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spans::{Span, Work};

    #[test]
    fn what_finds_no_room_is_counted_and_nobody_waits() {
        let nobody = "http://127.0.0.1:9".parse().expect("an address");
        let collector = Collector::new(&nobody, None, HeaderMap::new(), 100).expect("no CA is needed");
        let (deployment, node) = ("mill-3".parse().expect("a label"), "gate-1".parse().expect("a label"));
        let (traces, bringer) = begin(collector, &deployment, &node).expect("no other test of this process begins");
        assert_eq!(traces.standing().lost, 0);
        for _ in 0..WAITING_MAX + 3 {
            drop(Span::begin(Work::Notice));
        }
        assert!(traces.standing().lost >= 3, "other tests may make some, too");
        drop(bringer);
    }

    #[test]
    fn headers_are_lines_and_what_is_none_is_not_repeated() {
        let read = headers("Authorization: Bearer s3cret\n\nX-Scope-OrgID: mill-3\r\n").expect("right");
        assert!(read["authorization"] == "Bearer s3cret" && read["x-scope-orgid"] == "mill-3", "{read:?}");
        assert!(!format!("{read:?}").contains("s3cret"));
        for (wrong, line) in [("s3cret", 1), ("A: b\n\nB c", 3), ("Ä: b", 1), ("A: b\u{7}", 1)] {
            let told = headers(wrong).expect_err(wrong);
            assert!(told == NoHeader(line) && !told.to_string().contains("s3cret"), "{told}");
        }
    }
}
