// salon.service, the unit that README links: what systemd itself says of it, where systemd is.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';

const unit = readFileSync(new URL('salon.service', import.meta.url), 'utf8');
const analyze = (...args) => {
  const { status, stdout, stderr } = spawnSync('systemd-analyze', args, { encoding: 'utf8' });
  return { status, said: stdout + stderr };
};
const skip = spawnSync('systemd-analyze', ['--version']).status !== 0 && 'no systemd-analyze here';

/** A unit file in a directory of its own, with a program that is there in place of one that is not yet installed. */
function written(t, text) {
  const directory = mkdtempSync(path.join(tmpdir(), 'salon-unit-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const file = path.join(directory, 'salon.service');
  writeFileSync(file, text.replaceAll('/usr/local/bin/salon', '/bin/true'));
  return file;
}

test('systemd-analyze verify has nothing to say', { skip }, (t) => {
  assert.deepEqual(analyze('verify', '--man=no', written(t, unit)), { status: 0, said: '' });
  assert.match(analyze('verify', '--man=no', written(t, unit.replace('LimitNOFILE', 'LimitNOFILES'))).said, /LimitNOFILES/);
});

test('systemd-analyze security: exposure of at most 2.0', { skip }, (t) => {
  const judged = (text) => analyze('security', '--offline=true', '--threshold=20', '--no-pager', written(t, text));
  assert.equal(judged(unit).status, 0, judged(unit).said.split('\n').at(-2));
  assert.notEqual(judged(unit.replace('DynamicUser=yes', '').replace(/^System.*$/gm, '')).status, 0);
});

test('what README promises of the unit', () => {
  const settings = Object.fromEntries(unit.split('\n').filter((line) => /^\w+=/.test(line)).map((line) => line.split(/=(.*)/)));
  assert.equal(settings.Type, 'exec'); // salon does not speak sd_notify
  assert.equal(settings.ExecReload, '/bin/kill -HUP $MAINPID');
  for (const name of ['DynamicUser', 'NoNewPrivileges']) assert.equal(settings[name], 'yes');
  for (const name of ['MemoryMax', 'LimitNOFILE']) assert.match(settings[name], /^\d+M?$/);
  // Longer than the longest drain that the unit allows before systemd kills.
  assert.match(settings.TimeoutStopSec, /^\d+$/);
});
