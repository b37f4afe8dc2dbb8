// rediss://: with an authority made for the test, trusted or not.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeCertificate } from '../lib/certificate.mjs';
import { Chatter } from '../lib/chatter.mjs';
import { startRedis } from '../lib/redis.mjs';
import { freePort, start } from '../lib/server.mjs';

const options = { timeout: 60_000 };

/** A Redis that speaks only TLS and wants a password. */
async function startTlsRedis(t, { ca, cert, key }) {
  const port = await freePort();
  const args = ['--tls-port', String(port), '--tls-cert-file', cert, '--tls-key-file', key, '--tls-ca-cert-file', ca];
  args.push('--tls-auth-clients', 'no', '--requirepass', 'a secret@');
  return startRedis(t, { port, args, scheme: 'rediss', login: ':a%20secret%40@' });
}

test('two servers share a chat over TLS', options, async (t) => {
  const files = makeCertificate(t);
  const redis = await startTlsRedis(t, files);
  const servers = [];
  for (const url of [redis.url, redis.url.replace('127.0.0.1', 'localhost')]) {
    const server = await start(t, { env: { REDIS_URL: url, SALON_REDIS_CA: files.ca } });
    await server.logs(/connected to rediss:/);
    assert.doesNotMatch(server.log(), /secret/);
    servers.push(server);
  }
  const [ada, bob] = servers.map((server) => new Chatter(t, server.url));
  await bob.connected();
  await ada.login('Ada');
  assert.deepEqual(await bob.event('user joined'), { username: 'Ada', numUsers: 1 });
  // More than one record, and more than the kernel takes at once.
  const texts = Array.from({ length: 500 }, (_, i) => `${i} `.padEnd(7_000, 'é'));
  texts.forEach((text) => ada.socket.emit('new message', text));
  await bob.hears(() => bob.from('Ada').length === texts.length, 'all of Ada');
  assert.deepEqual(bob.from('Ada').map((text) => text.trim()), texts.map((text) => text.trim()));
});

for (const [name, env, pattern] of [
  ['an authority that nobody knows', {}, /no connection to rediss:.*certificate.*UnknownIssuer/],
  ['another authority', { other: true }, /no connection to rediss:.*certificate/],
  ['a certificate for another name', { names: 'DNS:example.org' }, /no connection to rediss:.*certificate.*name/i],
  ['a certificate that has expired', { days: -1 }, /no connection to rediss:.*certificate.*expired/i],
]) {
  test(`not trusted: ${name}`, options, async (t) => {
    const files = makeCertificate(t, env);
    const redis = await startTlsRedis(t, files);
    const ca = env.other ? makeCertificate(t).ca : name.includes('nobody') ? undefined : files.ca;
    const server = await start(t, { env: { REDIS_URL: redis.url, ...(ca && { SALON_REDIS_CA: ca }) } });
    await server.logs(pattern);
    assert.doesNotMatch(server.log(), /connected to rediss/);
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    assert.match(metrics, /salon_redis_up 0/);
    // The chat goes on here.
    assert.deepEqual(await new Chatter(t, server.url).login('Ada'), { numUsers: 1 });
  });
}

test('a file without certificates is refused at the start', options, async (t) => {
  const { key } = makeCertificate(t);
  const env = { REDIS_URL: 'rediss://localhost:1', SALON_REDIS_CA: key };
  await assert.rejects(start(t, { env }), /salon: --redis-ca .*key\.pem: no certificate/);
  env.SALON_REDIS_CA = '/no/such/file';
  await assert.rejects(start(t, { env }), /salon: --redis-ca \/no\/such\/file: /);
});
