// Messages on their way: those that others have said, those that we have missed, and ours until the server has them.
import { ANSWER, socket } from './connection.js';
import * as log from './log.js';
import { me, random } from './me.js';
import { announce } from './menu.js';
import { $ } from './texts.js';

const LAST = 100; // messages a newcomer asks for

let position; // {boot, n}: up to here we have every message
let catchingUp = true; // this connection has not brought those after it yet
const unsent = new Map(); // id -> message of ours that the server has not acknowledged, in the order they were written

socket.on('disconnect', () => (catchingUp = true));

/** Asks for all after our position. `perhaps`: without an answer we may have missed something. */
export function catchUp(perhaps) {
  log.hush();
  socket.timeout(ANSWER).emit('history', position ? { since: position } : { last: LAST }, (_, answer) => {
    if (!me.joined) return; // we ask again when we are
    if (!answer?.boot) {
      catchingUp = false;
      if (perhaps) log.note('gap');
      return; // this server keeps nothing
    }
    const { boot, n, messages, gap, more } = answer;
    log.hush();
    if (position && boot !== position.boot) log.restart();
    const together = !position || messages.some(({ id }) => log.find(id)?.n < Infinity);
    if (gap && !together) log.note('gap', [], messages.length ? messages[0].n - 0.5 : undefined);
    for (const message of messages) receive(message, false);
    position = { boot, n: more ? messages.at(-1).n : n };
    if (more) return catchUp(false);
    catchingUp = false;
  });
}

/** Everything up to this number has come, because it comes in order. */
function advance(n) {
  if (!catchingUp && n > position?.n) position.n = n;
}

function receive(message, fresh) {
  const line = log.find(message.id);
  if (line) return arrived(line, message);
  const own = me.tags.has(message.user);
  log.add(message, own, fresh);
  if (fresh && !own && document.hidden) announce(message);
}

socket.on('new message', (message) => {
  if ($('room').hidden) return;
  receive(message, true);
  advance(message.n);
});

/** Shows a message of ours and sends it. */
export function say(message) {
  const written = { id: random(), n: Infinity, username: me.name, user: [...me.tags].at(-1), message };
  log.add(written, true, true);
  post(written);
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

function transmit({ id, message }) {
  socket.timeout(ANSWER).emit('new message', message, { id }, (_, answer) => {
    const line = log.find(id);
    if (!unsent.has(id)) return; // the history has told us already
    if (answer && !answer.error) {
      arrived(line, { id, ...answer });
      advance(answer.n);
    } else if (answer || me.joined) {
      failed(line, id, answer?.error);
    } // else the connection broke: sent again after the next login
  });
}

function arrived(line, { id, n, time }) {
  unsent.delete(id);
  log.state(line);
  if (n) log.number(line, n, time);
}

function failed(line, id, reason) {
  const message = unsent.get(id);
  unsent.delete(id);
  log.number(line);
  log.state(line, reason ? 'refused' : 'failed', [reason], () => {
    log.number(line, Infinity, Date.now());
    post(message);
    $('text').focus(); // the button goes
  });
}

addEventListener('beforeunload', (event) => unsent.size && event.preventDefault());
