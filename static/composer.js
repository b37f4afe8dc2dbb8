// The field in which a message is written, and what others hear of it meanwhile.
import { socket } from './connection.js';
import { me } from './me.js';
import { say } from './messages.js';
import { $ } from './texts.js';

const TYPING = 3000; // ms: as often `typing` is sent again while we type, and so long after the last key we do not
const ROWS = 6; // of the text field, at most

const field = $('text');
let typingSince; // when we last sent `typing`; undefined while we do not type
let idleTimer;

function submit() {
  const message = field.value.trim();
  if (!message) return;
  field.value = '';
  field.rows = 1;
  stopTyping();
  say(message);
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
