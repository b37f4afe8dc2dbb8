// Messages on their way: those that others have said, those that we have missed, and ours until the server has them.
import { ask, learn, now, socket } from './connection.js';
import { later } from './later.js';
import * as log from './log.js';
import { me, random, remember } from './me.js';
import { announce } from './menu.js';
import { look, meet } from './names.js';
import * as reading from './reading.js';
import { $ } from './texts.js';

const LAST = { before: { time: 1e15, id: '' }, last: 100 }; // what a newcomer asks for: the newest by their time
const OLDER = 50; // messages that one asks for who scrolls up
const BREAKS = 2; // breaks of the connection in a row, with a message first in line, after which that is the culprit
const ENVELOPE = 150; // bytes of a packet besides the text

let position; // {boot, n}: up to here we have every message
let catchingUp = true; // this connection has not brought those after it yet
let asked = 0; // how often we have asked for those
let older = false; // whether the server has messages before the first
let asking; // the promise of those
let reached; // {time, id} of the first of those that came without a gap: what comes late may be older
const unsent = new Map(); // id -> message of ours that the server has not acknowledged, in the order they were written
const limits = {}; // {text, packet}: bytes that the server takes, if it has told

socket.on('disconnect', () => {
  reading.leave();
  catchingUp = true;
  const [message] = unsent.values();
  if (message?.sent && ++message.breaks >= BREAKS) fail(message);
  for (const message of unsent.values()) message.sent = false;
});

socket.on('login', ({ maxText, maxPayload, time }) => {
  Object.assign(limits, { text: maxText, packet: maxPayload });
  learn(time);
});

// ---- what others say

/** Asks for all after our position. `returning`: without an answer we may have missed something. */
export async function catchUp(returning) {
  log.hush();
  const mine = (asked += 1);
  const answer = await ask('history', position ? { since: position } : LAST);
  if (!me.joined || mine !== asked) return; // we ask again when we are, or have done so
  if (!answer) return catchUp(returning); // late
  if (!answer.boot) {
    catchingUp = false;
    if (returning) log.note('gap');
    return showEmpty(); // this server keeps nothing
  }
  const { boot, n, messages, gap, more } = answer;
  log.hush();
  if (boot !== position?.boot) log.restart();
  const together = !position || messages.some(({ id }) => log.find(id)?.at < Infinity);
  if (gap && !together) log.note('gap', [], messages.length ? messages[0].time - 0.5 : undefined);
  if (!position) [older, reached] = [more, messages[0]];
  for (const message of messages) later(() => receive(message, false));
  const first = !position;
  position = { boot, n: more && !first ? messages.at(-1).n : n };
  later(async () => {
    if (more && !first) return catchUp(false);
    catchingUp = false;
    const place = first && remember('place');
    if (place) while (!reading.restore(place) && (await askOlder()));
    showEmpty();
  });
}

/** Asks for what was said before all that is on the page. Returns whether there was something. */
const askOlder = () => (asking ??= loadOlder().finally(() => (asking = undefined)));

async function loadOlder() {
  if (!older || !me.joined) return false;
  const first = log.oldest(); // above it the oldest lines may have gone
  const before = first?.time > reached.time ? { time: first.time, id: first.key } : { time: reached.time, id: reached.id };
  const { messages = [], more } = (await ask('history', { before, last: OLDER })) ?? { more: true };
  log.hush();
  for (const message of messages) receive(message, false, true);
  older = more;
  reached = messages[0] ?? reached;
  return messages.length > 0;
}
$('log').addEventListener('top', () => catchingUp || askOlder());

/** Everything up to this number has come, because it comes in order. */
function advance(n) {
  if (!catchingUp && n > position?.n) position.n = n;
}

/** Whether the text has our name after an at sign. */
function mentions(text) {
  const after = text.split('@').slice(1);
  const name = look(me.name);
  return after.some((part) => look(part.slice(0, me.name.length)) === name && !/^[\p{L}\p{N}]/u.test(part.slice(me.name.length)));
}

function receive(message, live, old) {
  const { id, username, user } = message;
  const line = log.find(id);
  if (line) return arrived(line, message, live);
  const own = me.tags.has(user);
  const same = meet(user, username);
  if (same !== undefined) log.showTags(same);
  const made = log.add(message, own, live);
  const mention = !own && mentions(made.message);
  made.classList.toggle('mention', mention);
  if (!old) reading.added(made, own, live, mention);
  $('empty').hidden = true;
  if (live && !own && document.hidden) announce(message);
}

socket.on('new message', (message) => {
  if ($('room').hidden) return;
  learn(message.time);
  later(() => {
    receive(message, !catchingUp);
    advance(message.n);
  });
});

/** The log is empty, and known to be. */
function showEmpty() {
  $('empty').hidden = Boolean(log.oldest());
}

// ---- what we say

/** How many bytes are left until a text is too long for the server, less than 0 if it is, and how many it takes in all. */
export function room(text) {
  const bytes = (text) => new TextEncoder().encode(text).length;
  const { text: limit = Infinity, packet = Infinity } = limits;
  const whole = bytes(JSON.stringify(text)) + ENVELOPE;
  return [Math.min(limit - bytes(text), packet - whole), Math.min(limit, packet - ENVELOPE)];
}

/** Shows a message of ours and sends it. */
export function send(text) {
  const message = { id: random(), username: me.name, user: [...me.tags].at(-1), message: text, breaks: 0 };
  reading.added(log.add(message, true, true), true, true);
  $('empty').hidden = true;
  post(message);
}

/** Sends now, or as soon as we are back. */
function post(message) {
  unsent.set(message.id, message);
  log.state(log.find(message.id), 'sending');
  if (me.joined) transmit(message);
}

/** Sends all that the server has not acknowledged. */
export function sendAgain() {
  for (const message of unsent.values()) transmit(message);
}

async function transmit(message) {
  const { id } = message;
  message.sent = true;
  const answer = await ask('new message', message.message, { id });
  if (unsent.get(id) !== message) return; // the history has told us already, or it has failed
  if (answer && !answer.error) {
    learn(answer.time);
    arrived(log.find(id), answer, !catchingUp);
    advance(answer.n);
  } else if (answer?.error === 'too long') {
    unsent.delete(id);
    log.remove(log.find(id));
    showEmpty();
    $('text').dispatchEvent(new CustomEvent('refused', { detail: message.message }));
  } else if (answer || me.joined) {
    fail(message, answer?.error);
  } // else the connection broke: sent again after the next login
}

function arrived(line, { time, n }, live) {
  unsent.delete(line.key);
  if (!log.state(line)) return; // it was no news
  log.settle(line, time ?? now(), live, n);
}

function fail(message, error) {
  unsent.delete(message.id);
  const line = log.find(message.id);
  log.settle(line, undefined, true);
  log.state(line, error ? 'refused' : 'failed', [error], () => {
    log.wait(line);
    message.breaks = 0;
    post(message);
    $('text').focus(); // the button goes
  });
}

addEventListener('beforeunload', (event) => unsent.size && event.preventDefault());
