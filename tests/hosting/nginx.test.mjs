// nginx with TLS in front, Chromium on https: and wss:. The configuration is README's.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { hears, join, launch, open, say } from '../lib/browser.mjs';
import { makeCertificate } from '../lib/certificate.mjs';
import { startNginx } from '../lib/nginx.mjs';
import { freePort, metrics, start } from '../lib/server.mjs';

const options = { timeout: 60_000 };
const files = makeCertificate({ after });
const browser = await launch({ after }, files);

/** README's configuration, for this path and this address of salon. */
function documented(path, target) {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
  const [, text] = /^```nginx\n([^]*?)^```$/m.exec(readme) ?? assert.fail('README has no configuration of nginx');
  for (const part of ['location / {', 'http://127.0.0.1:3000;']) assert.ok(text.includes(part), part);
  return text.replace('location /', `location ${path}`).replace('http://127.0.0.1:3000', target);
}

/** nginx that knows nothing of salon but its address. */
const ignorant = (target, more = '') => `server {
  listen 443 ssl;
  ssl_certificate fullchain.pem;
  ssl_certificate_key privkey.pem;
  location / { ${more} proxy_pass ${target}; }
}`;

for (const [what, path, args, inner] of [
  ['at the root', '/', [], ''],
  ['at a path', '/rooms/chat/', ['--base', '/rooms/chat'], ''],
  ['at a path that nginx cuts off', '/rooms/chat/', [], '/'],
]) {
  test(`a page on https: chats over wss:, ${what}`, options, async (t) => {
    const server = await start(t, { args: ['--trust-proxy', ...args] });
    const nginx = await startNginx(t, documented(path, server.url + inner), files);
    const url = nginx.url + path;
    const ada = await open(t, browser, url);
    const bob = await open(t, browser, url, { transports: 'polling only' });
    for (const [page, name] of [[ada, 'Ada'], [bob, 'Bob']]) await join(page, name);
    await say(ada, 'over TLS');
    await hears(bob, 'over TLS');
    await say(bob, 'indeed');
    await hears(ada, 'indeed');
    assert.deepEqual([[...ada.requests].sort(), [...bob.requests]], [['polling', 'websocket'], ['polling']], path);
    assert.equal(ada.sockets.length, 1);
    assert.ok(ada.sockets[0].startsWith(`${url.replace('https:', 'wss:')}socket.io/?`), ada.sockets[0]);
    assert.doesNotMatch(server.log(), /refused/);
    // Whose request it was, nginx has said: this one is from elsewhere.
    const { status } = await fetch(`${server.url}/metrics`, { headers: { 'X-Forwarded-For': '192.0.2.1' } });
    assert.equal(status, 404);
  });
}

test('nginx rewrites Host by default: nobody gets in, the log says why, and either line of README mends it', options, async (t) => {
  const port = await freePort();
  const run = async (args, configuration = ignorant) => {
    const server = await start(t, { port, args });
    const nginx = await startNginx(t, configuration(server.url), files);
    return [server, await open(t, browser, nginx.url), nginx];
  };
  const [server, page, nginx] = await run([]);
  const said = await server.logs(/WARN/);
  assert.ok(said.includes(`refused 127.0.0.1: page of origin "${nginx.url}", host "127.0.0.1:${port}"`), said);
  assert.match(said, /--origins/);
  // The page itself came, and a session began: a GET of the page's own has no Origin. Its first POST has one.
  assert.equal(await page.title(), 'salon');
  assert.equal((await metrics(server.url))('sockets{state="connected"}'), 0);
  await server.kill();

  // The first way is nginx's, and enough for polling.
  const [first, ada] = await run([], (target) => ignorant(target, 'proxy_set_header Host $http_host;'));
  await join(ada, 'Ada');
  assert.equal((await metrics(first.url))('sessions{transport="polling"}'), 1);
  assert.deepEqual([...ada.requests], ['polling']);
  assert.doesNotMatch(first.log(), /refused/);
  await first.kill();

  // The second is salon's; nginx must be known beforehand.
  const next = await freePort();
  const second = await start(t, { port, args: ['--origins', `https://127.0.0.1:${next}`] });
  const known = await startNginx(t, ignorant(second.url), files, next);
  await join(await open(t, browser, known.url), 'Bob');
  assert.doesNotMatch(second.log(), /refused/);
});
