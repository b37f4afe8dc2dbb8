// A front end as Azure App Service has one before its instances (ARR): made from its documentation and from requests that
// others have recorded, not from Azure.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { WebSocket, WebSocketServer } from 'ws';
import { passUpgrade } from './proxy.mjs';

/**
 * Serves what `servers` (ports) answer, over TLS. A session sticks to its instance by cookie; who has none, or that of an
 * instance that is gone, goes to the next, and a session that one refuses is offered to the other. Ends with the test.
 *
 * - `websockets`: more are refused, as by the platform.
 * - `iis`: WebSockets end here and are made anew towards the server, in fragments, as IIS's modules do.
 * - `first`: who has no cookie goes to the first server that takes sessions, not to the next in turn.
 * - `rewrites`: the server is called by another name than the browser has asked.
 *
 * @returns `url`; `refused` and `failed`: how many WebSockets were beyond the limit, and how many answers were 500 or above.
 */
export async function frontEnd(t, servers, { cert, key, websockets = Infinity, iis = false, first = false, rewrites = false }) {
  const instances = servers.map((port) => ({ port, name: randomBytes(32).toString('hex') }));
  const front = { refused: 0, failed: 0 };
  const open = new Set();
  const reframer = new WebSocketServer({ noServer: true, perMessageDeflate: false });
  let turn = 0;
  let upgraded = 0;

  /** The instances to ask, best first. */
  function candidates(request) {
    const named = instances.find(({ name }) => request.headers.cookie?.includes(`ARRAffinity=${name}`));
    const begin = named ? instances.indexOf(named) : first ? 0 : turn++;
    return instances.map((_, i) => instances[(begin + i) % instances.length]);
  }

  function headers(request) {
    const { remoteAddress, remotePort } = request.socket;
    const { connection, host, 'x-forwarded-for': before, ...kept } = request.headers;
    const client = `${remoteAddress}:${remotePort}`;
    return {
      ...kept,
      Host: rewrites ? 'instance.internal' : host,
      'Max-Forwards': '10',
      'X-ARR-LOG-ID': randomBytes(16).toString('hex'),
      'CLIENT-IP': client,
      'X-Client-IP': remoteAddress,
      'X-Client-Port': String(remotePort),
      'DISGUISED-HOST': host,
      'X-SITE-DEPLOYMENT-ID': 'salon',
      'WAS-DEFAULT-HOSTNAME': 'salon.azurewebsites.net',
      ...(rewrites && { 'X-Original-Host': host }),
      'X-Forwarded-Proto': 'https',
      'X-AppService-Proto': 'https',
      'X-ARR-SSL': '2048|256|CN=Microsoft Azure TLS Issuing CA 01|CN=*.azurewebsites.net',
      'X-Forwarded-TlsVersion': '1.3',
      'X-Forwarded-For': before ? `${before}, ${client}` : client,
      'X-Original-URL': request.url,
      'X-WAWS-Unencoded-URL': request.url,
    };
  }

  function affinity(request, { name }) {
    if (request.headers.cookie?.includes(`ARRAffinity=${name}`)) return [];
    const attributes = `Path=/; HttpOnly; Secure; Domain=${request.headers.host.split(':')[0]}`;
    return [`ARRAffinity=${name}; ${attributes}`, `ARRAffinitySameSite=${name}; ${attributes}; SameSite=None`];
  }

  const forward = ({ port }, { method, url }, fields) => http.request({ host: '127.0.0.1', port, method, path: url, headers: fields });

  function relay(request, response, [instance, ...others], fields = headers(request)) {
    const begins = request.method === 'GET' && !request.url.includes('sid=');
    const inner = forward(instance, request, fields);
    inner.on('response', (answer) => {
      if (answer.statusCode === 503 && begins && others.length) {
        answer.resume();
        return relay(request, response, others, fields);
      }
      if (answer.statusCode >= 500) front.failed += 1;
      const { connection, ...kept } = answer.headers;
      answer.pipe(response.writeHead(answer.statusCode, { ...kept, 'Set-Cookie': affinity(request, instance) }));
    });
    inner.on('error', ({ code }) => {
      if (code === 'ECONNREFUSED' && others.length) return relay(request, response, others, fields);
      response.destroy();
    });
    response.on('close', () => inner.destroy());
    request.pipe(inner);
  }

  /** One WebSocket here, one there, and the messages in pieces between them. */
  function reframe(request, socket, head, { port }) {
    const names = Object.entries(headers(request)).filter(([name]) => !/^(sec-websocket|upgrade|connection)/i.test(name));
    const inner = new WebSocket(`ws://127.0.0.1:${port}${request.url}`, { headers: Object.fromEntries(names), perMessageDeflate: false });
    inner.on('unexpected-response', (_, answer) => socket.end(`HTTP/1.1 ${answer.statusCode} refused\r\nContent-Length: 0\r\n\r\n`));
    inner.on('error', () => socket.destroy());
    inner.pause();
    inner.once('open', () =>
      reframer.handleUpgrade(request, socket, head, (outer) => {
        for (const [from, to] of [[outer, inner], [inner, outer]]) {
          from.on('message', (data, binary) => {
            const half = data.length >> 1;
            to.send(data.subarray(0, half), { binary, fin: false });
            to.send(data.subarray(half), { binary, fin: true });
          });
          from.on('close', () => to.terminate()); // no code crosses
        }
        inner.pong(); // as WinHTTP does to keep a connection alive
        inner.resume();
      }),
    );
  }

  const server = https.createServer({ cert: readFileSync(cert), key: readFileSync(key) });
  server.on('request', (request, response) => relay(request, response, candidates(request)));
  server.on('connection', (socket) => open.add(socket.on('close', () => open.delete(socket))));
  server.on('upgrade', (request, socket, head) => {
    if (upgraded >= websockets) {
      front.refused += 1;
      return socket.end('HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
    }
    upgraded += 1;
    socket.on('close', () => (upgraded -= 1)).on('error', () => {});
    const chosen = candidates(request);
    if (iis) return reframe(request, socket, head, chosen[0]);
    const fields = { ...headers(request), Connection: 'Upgrade' };
    const attempt = ([instance, ...others]) => {
      const again = () => others.length > 0 && !request.url.includes('sid=') && (attempt(others), true);
      passUpgrade(forward(instance, request, fields).end(), socket, again);
    };
    attempt(chosen);
  });
  t.after(() => {
    server.close();
    open.forEach((socket) => socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  front.url = `https://127.0.0.1:${server.address().port}`;
  return front;
}
