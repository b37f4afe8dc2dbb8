// What README shows of clients: its ten-line client and its transcript run against a server, and its error strings are those
// that a server answers with.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Chatter, within } from '../lib/chatter.mjs';
import { start } from '../lib/server.mjs';

const options = { timeout: 60_000 };
const SHOWN = 'http://localhost:3000';
const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');

/** The only code block of README in this language. */
function block(language) {
  const blocks = [...readme.matchAll(new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\`$`, 'gm'))];
  assert.equal(blocks.length, 1, `one block of ${language}`);
  return blocks[0][1];
}

test('the client of README chats', options, async (t) => {
  const server = await start(t);
  const bob = new Chatter(t, server.url);
  await bob.login('Bob');
  const program = block('js').replace(SHOWN, server.url);
  assert.ok(program.includes(server.url));
  // Modules are looked for from the working directory.
  const cwd = fileURLToPath(new URL('..', import.meta.url));
  const client = spawn(process.execPath, ['--input-type=module', '--eval', program], { cwd, stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => client.kill());
  let output = '';
  client.stdout.setEncoding('utf8').on('data', (text) => (output += text));
  const prints = (line) =>
    within(
      new Promise((resolve) => {
        const look = () => output.split('\n').includes(line) && resolve();
        client.stdout.on('data', look);
        look();
      }),
      () => `${line} in ${output}`,
    );
  await prints('2 users');
  await prints('message 1 accepted');
  assert.equal((await bob.event('new message')).message, 'Hello!');
  bob.socket.emit('new message', 'Hi');
  await prints('Bob: Hi');
});

/** What differs from run to run. */
const alike = (text) => text.replaceAll(/"(sid|user)":"[\w-]+"/g, '"$1":"..."').replaceAll(/"time":\d+/g, '"time":0');

test('the transcript of README is what curl prints', options, async (t) => {
  const server = await start(t);
  const lines = block('console').trimEnd().split('\n');
  // One shell runs the commands; a mark tells its output from that of the next. The sid is the one that this server has given.
  const commands = lines.filter((line) => line.startsWith('$ ')).map((line) => line.slice(2).replace(SHOWN, server.url));
  const taken = `sid=$(grep -o '"sid":"[^"]*' <<<"$open" | cut -d'"' -f4)`;
  const script = commands.map((command, i) => {
    if (command.startsWith('sid=')) return `${taken}; echo "--- ${i}"`;
    return command.startsWith('curl') ? `open=$(${command}); echo "$open"; echo "--- ${i}"` : `${command}; echo "--- ${i}"`;
  });
  const { stdout, stderr, status } = spawnSync('bash', ['-c', script.join('\n')], { encoding: 'utf8' });
  assert.deepEqual([stderr, status], ['', 0]);
  const printed = stdout.split(/--- \d+\n/).slice(0, -1);
  const shown = `\n${lines.join('\n')}\n`.split(/\n\$ .*/).slice(1).map((text) => text.replace(/^\n/, ''));
  assert.deepEqual(printed.map((text) => alike(text.trim())), shown.map((text) => alike(text.trim())));
});

test('the error strings of README are those of the server', options, async (t) => {
  const server = await start(t);
  const small = await start(t, { args: ['--history-messages', '0', '--event-rate', '1', '--event-burst', '3'] });
  const text = readme.replaceAll(/\s+/g, ' ');
  const shown = (error) => {
    const quotes = error.includes('`') ? '``' : '`';
    assert.ok(text.includes(quotes + error + quotes), error);
    return error;
  };
  const refused = async (user, ...event) => shown((await user.ask(...event)).error);
  const ada = await new Chatter(t, server.url).connected();
  const seen = [await refused(ada, 'new message', 'too early')];
  for (const bad of [[], [1], [' '], ['x'.repeat(65)]]) seen.push(await refused(ada, 'add user', ...bad));
  await ada.login('Ada');
  for (const bad of [[], [{}], [''], ['x'.repeat(20_000)], ['text', { id: 'é' }]]) seen.push(await refused(ada, 'new message', ...bad));
  seen.push(await refused(ada, 'history', 'all'));
  const bob = await new Chatter(t, small.url).connected();
  seen.push(await refused(bob, 'history'));
  // CONNECT and the question before count, too.
  const flood = await Promise.all([bob.ask('history'), bob.ask('history')]);
  seen.push(shown(flood[1].error));
  assert.equal(new Set(seen).size, 9, seen.join('\n'));

  const answers = [];
  for (const [query, init] of [
    ['EIO=4&transport=none'],
    ['EIO=4&transport=polling&sid=none'],
    ['EIO=4&transport=polling', { method: 'PUT' }],
    ['EIO=4&transport=websocket'],
    ['EIO=4&transport=polling', { headers: { Origin: 'https://elsewhere.example' } }],
    ['EIO=1&transport=polling'],
  ]) {
    const answer = await (await fetch(`${server.url}/socket.io/?${query}`, init)).json();
    answers.push(answer.code);
    assert.ok(text.includes(` ${answer.code} \`${answer.message}\``), JSON.stringify(answer));
  }
  assert.deepEqual(answers, [0, 1, 2, 3, 4, 5]);
});
