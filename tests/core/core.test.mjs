// The small core, without Redis and TLS: it builds, serves, and has as many crates as README says. (Its lines: tests/pure/readme.rs.)
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Chatter } from '../lib/chatter.mjs';
import { start } from '../lib/server.mjs';

const top = fileURLToPath(new URL('../..', import.meta.url));
// A directory of its own, or the other tests would find this program in the place of theirs.
const TARGET = 'target/core';
const readme = readFileSync(path.join(top, 'README.md'), 'utf8');
const crates = Number(/small core without Redis and TLS:\s+(\d+)\s+crates/.exec(readme)[1]);

function cargo(...args) {
  const { status, stdout, stderr } = spawnSync('cargo', args, { cwd: top, encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return stdout;
}

test('it builds, serves, and says what it lacks', { timeout: 300_000 }, async (t) => {
  cargo('build', '--locked', '--no-default-features', '--target-dir', TARGET);
  const bin = `${TARGET}/debug/salon`;
  const server = await start(t, { bin });
  assert.deepEqual(await new Chatter(t, server.url).login('Ada'), { numUsers: 1 });
  await assert.rejects(start(t, { bin, args: ['--redis', 'redis://localhost'] }), /built without the feature redis/);
  await assert.rejects(start(t, { bin, args: ['--redirect-http', '0'] }), /means nothing without --tls-cert/);
});

test('its crates, as README counts them', () => {
  const args = ['--locked', '--no-default-features', '--edges', 'normal', '--prefix', 'none', '--format', '{p}'];
  const tree = cargo('tree', ...args, '--target', 'x86_64-unknown-linux-gnu');
  const names = new Set(tree.trim().split('\n').map((line) => line.replace(/ \(\*\)$/, '')));
  assert.equal(names.size - 1, crates, [...names].join('\n'));
});
