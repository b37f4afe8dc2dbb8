// The chat page: the connection, who we are, and what we send. Events and fields beyond those of Socket.IO's public chat
// example are in README, chapter "Write a client".
import * as log from './log.js';
import * as people from './people.js';
import { otherLanguage, say, speak } from './texts.js';

const ANSWER = 10_000; // ms to wait for an answer of the server
const QUIET = 2500; // ms for which a connection may be missing before the banner says so: one attempt of the client
const BACK = 4000; // ms for which it says that all is well again
const LAST = 100; // messages a newcomer asks for
const TYPING = 3000; // ms: as often `typing` is sent again while we type, and so long after the last key we do not
const FORGET = 6000; // ms after which a typist of whom nothing was heard is forgotten
const ROWS = 6; // of the text field, at most

const $ = (id) => document.getElementById(id);
const [room, field, status, notify] = ['room', 'text', 'status', 'notify'].map($);

// Relative to the page, so that it also works below a sub-path.
const path = new URL('socket.io/', document.baseURI).pathname;
const socket = io({ path });

let name; // as asked for; empty until the form was sent
let joined = false; // the server knows the name on this connection
let position; // {boot, n}: up to here we have every message
let catchingUp = true; // this connection has not brought those after it yet
let unlisted = 0; // how many are here whom the server has not named
let server; // name of the server that we are connected to
let bannerTimer = setTimeout(banner, QUIET, 'connecting');
let typingSince; // when we last sent `typing`; undefined while we do not type
let idleTimer;
let notifying = false;
const unsent = new Map(); // id -> message of ours that the server has not acknowledged, in the order they were written
const typists = new Map(); // public tag, or name -> {label, timer}

/** What this tab keeps over a reload: nothing where the browser forbids it. */
function remember(key, value) {
  try {
    if (value !== undefined) sessionStorage[key] = JSON.stringify(value);
    return JSON.parse(sessionStorage[key]);
  } catch {}
}
const tags = new Set(remember('tags')); // all that this tab has had: messages of these users are ours
const key = remember('key') ?? random(); // by it every server knows that it is us
remember('key', key);

function speakOne(...languages) {
  speak(...languages);
  $('language').lang = otherLanguage();
}
speakOne(remember('language'), ...navigator.languages);
$('language').addEventListener('click', () => speakOne(remember('language', otherLanguage())));

// ---- joining and leaving

name = $('name').value = remember('name') ?? ''; // the tab was reloaded: no need to ask
const asked = !name;
$('entrance').hidden = false;
if (asked) $('name').focus();

$('join').addEventListener('submit', (event) => {
  event.preventDefault();
  name = $('name').value.trim();
  say($('trouble'), name ? '' : 'nameless');
  if (name && socket.connected) login();
});

function login() {
  const button = $('join').querySelector('button');
  button.disabled = true; // or a second name could be shown than the one the server took
  socket.timeout(ANSWER).emit('add user', name, { key }, (_, answer) => {
    button.disabled = false;
    if (!answer?.error) return; // it acknowledges refusals only
    name = '';
    say($('trouble'), 'unfit', answer.error);
  });
}

socket.on('login', ({ numUsers, user }) => {
  count(numUsers);
  if (joined) return; // recovered so late that the others had been told that we left
  if (user) remember('tags', [...tags.add(user)]);
  ready();
});

/** We are in the room, for the first time or again. */
function ready() {
  joined = true;
  const returning = !room.hidden;
  if (!returning) {
    remember('name', name);
    $('entrance').hidden = true;
    for (const id of ['room', 'people', 'leave']) $(id).hidden = false;
    notify.hidden = !window.Notification || !isSecureContext;
    if (asked) field.focus(); // where the form stood that was sent
  }
  askPeople();
  catchUp(returning && !socket.recovered);
  for (const message of unsent.values()) transmit(message);
}

$('leave').addEventListener('click', () => {
  remember('name', null);
  location.reload();
});

addEventListener('beforeunload', (event) => unsent.size && event.preventDefault());

// The others hear of it at once. What polling would send now is cancelled with the page, a beacon is not.
addEventListener('pagehide', () => {
  const { id, transport } = socket.io.engine;
  if (socket.connected && transport.name === 'polling') {
    navigator.sendBeacon(`${path}?EIO=4&transport=polling&sid=${id}`, '41');
  }
  socket.disconnect();
});
// From the back-forward cache.
addEventListener('pageshow', (event) => event.persisted && socket.connect());

// ---- the connection

function banner(key, ...args) {
  clearTimeout(bannerTimer);
  say(status, key, ...args);
  $('again').hidden = key !== 'ended';
}

function about() {
  say($('about'), 'about', socket.io.engine.transport.name, location.host, server);
}

socket.on('connect', () => {
  const { text: told } = status.dataset;
  banner(told && told !== 'connecting' ? 'back' : '');
  bannerTimer = setTimeout(banner, BACK, '');
  about();
  socket.io.engine.once('upgrade', about);
  // After a short break the server still knows us, and sends what we have missed. Otherwise we give the name again.
  if (socket.recovered && !room.hidden) ready();
  else if (name) login();
});

socket.on('disconnect', (reason) => {
  joined = false;
  catchingUp = true;
  stopTyping();
  for (const typist of [...typists.keys()]) forget(typist);
  say($('about'), '');
  clearTimeout(bannerTimer);
  if (reason === 'io server disconnect') banner('ended');
  else if (socket.active) bannerTimer = setTimeout(banner, QUIET, 'offline', Date.now());
});

