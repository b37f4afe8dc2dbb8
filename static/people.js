// Who is here, who types, who comes and goes.
import { about, ANSWER, socket } from './connection.js';
import * as log from './log.js';
import { me } from './me.js';
import * as names from './names.js';
import { $, element, say } from './texts.js';

const FORGET = 6000; // ms after which a typist of whom nothing was heard is forgotten

let unlisted = 0; // how many are here whom the server has not named
const typists = new Map(); // public tag, or name -> {label, timer}

export function count(users) {
  say($('count'), 'people', users);
}

/** Asks who is here. */
export function ask() {
  socket.timeout(ANSWER).emit('users', (_, answer) => {
    if (!answer?.users) return;
    unlisted = answer.more;
    if (names.reset(answer.users)) log.showTags();
    show();
    if (me.joined) about(answer.server);
  });
}

function show() {
  if (!$('people').open) return;
  const lines = names.everybody().map(([user, name]) => {
    const line = element('li', '', names.label(user, name));
    if (me.tags.has(user)) say(line, 'you', line.textContent);
    return line;
  });
  if (unlisted) say((lines[lines.length] = element('li', '')), 'others', unlisted);
  $('names').replaceChildren(...lines);
}

$('people').addEventListener('toggle', (event) => event.target.open && ask());
$('people').addEventListener('keydown', (event) => {
  if (event.key !== 'Escape') return;
  event.currentTarget.open = false;
  $('count').focus();
});
document.addEventListener('click', ({ target }) => $('people').contains(target) || ($('people').open = false));

socket.on('user count', ({ numUsers }) => count(numUsers));

socket.on('user joined', ({ username, user, numUsers }) => {
  if ($('room').hidden) return;
  count(numUsers);
  if (names.arrive(user ?? username, username)) log.showTags();
  show();
  log.presence(user, username, 'came');
});

socket.on('user left', ({ username, user, numUsers }) => {
  if ($('room').hidden) return;
  count(numUsers);
  forget(user ?? username);
  log.presence(user, username, 'went');
  names.depart(user ?? username);
  show();
});

socket.on('typing', ({ username, user }) => {
  const typist = user ?? username;
  clearTimeout(typists.get(typist)?.timer);
  typists.set(typist, { label: names.label(user, username), timer: setTimeout(forget, FORGET, typist) });
  showTyping();
});

socket.on('stop typing', ({ username, user }) => forget(user ?? username));
socket.on('new message', ({ username, user }) => forget(user ?? username));
socket.on('disconnect', () => [...typists.keys()].forEach(forget));

function forget(typist) {
  clearTimeout(typists.get(typist)?.timer);
  if (typists.delete(typist)) showTyping();
}

function showTyping() {
  say($('typing'), 'typists', [...typists.values()].map(({ label }) => label));
}
