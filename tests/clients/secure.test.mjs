// The official client over HTTPS and WSS, as salon serves them itself, and the port that leads there.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import https from 'node:https';
import { test } from 'node:test';
import { makeCertificate } from '../lib/certificate.mjs';
import { Chatter, TRANSPORTS } from '../lib/chatter.mjs';
import { start } from '../lib/server.mjs';

const options = { timeout: 60_000 };

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  test(`a chat over TLS: ${name}`, options, async (t) => {
    const files = makeCertificate(t);
    const server = await start(t, { args: ['--tls-cert', files.cert, '--tls-key', files.key] });
    const url = server.url.replace('http:', 'https:');
    const ca = readFileSync(files.ca);
    const ada = new Chatter(t, url, { transports, ca });
    const bob = new Chatter(t, url, { transports, ca });
    await bob.connected();
    assert.deepEqual(await ada.login('Ada'), { numUsers: 1 });
    assert.deepEqual(await bob.event('user joined'), { username: 'Ada', numUsers: 1 });
    // Small records, and some of more than one.
    const texts = Array.from({ length: 100 }, (_, i) => `${i} `.padEnd(i % 10 ? 20 : 8_000, 'é'));
    texts.forEach((text) => ada.socket.emit('new message', text));
    await bob.hears(() => bob.from('Ada').length === texts.length, 'all of Ada');
    assert.deepEqual(bob.from('Ada').map((text) => text.trim()), texts.map((text) => text.trim()));
  });
}

test('a redirect leads a browser to the page', options, async (t) => {
  const files = makeCertificate(t);
  const server = await start(t, { args: ['--tls-cert', files.cert, '--tls-key', files.key, '--redirect-http', '0'] });
  const [, address] = (await server.logs(/ redirects there/)).match(/http:\/\/(\S+) redirects/);
  const answer = await fetch(`http://${address}/main.js?x=1`, { redirect: 'manual' });
  assert.equal(answer.status, 308);
  assert.equal(answer.headers.get('location'), `https://127.0.0.1:${server.port}/main.js?x=1`);
  const status = await new Promise((resolve, reject) => {
    const request = https.get(answer.headers.get('location'), { ca: readFileSync(files.ca) }, (page) => resolve(page.statusCode));
    request.on('error', reject);
  });
  assert.equal(status, 200);
});