$('again').addEventListener('click', () => {
  banner('connecting');
  socket.connect();
});

// ---- messages

/** Asks for all after our position. `perhaps`: without an answer we may have missed something. */
function catchUp(perhaps) {
  log.hush();
  socket.timeout(ANSWER).emit('history', position ? { since: position } : { last: LAST }, (_, answer) => {
    if (!joined) return; // we ask again when we are
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
  const own = tags.has(message.user);
  log.add(message, own, fresh);
  if (fresh && !own && notifying && document.hidden) announce(message);
}

socket.on('new message', (message) => {
  if (room.hidden) return;
  forget(message.user ?? message.username);
  receive(message, true);
  advance(message.n);
});

/** 128 random bits. */
function random() {
  return crypto.getRandomValues(new Uint32Array(4)).join('-'); // randomUUID needs https
}

function submit() {
  const message = field.value.trim();
  if (!message) return;
  field.value = '';
  field.rows = 1;
  stopTyping();
  const written = { id: random(), n: Infinity, username: name, user: [...tags].at(-1), message };
  log.add(written, true, true);
  post(written);
}

/** Sends now, or as soon as we are back. */
function post(message) {
  unsent.set(message.id, message);
  log.state(log.find(message.id), 'sending');
  if (joined) transmit(message);
}

function transmit({ id, message }) {
  socket.timeout(ANSWER).emit('new message', message, { id }, (_, answer) => {
    const line = log.find(id);
    if (!unsent.has(id)) return; // the history has told us already
    if (answer && !answer.error) {
      arrived(line, { id, ...answer });
      advance(answer.n);
    } else if (answer || joined) {
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
    field.focus(); // the button goes
  });
}

$('send').addEventListener('submit', (event) => {
  event.preventDefault();
  submit();
});

field.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit();
});

field.addEventListener('input', () => {
  field.rows = Math.min(ROWS, field.value.split('\n').length); // browsers that know field-sizing count wrapped lines too
  if (!joined) return;
  if (!field.value) return stopTyping();
  if (typingSince === undefined || Date.now() - typingSince >= TYPING) {
    typingSince = Date.now();
    socket.emit('typing');
  }
  clearTimeout(idleTimer);
  idleTimer = setTimeout(stopTyping, TYPING);
});

function stopTyping() {
  clearTimeout(idleTimer);
  if (typingSince !== undefined && joined) socket.emit('stop typing');
  typingSince = undefined;
}

// ---- people

function count(users) {
  say($('count'), 'people', users);
}

function askPeople() {
  socket.timeout(ANSWER).emit('users', (_, answer) => {
    if (!answer?.users) return;
    ({ more: unlisted, server } = answer);
    if (people.reset(answer.users)) log.showTags();
    showPeople();
    if (joined) about();
  });
}

function showPeople() {
  if (!$('people').open) return;
  const lines = people.everybody().map(([user, name]) => {
    const line = log.element('li', '', people.label(user, name));
    if (tags.has(user)) say(line, 'you', line.textContent);
    return line;
  });
  if (unlisted) say((lines[lines.length] = log.element('li', '')), 'others', unlisted);
  $('names').replaceChildren(...lines);
}

$('people').addEventListener('toggle', (event) => event.target.open && askPeople());
$('people').addEventListener('keydown', (event) => {
  if (event.key !== 'Escape') return;
  event.currentTarget.open = false;
  $('count').focus();
});
document.addEventListener('click', ({ target }) => $('people').contains(target) || ($('people').open = false));

socket.on('user count', ({ numUsers }) => count(numUsers));

socket.on('user joined', ({ username, user, numUsers }) => {
  if (room.hidden) return;
  count(numUsers);
  if (people.arrive(user ?? username, username)) log.showTags();
  showPeople();
  log.presence(user, username, 'came');
});

socket.on('user left', ({ username, user, numUsers }) => {
  if (room.hidden) return;
  count(numUsers);
  forget(user ?? username);
  log.presence(user, username, 'went');
  people.depart(user ?? username);
  showPeople();
});

socket.on('typing', ({ username, user }) => {
  const typist = user ?? username;
  clearTimeout(typists.get(typist)?.timer);
  typists.set(typist, { label: people.label(user, username), timer: setTimeout(forget, FORGET, typist) });
  showTyping();
});

socket.on('stop typing', ({ username, user }) => forget(user ?? username));

function forget(typist) {
  clearTimeout(typists.get(typist)?.timer);
  if (typists.delete(typist)) showTyping();
}

function showTyping() {
  say($('typing'), 'typists', [...typists.values()].map(({ label }) => label));
}

// ---- notifications: only for who has asked for them, in this tab

notify.addEventListener('click', async () => {
  const permission = notifying ? 'unwanted' : await Notification.requestPermission();
  notifying = permission === 'granted';
  notify.setAttribute('aria-pressed', notifying);
  if (permission === 'denied') banner('blocked');
});

function announce({ username, user, message }) {
  try {
    const options = { body: message.slice(0, 200), icon: 'icon.svg', tag: 'salon' };
    const shown = new Notification(people.shown(username) + people.tag(user, username), options);
    shown.onclick = () => {
      window.focus();
      shown.close();
    };
  } catch {
    notifying = false; // Android wants a service worker for it
  }
}

// ---- the phone's keyboard: on iOS it lies over the page, and only the visual viewport tells

window.visualViewport?.addEventListener('resize', ({ target }) => {
  document.documentElement.style.setProperty('--height', `${Math.round(target.height * target.scale)}px`);
  scrollTo(0, 0);
});
