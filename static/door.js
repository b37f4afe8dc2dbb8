// The door: a server with a password refuses clients that do not present it. The tab keeps it, and never puts it into a URL.
import { banner, socket } from './connection.js';
import { remember } from './me.js';
import { $, say } from './texts.js';

const field = $('password');
const kept = remember('password');
if (kept) socket.auth = { password: kept };

/** Connects with the password that was entered. Returns whether one is wanted. */
export function knock() {
  if (field.hidden) return false;
  socket.auth = { password: remember('password', field.value) };
  socket.connect();
  return true;
}

socket.on('connect_error', ({ message }) => {
  if (message !== 'password') return;
  banner('');
  say($('trouble'), socket.auth ? 'wrong' : '');
  delete socket.auth;
  remember('password', '');
  for (const element of [field, $('entrance'), ...field.labels]) element.hidden = false;
  for (const id of ['room', 'people', 'count', 'leave']) $(id).hidden = true;
  field.required = true;
  $($('name').value ? 'password' : 'name').focus();
});

socket.on('connect', () => {
  for (const element of [field, ...field.labels]) element.hidden = true;
  field.required = false;
  say($('trouble'), '');
});
