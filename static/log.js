// The lines of the room: messages in the order in which they were said, days and notes between them.
import { now } from './connection.js';
import { fold, paragraph } from './markup.js';
import { label, look, signature } from './names.js';
import { $, element, say } from './texts.js';

const PAUSE = 5 * 60_000; // ms of silence after which the author is shown again
const UNHEARD = 1000; // ms until what was added in silence is surely no news to a screen reader
const CROWD = 500; // people in one line of arrivals and departures

const [log, lines] = ['log', 'lines'].map($);
const known = new Map(); // id of a message -> its line
let most = Infinity; // lines kept on the page
let spare = 0; // lines that go besides those above it
let listening; // timer after which additions are read aloud again

// A line is an element with these fields: `at`, the time by which it is placed; `time`, the one that it shows; `day`, the
// heading before it; of messages also `key`, their id, `n`, `user`, `username` and `message`.

// ---- where a line stands

/** The line before or after this one; days are none. */
export function next(line, way = 'nextElementSibling') {
  const other = line[way];
  return other?.at === undefined ? other?.[way] : other;
}
export const previous = (line) => next(line, 'previousElementSibling');
const last = () => lines.lastElementChild;
const first = () => (lines.firstElementChild?.at === undefined ? lines.children[1] : lines.firstElementChild);

/** Whether a line, or the place of a message that is not on the page, is behind another: of one time, by number, or id. */
export const isAfter = (one, other) =>
  one.at > other.at ||
  (one.at === other.at && one.at < Infinity && (one.n && other.n ? one.n > other.n : one.key > other.key));

/** Puts the line where it belongs by its time; those without one yet stay last. */
function place(line) {
  let before = last();
  while (before && (before === line || before.at === undefined || isAfter(before, line))) {
    before = before.previousElementSibling;
  }
  if (line.parentNode && before === previous(line)) return dress(line);
  const followed = line.parentNode && next(line);
  line.day?.remove();
  if (before) before.after(line);
  else lines.prepend(line);
  for (const changed of new Set([line, next(line), followed])) if (changed) dress(changed);
  trim();
}

/** Shows the day where it changes, and the author where another begins. */
function dress(line) {
  const before = previous(line);
  const date = new Date(line.time);
  const newDay = !before || new Date(before.time).toDateString() !== date.toDateString();
  if (!newDay) {
    line.day?.remove();
    line.day = undefined;
  } else if (line.day?.time !== line.time) {
    line.day?.remove();
    const time = element('time', '');
    time.dateTime = new Date(line.time - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 10);
    say(time, 'day', line.time);
    line.day = element('li', 'day', time);
    line.day.time = line.time;
  }
  if (line.day && line.day !== line.previousElementSibling) line.before(line.day);
  const same = before?.message !== undefined && before.user === line.user && before.username === line.username;
  line.classList.toggle('follows', Boolean(same && !newDay && line.time - before.time < PAUSE));
}

/** From here on at most so many lines are kept; the oldest go, `extra` more than must. */
export function keep(count, extra) {
  [most, spare] = [count, extra];
  trim();
}

function trim() {
  const excess = lines.childElementCount - most;
  if (excess <= 0) return;
  for (const line of [...lines.children].slice(0, excess + spare)) {
    known.delete(line.key);
    line.remove();
  }
  dress(first());
}

// ---- messages

/** The line of a message that is known already. */
export const find = (id) => known.get(id);

/** The oldest message on the page; all newer ones that the server has are there too. */
export function oldest() {
  for (let line = first(); line; line = next(line)) if (line.key && line.at < Infinity) return line;
}

