// A small reverse proxy that serves a server below a prefix, as a web server in front of salon may do.
import { once } from 'node:events';
import http from 'node:http';

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
    const inner = forward(request).end();
    inner.on('error', () => socket.destroy());
    inner.on('response', () => socket.destroy());
    inner.on('upgrade', (answer, other, rest) => {
      const head = answer.rawHeaders.map((text, i) => text + (i % 2 ? '\r\n' : ': ')).join('');
      socket.write(`HTTP/1.1 101 Switching Protocols\r\n${head}\r\n`);
      socket.write(rest);
      for (const [from, to] of [[socket, other], [other, socket]]) from.pipe(to).on('error', () => from.destroy());
    });
  });
  t.after(() => {
    proxy.close();
    open.forEach((socket) => socket.destroy());
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  return `http://127.0.0.1:${proxy.address().port}${prefix}/`;
}
