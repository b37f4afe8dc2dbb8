// The connection: one socket, what the banner says of it, the server's clock, and how the page leaves and comes back.
import { me } from './me.js';
import { $, say } from './texts.js';

const ANSWER = 10_000; // ms to wait for an answer of the server
const QUIET = 2500; // ms for which a connection may be missing before the banner says so: one attempt of the client
const BACK = 4000; // ms for which it says that all is well again
const WRONG = 60_000; // ms by which our clock may differ from the server's

// Relative to the page, so that it also works below a sub-path.
const path = new URL('socket.io/', document.baseURI).pathname;
export const socket = io({ path, autoConnect: false }); // first all parts of the page listen

let server; // name of the server that we are connected to
let ahead = 0; // ms by which the server's clock is ahead of ours
let bannerTimer;

/** Emits an event. Returns what the server acknowledges it with; `undefined` if nothing comes. */
export const ask = (...event) =>
  new Promise((resolve) => socket.timeout(ANSWER).emit(...event, (_, answer) => resolve(answer)));

/** The time by the server's clock, as far as we know it. */
export const now = () => Date.now() + ahead;

/** The server says that it is this time. */
export function learn(time) {
  if (Math.abs(time - now()) > WRONG) ahead = time - Date.now();
}

export function banner(key, ...args) {
  clearTimeout(bannerTimer);
  say($('status'), key, ...args);
  $('again').hidden = key !== 'ended';
}

/** Says what the connection is made of. */
export function about(name = server) {
  server = name;
  say($('about'), 'about', socket.io.engine.transport.name, location.host, server);
}

/** Connects for the first time. */
export function begin() {
  bannerTimer = setTimeout(banner, QUIET, 'connecting');
  socket.connect();
}

socket.on('connect', () => {
  const { text: told } = $('status').dataset;
  banner(told && told !== 'connecting' ? 'back' : '');
  bannerTimer = setTimeout(banner, BACK, '');
  about();
  socket.io.engine.once('upgrade', () => about());
});

socket.on('disconnect', (reason) => {
  me.joined = false;
  say($('about'), '');
  clearTimeout(bannerTimer);
  if (reason === 'io server disconnect') banner('ended');
  else if (socket.active) bannerTimer = setTimeout(banner, QUIET, 'offline', now());
});

$('again').addEventListener('click', () => {
  banner('connecting');
  socket.connect();
});

/** Says that we leave. What polling would send is cancelled with the page, a beacon is not. */
export function part() {
  const { id, transport } = socket.io.engine;
  if (socket.connected && transport.name === 'polling') {
    navigator.sendBeacon(`${path}?EIO=4&transport=polling&sid=${id}`, '41');
  }
  socket.disconnect();
}
// Firefox has closed WebSockets by then: the connection is lost to the server, which waits for `leave_grace`.
addEventListener('pagehide', part);
// From the back-forward cache.
addEventListener('pageshow', (event) => event.persisted && socket.connect());
