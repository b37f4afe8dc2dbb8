// What stands between a client and the server: a small reverse proxy that serves the server below a prefix, as a web
// server in front of salon may do; and a wire that can break.
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';

/** Answers `prefix/...` with what `target` says to `/...`, upgrades included. Ends with the test. Gives the new URL. */
export async function below(t, prefix, target) {
  const forward = (request) =>
    http.request(target + request.url.slice(prefix.length), { method: request.method, headers: request.headers });
  const ours = (request) => request.url.startsWith(`${prefix}/`);
  const proxy = http.createServer((request, response) => {
    if (!ours(request)) return response.writeHead(404).end();
    const inner = forward(request);
    inner.on('response', (answer) => answer.pipe(response.writeHead(answer.statusCode, answer.headers)));
    inner.on('error', () => response.destroy());
    response.on('close', () => inner.destroy());
    request.pipe(inner);
  });
  const open = new Set();
  proxy.on('connection', (socket) => open.add(socket.on('close', () => open.delete(socket))));
  proxy.on('upgrade', (request, socket) => {
    if (!ours(request)) return socket.destroy();
    passUpgrade(forward(request).end(), socket);
  });
  t.after(() => {
    proxy.close();
    open.forEach((socket) => socket.destroy());
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  return `http://127.0.0.1:${proxy.address().port}${prefix}/`;
}

/** Hands what `inner` is answered with, and all that follows, to `socket`; if it is refused, `refused` may know better. */
export function passUpgrade(inner, socket, refused = () => false) {
  const refuse = (status) => refused() || socket.end(`HTTP/1.1 ${status} refused\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
  inner.on('error', () => refuse(502));
  inner.on('response', (answer) => answer.resume() && refuse(answer.statusCode));
  inner.on('upgrade', (answer, other, rest) => {
    const head = answer.rawHeaders.map((text, i) => text + (i % 2 ? '\r\n' : ': ')).join('');
    socket.write(`HTTP/1.1 101 Switching Protocols\r\n${head}\r\n`);
    socket.write(rest);
    for (const [from, to] of [[socket, other], [other, socket]]) {
      from.pipe(to);
      from.on('error', () => from.destroy()).on('close', () => to.destroy());
    }
  });
}

/**
 * Resets a connection. Node (20 at least) cannot reset one whose end it is telling the kernel in this very turn: it would keep
 * the descriptor, and when the process is to end, spin for ever.
 */
export function abort(socket) {
  if (socket.writableEnded && !socket.writableFinished) socket.destroy();
  else socket.resetAndDestroy();
}

/**
 * A TCP proxy whose wire can be broken. Ends with the test.
 *
 * - `cut()`: every connection is reset, new ones too, until `heal()`.
 * - `silence()`: every connection is dead from here on, and so are new ones until `heal()`: they stay open, and what
 *   comes on them, an end included, is swallowed; `swallowed()` is what the server has written there.
 * - `heal()`: new connections are forwarded. The dead stay dead, as if the address of the client had changed; but those
 *   that came meanwhile are reset, so that a client tries again at once and not after a time-out of its own.
 */
export async function wire(t, port) {
  const links = new Set();
  const wakers = new Set();
  let state = 'whole';
  const swallowed = () => [...links].map((link) => link.swallowed).join('');

  /** Carries bytes and ends from one socket of a link to the other, as long as it lives. */
  function carry(link, from, to, fromServer) {
    from.on('data', (bytes) => {
      if (!link.dead) to.write(bytes);
      else if (fromServer) link.swallowed += bytes.toString('latin1');
      wakers.forEach((wake) => wake(bytes, fromServer));
    });
    from.on('end', () => link.dead || to.end());
    from.on('error', () => link.dead || abort(to));
    from.on('close', () => from.destroyed && to.destroyed && links.delete(link));
  }

  const proxy = net.createServer({ allowHalfOpen: true, noDelay: true }, (outer) => {
    if (state === 'cut') return outer.on('error', () => {}).resetAndDestroy();
    const link = { dead: state === 'silent', outer, inner: undefined, swallowed: '' };
    links.add(link);
    if (link.dead) {
      outer.on('close', () => links.delete(link));
      return outer.on('error', () => {}).on('data', (bytes) => wakers.forEach((wake) => wake(bytes, false)));
    }
    link.inner = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    carry(link, outer, link.inner, false);
    carry(link, link.inner, outer, true);
  });
  const reset = () => {
    for (const { outer, inner } of links) [outer, inner].forEach((socket) => socket && abort(socket));
    links.clear();
  };
  t.after(() => {
    proxy.close();
    state = 'cut';
    reset();
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const until = (check) =>
    new Promise((resolve) => {
      const wake = (...seen) => check(...seen) && wakers.delete(wake) && resolve();
      wakers.add(wake);
      wake('', false);
    });

  return {
    url: `http://127.0.0.1:${proxy.address().port}`,
    cut() {
      state = 'cut';
      reset();
    },
    silence() {
      state = 'silent';
      for (const link of links) link.dead = true;
    },
    heal() {
      state = 'whole';
      for (const link of links) if (!link.inner) abort(link.outer);
    },
    swallowed,
    /** Waits until the server has written this to the dead. */
    swallows: (text) => until(() => swallowed().includes(text)),
    /** Waits until a client sends this. */
    asks: (text) => until((bytes, fromServer) => !fromServer && bytes.includes(text)),
    /** Waits until the server has closed all connections that are dead. */
    async buried() {
      const ends = [...links].filter(({ dead, inner }) => dead && inner && !inner.readableEnded && !inner.destroyed);
      await Promise.all(ends.map(({ inner }) => once(inner, 'end')));
    },
  };
}
