//! HTTP in the turn of the loop: requests in, answers out. Part of `server`.

use super::{Protocol, Server, access};
use crate::base::limits::Limit;
use crate::base::slab::{ConnId, SessionId};
use crate::engineio::{Next, Refusal};
use crate::http::{self, Framing, Method, Part, RequestHead, Response, assets};
use crate::socketio::App;
use crate::{base::metrics, ws};
use bytes::Bytes;

/// The path of Engine.IO. Official clients use it unless told otherwise.
const ENGINE_PATH: &str = "/socket.io/";
/// A request between its head and its answer.
pub(super) struct Exchange {
    pub(super) reply: Reply,
    /// The session that the connection belongs to until it is answered.
    pub(super) session: SessionId,
    /// The body of a POST, as far as it has come; `None` if there is nothing more to come.
    pub(super) body: Option<Vec<u8>>,
    /// `application/octet-stream`.
    pub(super) binary: bool,
    /// The form of a JSONP client.
    pub(super) form: bool,
}

/// How a request is answered; what could not be read is answered as by default.
#[derive(Default)]
pub(super) struct Reply {
    /// HEAD: the answer has no body.
    head_only: bool,
    /// HTTP/1.0.
    old: bool,
    keep_alive: bool,
    /// Header lines that let a listed origin read the answer.
    cors: Box<str>,
}

impl<A: App> Server<A> {
    /// One step of HTTP; `None` if the bytes have to wait.
    pub(super) fn http(&mut self, id: ConnId, bytes: &[u8]) -> Option<usize> {
        let Protocol::Http { parser, exchange } = &mut self.net.get_mut(id)?.protocol else { return None };
        if exchange.as_ref().is_some_and(|exchange| exchange.body.is_none()) {
            return None;
        }
        let mut room = http::ROOM;
        let (count, part) = match parser.next(bytes, &mut room, &self.config) {
            Ok(next) => next?,
            Err(error) => {
                self.fail(id, error);
                return Some(bytes.len());
            }
        };
        match (part, exchange.as_deref_mut()) {
            (Part::Head(head), _) => self.head(id, &head),
            (Part::Data(data), Some(Exchange { body: Some(body), .. })) => body.extend_from_slice(data),
            (Part::End, Some(exchange)) => {
                let (session, binary, form) = (exchange.session, exchange.binary, exchange.form);
                let body = exchange.body.take().unwrap_or_default();
                self.net.set_phase(id, None);
                self.io.engine.receive_body(id, session, body.into(), binary, form);
            }
            // Of a request that was answered by its head.
            (Part::Data(_) | Part::End, _) => {}
        }
        Some(count)
    }

    /// The bytes are no HTTP, or too late: they get an answer that says so, and the connection ends.
    pub(super) fn fail(&mut self, id: ConnId, error: http::Error) {
        log::debug!("{id:?}: {} {}", error.status, error.reason);
        let session = self.net.get(id).and_then(|connection| connection.protocol.session());
        match error.status {
            408 if session.is_some() => self.hit(Limit::BodyTime, id),
            408 => self.hit(Limit::HeadTime, id),
            413 => self.hit(Limit::Payload, id),
            431 => self.hit(Limit::Head, id),
            _ => {}
        }
        self.respond(id, Response::new(error.status).body("text/plain", error.reason).close());
        if let Some(session) = session {
            self.io.engine.connection_lost(id, session);
        }
    }

