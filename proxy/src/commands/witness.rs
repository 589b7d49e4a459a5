//! `holdpoint witness`: remembers, on another machine, how far a gate's logs had come, and cosigns what grew out of that.
//! What is cosigned, and that it is remembered first, is in `recordings::tlog::witness`; here is the network around it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use approver::api::{Limits, serve_in_the_clear};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use certs::log_key::Verifier;
use certs::witness_key::WitnessKey;
use recordings::disk::RealDisk;
use recordings::tlog::witness::{REQUEST_BYTES_MAX, Refused, Witness, WitnessDir};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Done, Failure, print_json};
use crate::serve::{self, LogForm};

/// Remember on this machine how far a gate's logs had come, and cosign what grew out of that: so a log that is set back
/// or rewritten is found out. Runs until told to stop (SIGTERM or Ctrl-C).
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Its folder, for its key and for what it has seen. Made at the first start; never set it back to an older copy.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The address to listen on. Plain HTTP: what comes and goes is signed, and no secret.
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// The key of a log to cosign, as it stands in `trust.toml`; once for each log.
    #[arg(long = "log", value_name = "KEY")]
    logs: Vec<Verifier>,
    /// What it is called, at the first start; later that is fixed.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Once it serves, say so as one line of JSON, with the port the system chose where ADDR says 0.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Serves {
    key: String,
    listen: SocketAddr,
}

pub(super) fn run(args: &Args) -> Done {
    serve::log(LogForm::Text, None);
    serve::harden();
    let dir = WitnessDir::take(Arc::new(RealDisk), &args.dir).map_err(Failure::failed)?;
    let key = key(args)?;
    let witness = Arc::new(Witness::new(dir, key, args.logs.clone()).map_err(Failure::failed)?);
    if args.logs.is_empty() {
        tracing::warn!("no --log: this witness knows no log yet, and cosigns nothing");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::failed)?;
    runtime.block_on(until_told(args, witness))
}

fn key(args: &Args) -> Result<WitnessKey, Failure> {
    let path = args.dir.join("witness.key");
    let Some(key) = WitnessKey::read(&path).map_err(Failure::failed)? else {
        return WitnessKey::create(&path, args.name.as_deref()).map_err(Failure::failed);
    };
    let called = key.cosigner().name();
    match &args.name {
        Some(name) if name != called => Err(Failure::usage(format_args!(
            "this witness is called {called}, and a name is part of its key: leave --name out, or make another witness \
             in another folder"
        ))),
        _ => Ok(key),
    }
}

async fn until_told(args: &Args, witness: Arc<Witness>) -> Done {
    let told = serve::told_to_stop().map_err(Failure::failed)?;
    let listener = TcpListener::bind(args.listen).await;
    let listener = listener.map_err(|cause| Failure::failed(format_args!("{}: {cause}", args.listen)))?;
    let serves =
        Serves { key: witness.cosigner().to_string(), listen: listener.local_addr().map_err(Failure::failed)? };
    if args.json {
        print_json(&serves)?;
    } else {
        say!("{}\nserves http://{}/add-checkpoint", serves.key, serves.listen);
    }
    let router = Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(witness);
    let stop = CancellationToken::new();
    let serving = serve_in_the_clear(listener, router, Limits::default(), stop.clone());
    let (served, ()) = tokio::join!(serving, async {
        told.await;
        stop.cancel();
    });
    served.map_err(Failure::failed)
}

async fn add_checkpoint(State(witness): State<Arc<Witness>>, body: Bytes) -> Response {
    let seconds = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0);
    let asked = tokio::task::spawn_blocking(move || witness.add_checkpoint(&body, seconds));
    let answer = asked.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a request ended the thread that worked on it");
        Err(Refused::CannotRemember)
    });
    match answer {
        Ok(line) => text(StatusCode::OK, "text/plain; charset=utf-8", line),
        Err(refused) => {
            tracing::info!(status = refused.status(), %refused, "not cosigned");
            let status = StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            match refused {
                Refused::Holds(size) => text(status, "text/x.tlog.size", format!("{size}\n")),
                other => text(status, "text/plain; charset=utf-8", format!("{other}\n")),
            }
        }
    }
}

fn text(status: StatusCode, kind: &'static str, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, kind)], body).into_response()
}
