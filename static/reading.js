// Where the reader is: at the end, which then stays in view, or above it, where nothing moves; what is new, and since when.
import * as log from './log.js';
import { remember } from './me.js';
import { $, say } from './texts.js';

const TITLE = document.title; // that of --title
const LINES = 1000; // kept on the page while the reader is at the end
const MOST = 3000; // while they read above
const SPARE = 200; // go at once then: with one for one the height would not change, and `settle` not hear of it
const NEAR = 40; // pixels from the end that are the end
const TOP = 400; // pixels from the top at which older messages are wanted

const [view, lines, news] = ['log', 'lines', 'news'].map($);
let following = true; // the reader is at the end
let end = 0; // its scroll position when the log was last laid out
let placed; // the scroll position that we have set
let anchor; // {line, top}: what the reader above sees first, and where
let read = remember('read'); // {at, key}: up to here the reader has seen everything
let returning = true; // the reader was away and has not seen the log since
let divider; // the line above what is new since then
let unread = 0; // messages below what the reader sees
let [missed, called] = [0, 0]; // messages since the page was last visible, and those of them that mention us
log.keep(LINES, 0);

const top = (line) => line.getBoundingClientRect().top - view.getBoundingClientRect().top;
const others = (line) => line.message !== undefined && !line.classList.contains('mine');

function scroll(position) {
  view.scrollTop = position;
  placed = view.scrollTop;
}

function follow(yes) {
  following = yes;
  log.keep(yes ? LINES : MOST, yes ? 0 : SPARE);
  if (yes) unread = 0;
  if (yes && !document.hidden) see();
  news.hidden = !unread;
}

/** The reader has seen all that there is. */
function see() {
  let line = lines.lastElementChild;
  while (line && !(line.key && line.at < Infinity)) line = line.previousElementSibling;
  if (line) read = { at: line.at, key: line.key };
}

/** The reader goes (`hides`), or the connection does: what comes from now on is new. */
export function leave(hides) {
  returning = true;
  if (!following || (document.hidden && !hides)) return;
  see();
  divider?.remove();
  divider = undefined;
}

// Tells of a line that was added: `own`: of this page's user; `live`: said at this moment; `mention`: names us.
export function added(line, own, live, mention) {
  if (own) return live && follow(true);
  if ((document.hidden || !live) && read && !divider && log.isAfter(line, read)) mark(line);
  if (!following) {
    say(news, 'news', ++unread);
    news.hidden = false;
  } else if (live && !document.hidden) see();
  if (document.hidden) title(missed + 1, called + mention);
}

/** Marks where the new begins. */
function mark(line) {
  let first = line;
  for (let at = line; at && (log.isAfter(at, read) || !at.key); at = log.previous(at)) if (others(at)) first = at;
  divider = log.note('since', [], first.at);
  divider.classList.add('since');
}

function title(count, mentions) {
  [missed, called] = [count, mentions];
  const counts = mentions ? `(${count}, @${mentions}) ` : count ? `(${count}) ` : '';
  document.title = counts + TITLE;
}

/** Whatever grows or shrinks, a line or the window when a phone shows its keyboard: what the reader sees stays. */
function settle() {
  if (document.hidden) return;
  end = view.scrollHeight - view.clientHeight;
  if (following && returning && divider?.isConnected) {
    const start = view.scrollTop + top(divider) - view.clientHeight / 4;
    if (start < end - NEAR) {
      unread = 0;
      for (let line = divider; line; line = log.next(line)) unread += others(line);
      say(news, 'news', unread);
      scroll(start);
      follow(false);
      hold();
    }
  }
  if (divider) returning = false;
  if (following) scroll(end);
  else if (anchor?.line.isConnected) scroll(view.scrollTop + top(anchor.line) - anchor.top);
  if (view.scrollTop < TOP) view.dispatchEvent(new Event('top'));
}
const sizes = new ResizeObserver(settle);
sizes.observe(view);
sizes.observe(lines);

/** Takes the first line in view as the one that stays. */
function hold() {
  const { children } = lines;
  let [low, high] = [0, children.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (children[middle].getBoundingClientRect().bottom > view.getBoundingClientRect().top) high = middle;
    else low = middle + 1;
  }
  const line = children[low]?.at === undefined ? children[low + 1] : children[low];
  anchor = line && { line, top: top(line) };
}

view.addEventListener('scroll', () => {
  if (Math.abs(view.scrollTop - placed) < 1) return; // our own doing
  placed = undefined;
  // What has come since is not the reader's doing; when less is to be scrolled the browser moves.
  follow(Math.min(end, view.scrollHeight - view.clientHeight) - view.scrollTop < NEAR);
  hold();
  if (view.scrollTop < TOP) view.dispatchEvent(new Event('top'));
});

news.addEventListener('click', () => {
  follow(true);
  scroll(end);
  view.focus({ preventScroll: true }); // the button goes
});

document.addEventListener('visibilitychange', () => {
  if (document.hidden) return leave(true);
  title(0, 0);
  settle();
});

// ---- over a reload

addEventListener('pagehide', () => {
  leave();
  remember('read', read);
  remember('place', following || !anchor ? null : { at: anchor.line.at, key: anchor.line.key, top: anchor.top });
});

/** The reader was above the end when the tab was reloaded. Returns whether the place is on the page, and goes there. */
export function restore(place) {
  const line = log.find(place.key);
  if (!line) return false;
  follow(false);
  anchor = { line, top: place.top };
  settle();
  return true;
}
