// Who is the client, and what has the browser asked, behind real proxies: HAProxy and nginx as README shows them, and both in a
// chain. Clients send headers of their own that say otherwise.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { after, test } from 'node:test';
import { makeCertificate } from '../lib/certificate.mjs';
import { startHaproxy } from '../lib/front.mjs';
import { startNginx } from '../lib/nginx.mjs';
import { metrics, start } from '../lib/server.mjs';

const options = { timeout: 60_000 };
const files = makeCertificate({ after });
const ca = readFileSync(files.ca);
const HANDSHAKE = '/socket.io/?EIO=4&transport=polling';

/** nginx as README shows it. Behind another proxy it must leave what that one says of host and scheme. */
function documented(server, behind = false) {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
  const [, text] = /^```nginx\n([^]*?)^```$/m.exec(readme) ?? assert.fail('README has no configuration of nginx');
  const lines = text.replace('http://127.0.0.1:3000', server.url).split('\n');
  const kept = behind ? lines.filter((line) => !/X-Forwarded-(Proto|Host)/.test(line)) : lines;
  assert.equal(lines.length - kept.length, behind ? 2 : 0);
  return kept.join('\n');
}

/** The status of the answer to a GET from this address; more than one line of a name is an array. */
async function ask(url, localAddress, headers = {}, path = HANDSHAKE) {
  const { get } = url.startsWith('https') ? https : http;
  const [response] = await once(get(url + path, { localAddress, headers, ca, agent: false }), 'response');
  response.resume();
  return response.statusCode;
}

const FORGED = [
  '203.0.113.1',
  ['203.0.113.2', '203.0.113.3, 203.0.113.4'],
  '127.0.0.1',
  '127.0.0.3, 127.0.0.1, 10.0.0.1',
  ['127.0.0.3', '127.0.0.3'],
  '',
  ',, ,',
  'unknown',
];

for (const [chain, proxies, build] of [
  ['HAProxy', 'yes', (t, server) => startHaproxy(t, `127.0.0.1:${server.port}`)],
  ['HAProxy', '127.0.0.1', (t, server) => startHaproxy(t, `127.0.0.1:${server.port}`)],
  ['nginx', 'yes', (t, server) => startNginx(t, documented(server), files)],
  ['nginx', '10.0.0.0/8,127.0.0.1/32', (t, server) => startNginx(t, documented(server), files)],
  ...['2', '127.0.0.1,10.0.0.0/8'].map((proxies) => [
    'HAProxy, nginx',
    proxies,
    async (t, server) => startHaproxy(t, `127.0.0.1:${(await startNginx(t, documented(server, true), files)).port} ssl verify none`),
  ]),
]) {
  test(`${chain}, --trust-proxy ${proxies}: a client is known by its own address`, options, async (t) => {
    const server = await start(t, { args: ['--trust-proxy', proxies, '--max-per-address', '3'] });
    const front = await build(t, server);
    for (const client of ['127.0.0.2', '127.0.0.3']) {
      for (let i = 0; i < 3; i++) assert.equal(await ask(front.url, client, { 'X-Forwarded-For': FORGED[0] }), 200, client);
      for (const forged of FORGED) assert.equal(await ask(front.url, client, { 'X-Forwarded-For': forged }), 503, `${client}: ${forged}`);
      assert.equal(await ask(front.url, client), 503, client);
    }
    await server.logs(/session refused: too many sessions from this address \(127\.0\.0\.2\)/);
    assert.equal((await metrics(server.url))('limits_total{limit="address_sessions"}'), 2 * FORGED.length + 2);
  });

  test(`${chain}, --trust-proxy ${proxies}: a page is known by the host and scheme that the browser has asked`, options, async (t) => {
    const server = await start(t, { args: ['--trust-proxy', proxies] });
    const front = await build(t, server);
    const other = front.url.startsWith('https') ? front.url.replace('https', 'http') : front.url.replace('http', 'https');
    for (const [headers, status] of [
      [{ Origin: front.url }, 200],
      [{ Origin: other }, 403],
      [{ Origin: front.url, 'X-Forwarded-Host': ['a.example', 'b.example'], 'X-Forwarded-Proto': new URL(other).protocol.slice(0, -1) }, 200],
      [{ Origin: other, 'X-Forwarded-Proto': new URL(other).protocol.slice(0, -1) }, 403],
      [{ Origin: other, 'X-AppService-Proto': new URL(other).protocol.slice(0, -1), 'X-ARR-SSL': 'x' }, 403],
      [{ Origin: 'https://a.example', 'X-Forwarded-Host': 'a.example', 'X-Forwarded-Proto': 'https' }, 403],
      [{ Origin: 'https://a.example', 'X-Original-Host': 'a.example', 'X-AppService-Proto': 'https' }, 403],
      [{ Origin: 'http://a.example', 'X-Forwarded-Host': ['a.example', 'a.example'] }, 403],
    ]) {
      assert.equal(await ask(front.url, '127.0.0.2', headers), status, JSON.stringify(headers));
    }
    await server.logs(/refused 127\.0\.0\.2: page of origin "https?:\/\/127\.0\.0\.1:\d+", host "127\.0\.0\.1:\d+"/);
    assert.deepEqual([await ask(front.url, '127.0.0.1', {}, '/metrics'), await ask(server.url, '127.0.0.1', {}, '/metrics')], [404, 200]);
  });
}

test('what a listed proxy says is believed, what any other says is not', options, async (t) => {
  for (const [source, seen] of [['127.0.0.8', '127.0.0.8'], ['127.0.0.9', '127.0.0.2']]) {
    const server = await start(t, { args: ['--trust-proxy', '10.0.0.0/8,127.0.0.9'] });
    const front = await startHaproxy(t, `127.0.0.1:${server.port} source ${source}`);
    const headers = { Origin: 'https://a.example', 'X-Forwarded-For': '203.0.113.1' };
    assert.equal(await ask(front.url, '127.0.0.2', headers), 403);
    await server.logs(new RegExp(`refused ${seen}: page of origin "https://a\\.example"`));
  }
});

test('nginx that adds no header does not make the metrics public', options, async (t) => {
  const server = await start(t);
  const text = `server {
    listen 443 ssl;
    ssl_certificate fullchain.pem;
    ssl_certificate_key privkey.pem;
    location / { proxy_pass ${server.url}; }
  }`;
  const nginx = await startNginx(t, text, files);
  assert.equal(await ask(nginx.url, '127.0.0.2', {}, '/healthz'), 200);
  assert.equal(await ask(nginx.url, '127.0.0.2', {}, '/metrics'), 404);
  assert.equal(await ask(server.url, '127.0.0.1', {}, '/metrics'), 200);
});
