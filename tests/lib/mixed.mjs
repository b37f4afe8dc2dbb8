// The program of an earlier commit (BEFORE_PROGRAM, which `make mixed` builds) and today's, side by side.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Chatter } from './chatter.mjs';
import { start } from './server.mjs';

if (!process.env.BEFORE_PROGRAM) throw new Error('BEFORE_PROGRAM does not name the earlier program: `make mixed` does');

const PROGRAMS = { before: process.env.BEFORE_PROGRAM, now: undefined };

/** Starts one of the two programs; `options` are those of `start`. */
export const startOne = (t, kind, options) => start(t, { ...options, bin: PROGRAMS[kind] });

/** Starts one of the two programs as the node `name`, and waits until it has both connections to Redis. */
export async function startNode(t, kind, redis, name, args = [], options = {}) {
  const server = await startOne(t, kind, { ...options, args: ['--instance', name, '--redis', redis.url, ...args] });
  await server.logs(/redis: connected/);
  return server;
}

/** A directory that is removed after the test. */
export function directory(t) {
  const made = mkdtempSync(path.join(os.tmpdir(), 'salon-mixed-'));
  t.after(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

/** All that a server keeps, asked for part by part: its `boot` and the messages. */
export async function history(t, server) {
  const chatter = await new Chatter(t, server.url).connected();
  const messages = [];
  for (let asked = {}; ; asked = { since: { boot: asked.boot, n: messages.at(-1).n } }) {
    const answer = await chatter.ask('history', asked);
    assert.equal(answer.gap, false);
    messages.push(...answer.messages);
    if (answer.more) {
      asked = answer;
      continue;
    }
    chatter.socket.close();
    return { boot: answer.boot, messages };
  }
}

/** Nothing that it logs is a warning. */
export const calm = (server) => assert.doesNotMatch(server.log(), /WARN|ERROR|damaged/);
