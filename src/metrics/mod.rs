//! `/metrics` for Prometheus and `/healthz` for whoever restarts or alerts, on a listener of their own.
//!
//! Nothing is gathered unless somebody asks, and those who ask at the same time share what is gathered. Connections
//! are few, and none may take its time: the lobby's door sees to that.

mod families;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing,
};
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};

use crate::{
    lobby::door::{Behind, Connections, Door, DoorLimits},
    status::{Status, observer::Observer},
};

/// Prometheus keeps one connection; the rest is for people and probes.
const LIMITS: DoorLimits = DoorLimits {
    connections: 16,
    per_address: 4,
    entrance: Duration::from_secs(5),
    read_idle: Duration::from_secs(5),
    write_stall: Duration::from_secs(5),
};

/// For everything that is asked for, the wait for others' questions included.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// The listener cannot be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "the metrics cannot listen on {listen}: {source}; \
     set another address in `[metrics] listen`, or stop the program that uses this one"
)]
pub struct ListenError {
    listen: SocketAddr,
    source: io::Error,
}

/// A running listener; gone when this is dropped.
#[derive(Debug)]
pub struct Metrics {
    connections: Arc<Connections>,
    server: JoinHandle<()>,
}

impl Drop for Metrics {
    fn drop(&mut self) {
        self.server.abort();
        self.connections.close_all();
    }
}

/// Takes the address, which listens when this returns; connections wait for [`Bound::serve`].
pub async fn bind(listen: SocketAddr) -> Result<Bound, ListenError> {
    let failed = |source| ListenError { listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    Ok(Bound { listener, addr })
}

/// An address that is taken.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    addr: SocketAddr,
}

impl Bound {
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Answers from now on.
    pub fn serve(self, observer: Observer) -> Metrics {
        let connections = Arc::new(Connections::default());
        let door = Door::new(
            Behind::Metrics,
            self.listener,
            None,
            LIMITS,
            connections.clone(),
        );
        let router = Router::new()
            .route("/metrics", routing::get(metrics))
            .route("/healthz", routing::get(healthz))
            .with_state(observer);
        let server = tokio::spawn(async move {
            // Never returns: errors of single connections are dealt with inside.
            let _ = axum::serve(door, router).await;
        });
        Metrics {
            connections,
            server,
        }
    }
}

async fn metrics(State(observer): State<Observer>) -> Response {
    match picture(&observer).await.map(families::page) {
        Ok(Ok(page)) => ([(header::CONTENT_TYPE, families::CONTENT_TYPE)], page).into_response(),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why).into_response(),
    }
}

/// 200 while a viewer with a place is served, else 503 with the reason. 200 when full: a probe must not restart that.
async fn healthz(State(observer): State<Observer>) -> Response {
    let reason = match picture(&observer).await {
        Ok(status) => status.reason.clone(),
        Err(why) => Some(why),
    };
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    match reason {
        None => (no_store, Json(json!({ "status": "ok" }))).into_response(),
        Some(reason) => {
            let body = json!({ "status": "degraded", "reason": reason });
            (StatusCode::SERVICE_UNAVAILABLE, no_store, Json(body)).into_response()
        }
    }
}

async fn picture(observer: &Observer) -> Result<Arc<Status>, String> {
    match timeout(ANSWER_WITHIN, observer.picture()).await {
        Ok(picture) => picture.map_err(|error| error.to_string()),
        Err(_) => Err("others have asked before and still wait for their answer".to_owned()),
    }
}
