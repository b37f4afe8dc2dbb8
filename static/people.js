// Who is here, who types, who comes and goes.
import { about, ask, socket } from './connection.js';
import { later } from './later.js';
import * as log from './log.js';
import { me } from './me.js';
import * as names from './names.js';
import { $, element, say } from './texts.js';

const FORGET = 6000; // ms after which a typist of whom nothing was heard is forgotten
const MANY = 20; // people above whom one can search
const PAUSE = 500; // ms between two lists

const [panel, button, search] = ['people', 'count', 'search'].map($);
const wide = matchMedia('(min-width: 64rem)'); // as in style.css: the list is at the side
export const here = new Map(); // public tag of a user, or their name -> name
const typists = new Map(); // the same -> {label, timer}
let unlisted = 0; // how many are here whom the server has not named
let drawing; // timer after which the list is drawn
let drawn = -PAUSE;

export function count(users) {
  for (const id of ['count', 'here']) say($(id), 'people', users);
  say($('empty'), 'empty', users);
  say($('about-room'), 'present', users);
}

/** Asks who is here. */
export async function refresh() {
  const answer = await ask('users');
  if (!answer?.users) return;
  unlisted = answer.more;
  if (!me.joined) return count(answer.users.length + unlisted);
  here.clear();
  for (const { username, user } of answer.users) arrive(user ?? username, username);
  draw();
  about(answer.server);
}

function arrive(user, name) {
  here.set(user, name);
  const same = names.meet(user, name);
  if (same !== undefined) log.showTags(same);
}

/** Draws the list, if it is seen: soon, but a crowd that comes all at once once. */
function draw() {
  if (drawing || !(wide.matches || panel.classList.contains('open'))) return;
  drawing = setTimeout(() => {
    drawing = undefined;
    drawn = performance.now();
    list();
  }, Math.max(drawn + PAUSE - performance.now(), 0));
}

const { compare } = new Intl.Collator();

function list() {
  search.hidden = here.size <= MANY;
  const wanted = names.look(search.hidden ? '' : search.value);
  const found = [...here].filter(([, name]) => names.look(name).includes(wanted)).sort(([, one], [, other]) => compare(one, other));
  const lines = found.map(([user, name]) => {
    const line = element('li', '', names.signature(user, name));
    if (!me.tags.has(user)) return line;
    const you = element('small', 'you');
    say(you, 'you');
    line.append(' ', you);
    return line;
  });
  if (unlisted && !wanted) say((lines[lines.length] = element('li', '')), 'others', unlisted);
  $('names').replaceChildren(...lines);
}

search.addEventListener('input', list);
wide.addEventListener('change', draw);

/** Opens or closes the list, where it is not always there. */
function open(yes) {
  panel.classList.toggle('open', yes);
  button.ariaExpanded = yes;
  if (!yes) return;
  list();
  refresh();
  (search.hidden ? $('names') : search).focus();
}

button.addEventListener('click', () => open(!panel.classList.contains('open')));
panel.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape' || wide.matches) return;
  open(false);
  button.focus();
});
document.addEventListener('click', ({ target }) => panel.contains(target) || button.contains(target) || open(false));

socket.on('user count', ({ numUsers }) => count(numUsers));

socket.on('user joined', ({ username, user, numUsers }) => {
  if ($('room').hidden) return count(numUsers); // a list for each of a crowd would cost the server much
  later(() => {
    count(numUsers);
    arrive(user ?? username, username);
    draw();
    log.presence(user, username, 'came');
  });
});

socket.on('user left', ({ username, user, numUsers }) => {
  if ($('room').hidden) return count(numUsers);
  later(() => {
    count(numUsers);
    forget(user ?? username);
    log.presence(user, username, 'went');
    here.delete(user ?? username);
    draw();
  });
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
  const labels = [...typists.values()].map(({ label }) => label);
  const [subject, verb] = $('typing').children;
  say(subject, labels.length ? 'typists' : '', labels);
  say(verb, labels.length ? 'typing' : '', labels.length > 1);
}
