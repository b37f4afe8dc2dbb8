//! HTTP in the turn of the loop: requests in, responses out. Part of `server`.

use super::protocol::{Body, Exchange, Posted, Protocol};
use super::{Server, access};
use crate::base::limits::Limit;
use crate::base::metrics;
use crate::base::slab::ConnId;
use crate::engineio::packet::Packet;
use crate::engineio::{Next, Refusal};
use crate::http::{self, Method, Part, RequestHead, Response, assets};
use crate::net::ReadState;
use crate::socketio::App;
use crate::ws::{self, Incoming};
use bytes::Bytes;
use std::mem;

/// The path of Engine.IO, the default of the official clients. Proxies and clients add a slash to it, or leave it away.
const ENGINE_PATH: &str = "/socket.io";

impl<A: App> Server<A> {
    /// Handles the part of a request at the start of `bytes`. Returns the number of bytes used, or `None` if the part is
    /// incomplete or has to wait: until the previous request is answered, or until the client reads the answers (see
    /// `is_paused`).
    pub(super) fn handle_http(&mut self, id: ConnId, bytes: &[u8]) -> Option<usize> {
        let paused = self.is_paused(id);
        let Protocol::Http { parser, exchange } = &mut self.net.get_mut(id)?.protocol else { return None };
        match exchange.as_deref_mut() {
            Some(Exchange { session: Some(session), body: Body::Posted(posted), .. }) => {
                let (session, packet) = (*session, posted.packets.next());
                self.io.engine.receive_posted(id, session, packet);
                return Some(0);
            }
            Some(Exchange { body: Body::None, .. }) => return None,
            None if paused => return None,
            _ => {}
        }
        let mut buffer = http::FIELD_BUFFER;
        let (count, part) = match parser.next(bytes, &mut buffer, &self.config) {
            Ok(next) => next?,
            Err(error) => {
                self.reject_request(id, error);
                return Some(bytes.len());
            }
        };
        match (part, exchange.as_deref_mut()) {
            (Part::Head(head), _) => self.handle_head(id, &head),
            (Part::Data(data), Some(Exchange { body: Body::Arriving(part), .. })) => part.extend_from_slice(data),
            (Part::End, Some(Exchange { session: Some(session), body, binary, .. })) => {
                let part = if let Body::Arriving(part) = mem::take(body) { part } else { Vec::new() };
                let length = part.len();
                if let Some(packets) = self.io.engine.decode_body(id, *session, part, *binary) {
                    let held = length + packets.len() * size_of::<Packet>();
                    *body = Body::Posted(Box::new(Posted { packets: packets.into_iter(), held }));
                }
                self.net.set_phase(id, None);
            }
            // The rest of a request that has been answered already.
            (Part::Data(_) | Part::End, _) => {}
        }
        Some(count)
    }

    /// Answers a request that is malformed, too large or too late with an error, and closes the connection.
    pub(super) fn reject_request(&mut self, id: ConnId, error: http::Error) {
        log::debug!("{id:?}: {} {}", error.status, error.reason);
        let session = self.net.get(id).and_then(|connection| connection.protocol.session());
        match error.status {
            408 if session.is_some() => self.hit(Limit::BodyTime, id),
            408 => self.hit(Limit::HeadTime, id),
            413 => self.hit(Limit::Payload, id),
            431 => self.hit(Limit::Head, id),
            _ => {}
        }
        self.respond(id, Response::text(error.status, error.reason).close());
        match (session, error.status) {
            // The chunked body is too large. The session stays open, as it does after a Content-Length that is too large.
            (Some(session), 413 | 431) => self.io.engine.refuse_body(session),
            (Some(session), _) => self.io.engine.connection_lost(id, session),
            (None, _) => {}
        }
    }