// Adds a message: `{id, time, user, username, message}`, or one without a time, which is not sent yet. `own`: of this page's
// user; `live`: said at this moment, so it goes to the end even if a clock is slow.
export function add(message, own, live) {
  const line = element('li', own ? 'message mine' : 'message');
  const { id, n, time, user, username } = message;
  Object.assign(line, { key: id, n, at: time ?? Infinity, user, username, message: String(message.message) });
  if (live && time) line.at = behind(time, n);
  const head = element('p', 'head', '', ' ', element('time', ''));
  if (user) head.title = `#${user}`;
  line.append(head, paragraph(line.message));
  fold(line, line.message);
  sign(line);
  stamp(line, time ?? now());
  if (id) known.set(id, line);
  place(line);
  return line;
}

/** The last line that has a time, of those whose number is not higher. */
function end(n) {
  let line = last();
  while (line && (!(line.at < Infinity) || line.n > n)) line = line.previousElementSibling;
  return line;
}

/** The time by which a message is placed that belongs there: its own, unless what is there has a later one. */
function behind(time, n) {
  const line = end(n);
  return line?.at > time ? line.at + 0.001 : time;
}

/** The message has a time now, or none of its own, and its place goes by it. */
export function settle(line, time, live, n) {
  line.n = n;
  line.at = live ? behind(time ?? 0, n) : time;
  stamp(line, time ?? line.time);
  place(line);
}

/** The numbers are those of another history. */
export function restart() {
  for (const line of lines.children) line.n = undefined;
}

/** The message waits to be sent again. */
export function wait(line) {
  line.at = Infinity;
  place(line);
}

export function remove(line) {
  const after = next(line);
  known.delete(line.key);
  line.day?.remove();
  line.remove();
  if (after) dress(after);
}

function sign(line) {
  line.firstChild.replaceChild(signature(line.user, line.username), line.firstChild.firstChild);
}

/** Several users have names of this look: their messages get their tags. */
export function showTags(same) {
  for (const line of lines.querySelectorAll('.message')) if (same === look(line.username)) sign(line);
}

function stamp(line, time) {
  line.time = time;
  const shown = line.querySelector('.head time');
  shown.dateTime = new Date(time).toISOString();
  say(shown, 'clock', time);
}

lines.addEventListener('pointerover', ({ target }) => {
  const line = target.closest('.message');
  if (line) line.title = line.querySelector('time').title;
});

/** `key` of the text below the message (none: it has arrived), and what a button there does. Returns whether it had another. */
export function state(line, key, args = [], retry) {
  const old = line.querySelector('.state');
  old?.remove();
  if (!key) return old;
  const made = line.appendChild(element('p', key === 'sending' ? 'state' : 'state bad', element('span', '')));
  say(made.firstChild, key, ...args);
  if (!retry) return;
  const button = made.appendChild(element('button', ''));
  say(button, 'retry');
  button.addEventListener('click', retry);
}

// ---- notes

/** A note behind all lines, or before the messages of the time `at`. */
export function note(key, args = [], at) {
  const line = element('li', 'note', element('span', ''));
  const before = end();
  Object.assign(line, { at: at ?? (before ? before.at + 0.001 : now()), n: at ? undefined : before?.n, time: at ?? now(), key: '' });
  say(line.firstChild, key, ...args);
  place(line);
  return line;
}

/** Somebody `came` or `went`: one line for all of whom nothing else was between. */
export function presence(user, name, what) {
  let line = end();
  if (!(line?.moves?.size < CROWD)) {
    line = note('presence', [[]]);
    line.moves = new Map();
  }
  const first = line.moves.get(user ?? name)?.first ?? what;
  line.moves.set(user ?? name, { name: label(user, name), first, last: what });
  const groups = { came: [], went: [], passed: [], returned: [] };
  for (const { name, first, last } of line.moves.values()) {
    groups[first === last ? first : last === 'went' ? 'passed' : 'returned'].push(name);
  }
  say(line.firstChild, 'presence', Object.entries(groups).filter(([, names]) => names.length));
}

/** What is added now is not read aloud: it is old. */
export function hush() {
  clearTimeout(listening);
  log.ariaLive = 'off';
  listening = setTimeout(() => (log.ariaLive = 'polite'), UNHEARD);
}
