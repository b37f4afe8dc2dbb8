// The field in which a message is written: its keys, its draft, its limit, and what others hear of it meanwhile.
import { socket } from './connection.js';
import { me, remember } from './me.js';
import { room, send } from './messages.js';
import { $, say } from './texts.js';

const TYPING = 3000; // ms: as often `typing` is sent again while we type, and so long after the last key we do not
const ROWS = 6; // of the text field, at most
const CLOSE = 0.1; // of the limit: when less is left the counter is shown

const [field, hint, counter] = ['text', 'hint', 'counter'].map($);
const touch = matchMedia('(pointer: coarse)'); // its keyboard has no Shift+Enter
let typingSince; // when we last sent `typing`; undefined while we do not type
let idleTimer;

function submit() {
  const message = field.value.trim();
  if (!message) return;
  const [left, limit] = room(message);
  if (left < 0) return say(hint, 'tooLong', limit); // and the text stays
  write('');
  stopTyping();
  send(message);
}

/** Puts a text into the field. */
export function write(text) {
  field.value = text;
  changed();
}

function changed() {
  remember('draft', field.value);
  field.rows = Math.min(ROWS, field.value.split('\n').length); // browsers that know field-sizing count wrapped lines too
  const [left, limit] = room(field.value.trim());
  say(hint, '');
  counter.classList.toggle('bad', left < 0);
  say(counter, left < limit * CLOSE ? 'left' : '', left);
}

write(remember('draft') ?? '');

$('send').addEventListener('submit', (event) => {
  event.preventDefault();
  submit();
});
// The focus stays in the field, or a phone would put its keyboard away.
$('send').addEventListener('mousedown', (event) => event.target.localName === 'button' && event.preventDefault());

const setKey = () => (field.enterKeyHint = touch.matches ? 'enter' : 'send');
touch.addEventListener('change', setKey);
setKey();

field.addEventListener('keydown', (event) => {
  // 229: Safari's Enter that ends a composition, of Japanese for instance, comes after the end.
  if (event.key !== 'Enter' || event.defaultPrevented || event.isComposing || event.keyCode === 229) return;
  if (event.shiftKey || (touch.matches && !event.ctrlKey && !event.metaKey)) return;
  event.preventDefault();
  field.form.requestSubmit();
});

field.addEventListener('input', () => {
  changed();
  if (!me.joined) return;
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
  if (typingSince !== undefined && me.joined) socket.emit('stop typing');
  typingSince = undefined;
}
socket.on('disconnect', stopTyping);

// The server has taken less than we knew.
field.addEventListener('refused', ({ detail }) => {
  write(field.value ? `${detail}\n${field.value}` : detail);
  const [, limit] = room(detail);
  if (limit < Infinity) say(hint, 'tooLong', limit);
  else say(hint, 'refused', 'too long');
});

// ---- files, which this chat does not carry

field.addEventListener('paste', ({ clipboardData }) => {
  if (clipboardData.files.length && !clipboardData.types.includes('text/plain')) say(hint, 'files');
});
for (const kind of ['dragover', 'drop']) {
  addEventListener(kind, (event) => {
    if (!event.dataTransfer.types.includes('Files')) return;
    event.preventDefault(); // or the browser leaves for the file
    if (kind === 'drop') say(hint, 'files');
  });
}