    /// A request head: everything that can be judged without the body is judged here.
    pub(super) fn head(&mut self, id: ConnId, head: &RequestHead) {
        self.net.set_phase(id, None);
        let mut reply = Reply {
            head_only: head.method == Method::Head,
            old: head.minor == 0,
            keep_alive: head.keep_alive && self.stopping.is_none(),
            cors: Box::default(),
        };
        let next = match (self.in_clear(id, head), access::check_origin(&self.config, head)) {
            (Some(answer), _) => Next::Answer(answer),
            (None, Err(page)) => Next::Answer(self.refuse(id, head, &page)),
            (None, Ok(cors)) => {
                reply.cors = cors;
                self.route_request(id, head, !reply.cors.is_empty())
            }
        };
        let (session, body) = match next {
            Next::Answer(response) => {
                reply.keep_alive &= head.framing == Framing::Length(0);
                return self.answer(id, reply, response);
            }
            Next::WebSocket(session, response) => {
                if let Some(connection) = self.net.get_mut(id) {
                    connection.protocol = Protocol::WebSocket { session, incoming: ws::Incoming::default() };
                }
                return self.net.push(id, response);
            }
            Next::Wait(session) => (session, None),
            // Of an empty body too the parser tells the end.
            Next::Body(session) => (session, Some(Vec::new())),
        };
        if body.is_some() {
            if head.expect_continue {
                self.net.push(id, Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n"));
            }
            self.net.set_phase(id, Some(self.now + self.config.body_timeout));
        }
        let content_type = head.header("Content-Type").unwrap_or_default();
        let binary = content_type.starts_with(b"application/octet-stream");
        let form = content_type.starts_with(b"application/x-www-form-urlencoded");
        if let Some(Protocol::Http { exchange, .. }) = self.net.get_mut(id).map(|connection| &mut connection.protocol) {
            *exchange = Some(Box::new(Exchange { reply, session, body, binary, form }));
        }
    }

    /// The answer to a request that comes without TLS where that is spoken.
    pub(super) fn in_clear(&mut self, id: ConnId, head: &RequestHead) -> Option<Response> {
        self.net.identity.as_ref()?;
        match &self.net.get(id)?.tls {
            None => Some(access::to_https(&self.config, head)),
            // `--probe` asks like that; a certificate would prove nothing to it.
            Some(tls) if tls.is_plain() && head.method == Method::Get && head.path == "/healthz" => {
                Some(self.health().close())
            }
            Some(tls) if tls.is_plain() => {
                self.hit(Limit::PlainHttp, id);
                Some(Response::new(400).body("text/plain", "HTTPS is spoken here, not plain HTTP").close())
            }
            Some(_) => None,
        }
    }

    /// Whether new clients may come.
    pub(super) fn health(&self) -> Response {
        match self.stopping {
            None => Response::new(200).body("text/plain", "ok"),
            Some(_) => Response::new(503).header("Retry-After", "5").close(),
        }
    }

    /// A page from elsewhere: says so in the log, where somebody looks who has forgotten to list it.
    pub(super) fn refuse(&mut self, id: ConnId, head: &RequestHead, page: &str) -> Response {
        let client = access::client(&self.config, head, self.peer(id));
        self.refused_origins.warn(self.now, format_args!("refused {client}: page of {page}; see --origins"));
        self.io.engine.out.counters.refused[Refusal::Forbidden as usize] += 1;
        Refusal::Forbidden.response(ws::is_upgrade(head))
    }

    /// Finds out who answers a request.
    pub(super) fn route_request(&mut self, id: ConnId, head: &RequestHead, listed: bool) -> Next {
        // A preflight asks for leave, not for anything to be done (Fetch standard, CORS-preflight request).
        if head.method == Method::Options && listed {
            let wanted = head.header("Access-Control-Request-Headers").unwrap_or_default();
            let response = Response::new(204)
                .header("Access-Control-Allow-Methods", "GET, POST")
                .header("Access-Control-Allow-Headers", str::from_utf8(wanted).unwrap_or_default())
                .header("Access-Control-Max-Age", "600");
            return Next::Answer(response);
        }
        // Probes of the platform know nothing of a base.
        let path = match head.path.strip_prefix(&*self.config.base) {
            Some("") if !self.config.base.is_empty() => {
                let query = if head.query.is_empty() { String::new() } else { format!("?{}", head.query) };
                let location = format!("{}/{query}", self.config.base);
                return Next::Answer(Response::new(308).header("Location", &location));
            }
            Some(path) if path.starts_with('/') || path == "*" => path,
            _ if matches!(head.path, "/healthz" | "/metrics" | "*") => head.path,
            _ => return Next::Answer(Response::new(404).body("text/plain", "not found")),
        };
        match path {
            "/healthz" => return Next::Answer(self.health()),
            "/metrics" if access::may_read_metrics(&self.config, head, self.peer(id)) => {
                let text = self.metrics();
                return Next::Answer(Response::new(200).body(metrics::CONTENT_TYPE, text));
            }
            _ => {}
        }
        let plain = self.app.plain_path() == Some(path);
        if plain || path == ENGINE_PATH {
            let client = access::client(&self.config, head, self.peer(id));
            let busy = self.net.queued() + self.io.engine.out.pool.bytes > self.config.max_queued;
            return self.io.engine.handle_request(id, head, plain, client, busy);
        }
        let allow = |status| Response::new(status).header("Allow", "GET, HEAD, OPTIONS");
        Next::Answer(match (assets::find(path), head.method) {
            (_, Method::Other) => Response::new(501).close(),
            (None, Method::Options) if path == "*" => allow(204),
            (None, _) => Response::new(404).body("text/plain", "not found"),
            (Some(asset), Method::Get | Method::Head) => {
                asset.answer(head.header("If-None-Match"), head.accepts_gzip())
            }
            (Some(_), Method::Options) => allow(204),
            (Some(_), _) => allow(405),
        })
    }

    /// Answers the request that a connection waits with.
    pub(super) fn respond(&mut self, id: ConnId, response: Response) {
        if let Some(Protocol::Http { exchange, .. }) = self.net.get_mut(id).map(|connection| &mut connection.protocol) {
            let mut reply = Reply::default();
            if let Some(exchange) = exchange.take() {
                reply = exchange.reply;
                reply.keep_alive &= exchange.body.is_none();
            }
            self.answer(id, reply, response);
        }
    }

    /// Sends an answer. What follows is the next request, or the end.
    pub(super) fn answer(&mut self, id: ConnId, reply: Reply, response: Response) {
        let keep_alive = reply.keep_alive && !response.close;
        let (head, body) = response.encode(&reply.cors, reply.head_only, keep_alive, reply.old);
        self.net.push(id, head);
        self.net.push(id, body);
        if !keep_alive {
            return self.net.close(id);
        }
        let Some(connection) = self.net.get(id) else { return };
        let (kept, ended) = (!connection.input.is_empty(), connection.ended);
        match kept {
            true => self.net.await_head(id, self.now),
            false => self.net.set_phase(id, Some(self.now + self.config.idle_timeout)),
        }
        if kept || ended {
            // What was sent behind the request is next.
            self.net.remember_unread(id);
        }
    }
}
