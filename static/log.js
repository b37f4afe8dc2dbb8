// The lines of the room: messages in the order of their numbers, days and notes between them. Whatever other people
// wrote reaches the page as text only, so markup stays text.
import { label, look, shown, tag } from './names.js';
import { $, element, say } from './texts.js';

const LINES = 1000; // kept on the page; the oldest go first
const PAUSE = 5 * 60_000; // ms of silence after which the author's name is shown again
const HUES = 12; // as many as style.css has
const UNHEARD = 1000; // ms until what was added in silence is surely no news to a screen reader

// Up to what may end a sentence, and without any invisible character.
const LINK = /https?:\/\/[^\s<>"\p{C}]*[^\s<>"\p{C}.,;:!?')\]}]/giu;

const [log, lines, news] = ['log', 'lines', 'news'].map($);
const known = new Map(); // id of a message -> its line
let newest = 0; // the highest number of a message
let following = true; // the reader is at the end
let end; // its scroll position when the log was last laid out
let unread = 0; // messages below what the reader sees
let missed = 0; // messages since the page was last visible
let listening; // timer after which additions are read aloud again

// ---- where a line stands, and what it shows

/** Puts the line behind those of lower numbers; those without a number yet stay last. */
function place(line) {
  const before = lastUpTo(line.n);
  const changed = [line, line.nextElementSibling];
  if (!before) lines.prepend(line);
  else if (before !== line) before.after(line);
  changed.push(line.nextElementSibling);
  for (const one of changed) if (one) dress(one);
  if (lines.childElementCount <= LINES) return;
  const [oldest, second] = lines.children;
  known.delete(oldest.id_);
  oldest.remove();
  dress(second);
}

function lastUpTo(n) {
  let line = lines.lastElementChild;
  while (line && line.n > n) line = line.previousElementSibling;
  return line;
}

/** Shows the day where it changes, and the author where another begins. */
function dress(line) {
  const before = line.previousElementSibling;
  const newDay = !before || new Date(before.time).toDateString() !== new Date(line.time).toDateString();
  line.querySelector('.day')?.remove();
  if (newDay) {
    const day = element('p', 'day');
    const time = day.appendChild(element('time', ''));
    time.dateTime = new Date(line.time - new Date(line.time).getTimezoneOffset() * 60_000).toISOString().slice(0, 10);
    say(time, 'day', line.time);
    line.prepend(day);
  }
  const same = before?.message && line.message && before.user === line.user && before.username === line.username;
  line.classList.toggle('follows', Boolean(same && !newDay && line.time - before.time < PAUSE));
}

/** The same colour for the same name on every page, and another for a second user of it. */
function hue(user, name) {
  const text = look(name) + tag(user, name);
  let hash = 7;
  for (let i = 0; i < text.length; i++) hash = (hash * 31 + text.charCodeAt(i)) >>> 0;
  return `hue${hash % HUES}`;
}

/** There are users of one name: their messages get their tags. */
export function showTags() {
  for (const line of lines.querySelectorAll('.message')) signature(line);
}

function signature(line) {
  const author = line.querySelector('b');
  author.className = hue(line.user, line.username);
  author.replaceChildren(element('bdi', '', shown(line.username)), element('small', '', tag(line.user, line.username)));
}

function stamp(line, time) {
  line.time = time;
  const shown = line.querySelector('.head time');
  shown.dateTime = new Date(time).toISOString();
  say(shown, 'clock', time);
}

/** The text with its links; line breaks are kept by the style sheet. */
function paragraph(content) {
  const made = element('p', 'text');
  made.dir = 'auto';
  let end = 0;
  for (const { 0: found, index } of content.matchAll(LINK)) {
    const link = element('a', '', found);
    link.href = found;
    if (!link.host) continue; // no URL after all
    link.rel = 'noopener noreferrer nofollow';
    link.target = '_blank';
    made.append(content.slice(end, index), link);
    end = index + found.length;
  }
  made.append(content.slice(end));
  return made;
}

// ---- messages

/** The line of a message that is known already. */
export const find = (id) => known.get(id);

// Adds a message: `{id, n, time, user, username, message}`, `n` being Infinity while it has no number. `own`: of this
// page's user; `fresh`: said at this moment.
export function add(message, own, fresh) {
  const line = element('li', own ? 'message mine' : 'message');
  const { id, n = newest, time = Date.now(), user, username } = message;
  Object.assign(line, { id_: id, n, user, username, message: String(message.message) });
  const head = line.appendChild(element('p', 'head'));
  head.append(element('b', ''), ' ', element('time', ''));
  if (user) head.firstElementChild.title = `#${user}`;
  line.append(paragraph(line.message));
  signature(line);
  stamp(line, time);
  if (id) known.set(id, line);
  if (n < Infinity) newest = Math.max(newest, n);
  place(line);
  if (own && fresh) following = true;
  else if (!following) say(news, 'news', ++unread);
  news.hidden = following || !unread;
  if (!own && document.hidden) title(missed + 1);
  return line;
}

/** The message has a number now, or none of its own, and its place goes by it. */
export function number(line, n = newest, time = line.time) {
  line.n = n;
  if (n < Infinity) newest = Math.max(newest, n);
  stamp(line, time);
  place(line);
}

/** The oldest numbers are those of another history; what is shown stays before all that comes. */
export function restart() {
  newest = 0;
  for (const line of lines.children) {
    if (line.n !== Infinity) line.n = 0;
  }
}

/** `key` of the text below the message (none: it has arrived), and what a button beside it does. */
export function state(line, key, args = [], retry) {
  line.querySelector('.state')?.remove();
  if (!key) return;
  const made = line.appendChild(element('p', 'state'));
  made.classList.toggle('bad', key !== 'sending');
  say(made.appendChild(element('span', '')), key, ...args);
  if (!retry) return;
  const button = made.appendChild(element('button', ''));
  say(button, 'retry');
  button.addEventListener('click', retry);
}

// ---- notes

/** A note behind message number `n`, by default the newest. */
export function note(key, args = [], n = newest) {
  const line = element('li', 'note');
  Object.assign(line, { n, time: Date.now() });
  say(line.appendChild(element('span', '')), key, ...args);
  place(line);
  return line;
}

/** Somebody `came` or `went`: one line for all of whom nothing else was between. */
export function presence(user, name, what) {
  const last = lastUpTo(newest);
  const line = last?.moves ? last : note('presence', [[]]);
  line.moves ??= new Map();
  const key = user ?? name;
  const first = line.moves.get(key)?.first ?? what;
  line.moves.set(key, { name: label(user, name), first, last: what });
  const groups = { came: [], went: [], passed: [], returned: [] };
  for (const { name, first, last } of line.moves.values()) {
    groups[first === last ? first : last === 'went' ? 'passed' : 'returned'].push(name);
  }
  say(line.lastElementChild, 'presence', Object.entries(groups).filter(([, names]) => names.length));
}

// ---- reading

/** What is added now is not read aloud: it is old. */
export function hush() {
  clearTimeout(listening);
  log.setAttribute('aria-live', 'off');
  listening = setTimeout(() => log.setAttribute('aria-live', 'polite'), UNHEARD);
}

function title(count) {
  missed = count;
  document.title = count ? `(${count}) salon` : 'salon';
}

// Whatever grows or shrinks, a line or the window when a phone shows its keyboard: who was at the end stays there.
const sizes = new ResizeObserver(() => {
  end = log.scrollHeight - log.clientHeight;
  if (following) log.scrollTop = end;
});
sizes.observe(log);
sizes.observe(lines);

log.addEventListener('scroll', () => {
  // What has come since is not the reader's doing; when less is to be scrolled the browser moves.
  following = Math.min(end, log.scrollHeight - log.clientHeight) - log.scrollTop < 40;
  if (following) unread = 0;
  news.hidden = !unread;
});

news.addEventListener('click', () => {
  log.scrollTop = end;
  log.focus({ preventScroll: true }); // the button goes
});

document.addEventListener('visibilitychange', () => document.hidden || title(0));
