// The chat page: how one gets into the room. Each other part has a file of its own. Events and fields beyond those of
// Socket.IO's public chat example are in README, chapter "Write a client".
import './composer.js';
import { ask, begin, socket } from './connection.js';
import { knock } from './door.js';
import { me, remember } from './me.js';
import './mentions.js';
import './menu.js';
import * as messages from './messages.js';
import * as people from './people.js';
import { $, say } from './texts.js';

const room = $('room');
let named = false; // the server has taken our name, on this connection or on the one that this one has recovered

$('name').value = me.name;
const asked = !me.name; // else the tab was reloaded: no need to ask
$('entrance').hidden = false;
if (asked) $('name').focus();

$('join').addEventListener('submit', (event) => {
  event.preventDefault();
  me.name = $('name').value.trim();
  say($('trouble'), me.name ? '' : 'nameless');
  if (me.name && !knock() && socket.connected) login();
});

async function login() {
  const button = $('join').querySelector('button');
  button.disabled = true; // or a second name could be shown than the one the server took
  const answer = await ask('add user', me.name, { key: me.key });
  button.disabled = false;
  if (!answer?.error) return; // it acknowledges refusals only
  me.name = '';
  say($('trouble'), 'unfit', answer.error);
}

// After a short break the server still knows us, and sends what we have missed. Otherwise we give the name again: also if the
// connection broke before the server had it.
socket.on('connect', () => {
  named &&= socket.recovered;
  if (named && !room.hidden) ready();
  else if (me.name) login();
  else people.refresh();
});

socket.on('login', ({ numUsers, user }) => {
  people.count(numUsers);
  named = true;
  if (me.joined) return; // recovered so late that the others had been told that we left
  if (user) remember('tags', [...me.tags.add(user)]);
  ready();
});

/** We are in the room, for the first time or again. */
function ready() {
  me.joined = true;
  const returning = !room.hidden;
  if (!returning) {
    remember('name', me.name);
    $('entrance').hidden = true;
    for (const id of ['room', 'people', 'count', 'leave']) $(id).hidden = false;
    $('notify').hidden = !window.Notification || !isSecureContext;
    if (asked) $('text').focus(); // where the form stood that was sent
  }
  people.refresh();
  messages.catchUp(returning && !socket.recovered);
  messages.sendAgain();
}

// The phone's keyboard: on iOS it lies over the page, and only the visual viewport tells.
window.visualViewport?.addEventListener('resize', ({ target }) => {
  document.documentElement.style.setProperty('--height', `${Math.round(target.height * target.scale)}px`);
  scrollTo(0, 0);
});

// A quieter mark for what has the focus while the pointer is used.
const by = (keys) => () => document.documentElement.classList.toggle('keys', keys);
addEventListener('pointerdown', by(false));
addEventListener('keydown', ({ key }) => key === 'Tab' && by(true)());

begin();
