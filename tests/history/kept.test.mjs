// The file of the history under the hands of others, on real file systems: a mount point, a file that may only grow, a
// directory that cannot be written, a mode and an owner, a link, a file that disappears.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync, chownSync, closeSync, existsSync, fstatSync, lstatSync, mkdirSync, mkdtempSync, openSync, readFileSync, readdirSync, rmSync,
  statSync, symlinkSync, unlinkSync, writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { Chatter } from '../lib/chatter.mjs';
import { counts, start } from '../lib/server.mjs';

const options = { timeout: 60_000 };
const root = process.getuid() === 0;
const run = (...command) => spawnSync(command[0], command.slice(1), { encoding: 'utf8' });

function directory(t) {
  const made = mkdtempSync(path.join(os.tmpdir(), 'salon-history-'));
  t.after(() => {
    run('chattr', '-R', '-a', made);
    chmodSync(made, 0o700);
    rmSync(made, { recursive: true, force: true });
  });
  return made;
}

/** Starts a server with this file, has Ada say something, kills it, and gives what it has in its next life, and its logs. */
async function twice(t, file, how, texts) {
  const logs = [];
  const kept = [];
  for (const text of texts) {
    const server = await start(t, { args: ['--history', file], ...how });
    const ada = new Chatter(t, server.url);
    await ada.login('Ada');
    kept.push((await ada.ask('history', {})).messages.map(({ message }) => message));
    for (const part of [text, `${text} again`]) await ada.ask('new message', part, { id: part.replace(' ', '-') });
    await counts(server, 'history_written', 1);
    ada.socket.close();
    await server.kill('SIGKILL');
    logs.push(server.log());
  }
  return { kept, logs };
}

const expected = [[], ['one', 'one again'], ['one', 'one again', 'two', 'two again']];

// Why it cannot be tried here, if so; and a function that prepares the file, and gives how servers are started.
const namespace = run('unshare', '--mount', 'true').status === 0 ? [] : ['--map-root-user'];
const mountable = run('unshare', '--mount', ...namespace, 'true');
const FILES = {
  'a file that is a mount point': {
    obstacle: mountable.status === 0 ? '' : mountable.stderr,
    how: (file) => {
      writeFileSync(`${file}-elsewhere`, '');
      const script = 'mount --bind "$0-elsewhere" "$0" && exec "$@"';
      return { wrap: ['unshare', '--mount', ...namespace, 'sh', '-c', script, file] };
    },
  },
  'a file that may only grow': {
    obstacle: root ? '' : 'chattr +a is for root',
    how: (file) => {
      const { status, stderr } = run('chattr', '+a', file);
      assert.equal(status, 0, stderr);
      return {};
    },
  },
  'a file in a directory that cannot be written': {
    obstacle: '',
    how: (file) => {
      chmodSync(file, 0o666);
      chmodSync(path.dirname(file), 0o555);
      return { wrap: root ? ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'] : [] };
    },
  },
};

for (const [name, { obstacle, how }] of Object.entries(FILES)) {
  test(`${name} is appended to`, { ...options, skip: obstacle || false }, async (t) => {
    const file = path.join(directory(t), 'history');
    writeFileSync(file, '');
    const { kept, logs } = await twice(t, file, how(file), ['one', 'two', 'three']);
    assert.deepEqual(kept, expected);
    for (const log of logs) {
      assert.match(log, /cannot be replaced: .*; it is appended to, up to \d+ bytes/);
      assert.equal(log.match(/WARN/g).length, 1, log);
    }
    assert.ok(!existsSync(`${file}.new`));
  });
}

test('mode, owner and link are kept', options, async (t) => {
  const place = directory(t);
  const [link, file] = [path.join(place, 'link'), path.join(place, 'elsewhere', 'history')];
  mkdirSync(path.dirname(file));
  symlinkSync('elsewhere/history', link);
  writeFileSync(file, '');
  chmodSync(file, 0o600);
  if (root) chownSync(file, 1234, 5678);
  const old = openSync(file); // or the number of its inode could be used again
  t.after(() => closeSync(old));
  const { ino } = fstatSync(old);
  const { kept, logs } = await twice(t, link, {}, ['one', 'two', 'three']);
  assert.deepEqual(kept, expected);
  assert.ok(lstatSync(link).isSymbolicLink());
  const { mode, uid, gid, ino: after } = statSync(file);
  assert.notEqual(after, ino, 'it was replaced');
  assert.equal(mode & 0o7777, 0o600);
  if (root) assert.deepEqual([uid, gid], [1234, 5678]);
  assert.doesNotMatch(logs.join(''), /WARN/);
  assert.deepEqual(readdirSync(place).sort(), ['elsewhere', 'link']);
});

test('a file that is removed is written anew at the next sync, and log and metric say so', options, async (t) => {
  const folder = path.join(directory(t), 'folder');
  const file = path.join(folder, 'history');
  mkdirSync(folder);
  const server = await start(t, { args: ['--history', file] });
  const ada = new Chatter(t, server.url);
  await ada.login('Ada');
  await ada.ask('new message', 'one', { id: '1' });
  unlinkSync(file);
  await ada.ask('new message', 'two', { id: '2' });
  await server.logs(/cannot be written: another program has removed or changed it/);
  await server.logs(/is written again/);
  await counts(server, 'history_written', 1);
  assert.deepEqual(readFileSync(file, 'utf8').split('\n').slice(1, 3).map((line) => JSON.parse(line).message), ['one', 'two']);
  rmSync(folder, { recursive: true });
  await ada.ask('new message', 'three', { id: '3' });
  await counts(server, 'history_written', 0);
  await server.logs(/cannot be written: another program/, 2);
  mkdirSync(folder);
  await ada.ask('new message', 'four', { id: '4' });
  await counts(server, 'history_written', 1);
  await server.kill('SIGKILL');
  const again = await start(t, { args: ['--history', file] });
  const { messages } = await (await new Chatter(t, again.url).connected()).ask('history', {});
  assert.deepEqual(messages.map(({ message }) => message), ['one', 'two', 'three', 'four']);
});

test('a file that cannot be read is left alone', options, async (t) => {
  const place = directory(t);
  const file = path.join(place, 'history');
  writeFileSync(file, 'of somebody else\n');
  chmodSync(file, 0);
  chmodSync(place, 0o777);
  const wrap = root ? ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'] : [];
  const server = await start(t, { args: ['--history', file], wrap });
  const ada = new Chatter(t, server.url);
  await ada.login('Ada');
  await ada.ask('new message', 'one', { id: '1' });
  await counts(server, 'history_written', 0);
  assert.match(server.log(), /cannot be read: Permission denied .*; it is left alone, the chat goes on in memory/);
  await server.kill();
  chmodSync(file, 0o600);
  assert.equal(readFileSync(file, 'utf8'), 'of somebody else\n');
  assert.deepEqual(readdirSync(place).sort(), ['history', 'history.lock']);
});