    /// Handles a request head: responds, upgrades, or waits for the body or for the session's response.
    fn handle_head(&mut self, id: ConnId, head: &RequestHead) {
        self.net.set_phase(id, None);
        let mut exchange = Exchange {
            head_only: head.method == Method::Head,
            old: head.minor == 0,
            keep_alive: head.keep_alive,
            ..Exchange::default()
        };
        let next = self.check_head(id, head, &mut exchange).unwrap_or_else(Next::Answer);
        match &next {
            // This response comes before the body is read, so another request can follow only if there is no body.
            Next::Answer(_) => exchange.keep_alive &= head.length == Some(0),
            Next::Wait(session) => exchange.session = Some(*session),
            Next::Body(session) => {
                exchange.session = Some(*session);
                // As in the reference, a type with parameters is not this type.
                exchange.binary = head.header("Content-Type") == Some(b"application/octet-stream");
                // Set for an empty body, too: the parser reports its end, and then the body is passed on.
                exchange.body = Body::Arriving(Vec::new());
                if head.expects_continue() {
                    self.net.push(id, Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n"));
                }
                self.net.set_phase(id, Some(self.now + self.config.body_timeout));
            }
            Next::WebSocket(..) => {}
        }
        let Some(connection) = self.net.get_mut(id) else { return };
        if let Next::WebSocket(session, response) = next {
            connection.protocol = Protocol::WebSocket { session, incoming: Incoming::default(), closing: None };
            return self.net.push(id, response);
        }
        if let Protocol::Http { exchange: current, .. } = &mut connection.protocol {
            *current = Some(Box::new(exchange));
        }
        if let Next::Answer(response) = next {
            self.respond(id, response);
        }
    }

    /// Checks TLS and origin, then routes the request. `Err` is the response if the request goes no further.
    fn check_head(&mut self, id: ConnId, head: &RequestHead, exchange: &mut Exchange) -> Result<Next, Response> {
        if let Some(response) = self.answer_plain_http(id, head) {
            return Err(response);
        }
        let path = self.strip_base(head);
        let is_engine = path.as_ref().is_ok_and(|path| is_engine_path(path) || self.app.plain_path() == Some(*path));
        exchange.cors = access::vary(&self.config).into();
        let checked = access::check_origin(&self.config, head, self.peer(id), is_engine);
        exchange.cors = checked.map_err(|page| self.refuse_origin(id, head, &page))?;
        if head.method == Method::Options && exchange.cors.starts_with("Access-Control") {
            return Err(answer_preflight(head));
        }
        self.route_request(id, head, path?)
    }

    /// Returns the response to a request without TLS if this server has a certificate; `None` if the request may go on.
    fn answer_plain_http(&mut self, id: ConnId, head: &RequestHead) -> Option<Response> {
        self.net.identity.as_ref()?;
        match &self.net.get(id)?.tls {
            None => Some(access::redirect_to_https(&self.config, head)),
            Some(tls) if !tls.is_plain() => None,
            // `salon --probe` runs on this machine and asks without TLS.
            Some(_) if head.method == Method::Get && head.path == "/healthz" => Some(self.answer_health().close()),
            Some(_) => {
                self.hit(Limit::PlainHttp, id);
                Some(Response::text(400, "this port expects HTTPS, not plain HTTP").close())
            }
        }
    }

    /// Returns the response to a page of a foreign origin, and logs the origin for operators who have forgotten to list it.
    fn refuse_origin(&mut self, id: ConnId, head: &RequestHead, page: &str) -> Response {
        let client = access::client_address(&self.config, head, self.peer(id));
        self.refused_origins.warn(self.now, format_args!("refused {client}: page of {page}; see --origins"));
        self.io.engine.out.refused[Refusal::Forbidden as usize] += 1;
        Refusal::Forbidden.response(ws::is_upgrade(head))
    }

    fn answer_with_asset(&self, path: &str, head: &RequestHead) -> Response {
        let allow = |status| Response::new(status).header("Allow", "GET, HEAD, OPTIONS");
        let page = self.page.as_ref().filter(|_| path == "/");
        match (page.or_else(|| assets::find(path)), head.method) {
            (_, Method::Other) => Response::new(501).close(),
            (None, Method::Options) if path == "*" => allow(204),
            (None, _) => Response::text(404, "not found"),
            (Some(asset), Method::Get | Method::Head) => {
                asset.answer(head.header("If-None-Match"), head.accepts_gzip(), &self.policy)
            }
            (Some(_), Method::Options) => allow(204),
            (Some(_), _) => allow(405),
        }
    }

    fn route_request(&mut self, id: ConnId, head: &RequestHead, path: &str) -> Result<Next, Response> {
        let is_plain = self.app.plain_path() == Some(path);
        if is_plain || is_engine_path(path) {
            let client = access::client_address(&self.config, head, self.peer(id));
            if self.config.password.is_some() && access::has_unknown_proxy(&self.config, head, client) {
                self.hit(Limit::Forwarded, id);
            }
            let busy = self.is_over_limit();
            return self.io.engine.handle_request(id, head, is_plain, client, busy);
        }
        let is_state =
            path == "/healthz" || path == "/metrics" && access::may_read_metrics(&self.config, head, self.peer(id));
        Ok(Next::Answer(match head.method {
            _ if !is_state => self.answer_with_asset(path, head),
            Method::Get | Method::Head if path == "/healthz" => self.answer_health(),
            Method::Get | Method::Head => Response::new(200).body(metrics::CONTENT_TYPE, self.metrics()),
            _ => Response::new(405).header("Allow", "GET, HEAD"),
        }))
    }

    /// Returns the path without `--base`. `Err` is the response to a path outside of it: a redirect if only the final slash
    /// is missing, else 404.
    fn strip_base<'h>(&self, head: &RequestHead<'h>) -> Result<&'h str, Response> {
        let base = &*self.config.base;
        match head.path.strip_prefix(base) {
            Some("") if !base.is_empty() => Err(Response::redirect(&format!("{base}/"), head.query)),
            Some(path) if path.starts_with('/') || path == "*" => Ok(path),
            // Platforms ask for these paths without the base.
            _ if matches!(head.path, "/healthz" | "/metrics" | "*") => Ok(head.path),
            _ => Err(Response::text(404, "not found")),
        }
    }

    /// Returns 200 while new clients are accepted, and 503 while the server stops.
    fn answer_health(&self) -> Response {
        match self.stopping {
            None => Response::text(200, "ok"),
            Some(_) => Response::new(503).header("Retry-After", "5").close(),
        }
    }

    /// Answers the current request of a connection, which then serves the next request or is closed.
    pub(super) fn respond(&mut self, id: ConnId, response: Response) {
        let Some(connection) = self.net.get_mut(id) else { return };
        let Protocol::Http { exchange, .. } = &mut connection.protocol else { return };
        // A head that could not be parsed has no exchange; the default exchange closes the connection.
        let exchange = exchange.take().unwrap_or_default();
        let keep_alive = exchange.keep_alive
            && !matches!(exchange.body, Body::Arriving(_))
            && !response.close
            && self.stopping.is_none();
        connection.idle = true;
        let more = !connection.input.is_empty() || connection.reading == ReadState::Ended;
        let (head, body) = response.encode(&exchange.cors, exchange.head_only, keep_alive, exchange.old);
        self.net.push(id, head);
        self.net.push(id, body);
        if !keep_alive {
            self.net.close(id);
        } else if more {
            // The next turn handles the requests pipelined behind this one, or the half-close.
            self.net.remember_unread(id);
        }
    }
}

/// Whether a path is that of Engine.IO: as in the reference, all below it that is not a file of the client.
fn is_engine_path(path: &str) -> bool {
    match path.strip_prefix(ENGINE_PATH) {
        Some("" | "/") => true,
        Some(rest) if rest.starts_with('/') => {
            let name = rest.rsplit('/').next().unwrap_or_default();
            !(name.ends_with(".map") || name.starts_with("socket.io.") && name.ends_with(".js"))
        }
        _ => false,
    }
}

/// Returns the response to the CORS preflight (Fetch standard) of a page with a listed origin.
fn answer_preflight(head: &RequestHead) -> Response {
    // Only tokens are sent back: other text could look like a part of this response.
    let headers: Vec<_> = head.tokens("Access-Control-Request-Headers").collect();
    Response::new(204)
        .header("Access-Control-Allow-Methods", "GET, POST")
        .header("Access-Control-Allow-Headers", &headers.join(", "))
        .header("Access-Control-Max-Age", "600")
}
