// The chat page. Events and their fields are those of Socket.IO's public chat example. Whatever other people wrote
// reaches the page as textContent only, so markup stays text.
const LINES = 1000; // lines kept in the log; the oldest go first
const IDLE = 1500; // ms without a key until `stop typing` is sent
const ANSWER = 10000; // ms to wait for a refusal; the server acknowledges nothing else
const HUES = 12; // as many as style.css has

const $ = (id) => document.getElementById(id);
const [join, send, log, text] = ['join', 'send', 'log', 'text'].map($);
const joinButton = join.querySelector('button');
const sendButton = send.querySelector('button');

// Relative to the page, so that it also works below a sub-path.
const socket = io({ path: new URL('socket.io/', document.baseURI).pathname });

let name = ''; // as asked for; empty until the form was sent
let joined = false; // the server knows the name on this connection
let wasJoined = false; // ... or knew it on an earlier one: this is a return
let people = 0; // how many, as last heard
let idle; // timer that ends our own typing; undefined while we do not type
const typists = new Set();

// ---- what the page shows

function element(tag, className, content) {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = content;
  return made;
}

/** Adds a line to the log and follows it, unless the reader has scrolled back. */
function add(line) {
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  log.append(line);
  if (log.childElementCount > LINES) log.firstElementChild.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

const note = (content, className = '') => add(element('li', `note ${className}`, content));

function message(author, content, own) {
  const line = element('li', own ? 'message mine' : 'message', '');
  line.append(element('b', `hue${hue(author)}`, author), ' ', element('span', '', content));
  add(line);
  if (own) log.scrollTop = log.scrollHeight;
}

/** The same colour for the same name on every page. */
function hue(author) {
  let hash = 7;
  for (let i = 0; i < author.length; i++) hash = (hash * 31 + author.charCodeAt(i)) >>> 0;
  return hash % HUES;
}

function count(users) {
  people = users;
  $('people').textContent = people === 1 ? '1 participant' : `${people} participants`;
}

function showTyping() {
  const names = [...typists];
  const last = names.pop();
  const subject = names.length > 2 ? 'Several people' : names.length ? `${names.join(', ')} and ${last}` : last;
  $('typing').textContent = last === undefined ? '' : `${subject} ${names.length ? 'are' : 'is'} typing…`;
}

function forget(typist) {
  if (typists.delete(typist)) showTyping();
}

// ---- what we do

join.addEventListener('submit', (event) => {
  event.preventDefault();
  name = $('name').value.trim();
  $('trouble').textContent = name ? '' : 'Please enter a name.';
  if (name && socket.connected) login();
});

function login() {
  joinButton.disabled = true; // or a second name could be shown than the one the server took
  socket.timeout(ANSWER).emit('add user', name, (_, answer) => {
    joinButton.disabled = false;
    if (answer?.error) $('trouble').textContent = answer.error;
  });
}

send.addEventListener('submit', (event) => {
  event.preventDefault();
  const content = text.value.trim();
  if (!content || !joined) return; // while offline the text stays where it is
  text.value = '';
  stopTyping();
  message(name, content, true);
  socket.timeout(ANSWER).emit('new message', content, (_, answer) => {
    if (answer?.error) note(`Your message was not sent: ${answer.error}`, 'bad');
  });
});

text.addEventListener('input', () => {
  if (!joined) return;
  if (!text.value) return stopTyping();
  if (idle === undefined) socket.emit('typing');
  clearTimeout(idle);
  idle = setTimeout(stopTyping, IDLE);
});

function stopTyping() {
  if (idle === undefined) return;
  clearTimeout(idle);
  idle = undefined;
  if (joined) socket.emit('stop typing');
}

function setJoined(value) {
  joined = value;
  sendButton.disabled = !value;
}

// ---- what the server says

socket.on('login', ({ numUsers }) => {
  count(numUsers);
  if (joined) return; // recovered so late that the others had been told that we left
  setJoined(true);
  if (wasJoined) return note('You are connected again.');
  wasJoined = true;
  $('entrance').hidden = true;
  $('room').hidden = false;
  text.focus();
  note(`Welcome, ${name}!`);
});

socket.on('new message', ({ username, message: content }) => {
  forget(username);
  message(username, content, false);
});

socket.on('user joined', ({ username, numUsers }) => {
  count(numUsers);
  note(`${username} joined`);
});

socket.on('user left', ({ username, numUsers }) => {
  forget(username);
  count(numUsers);
  note(`${username} left`);
});

socket.on('typing', ({ username }) => {
  typists.add(username);
  showTyping();
});

socket.on('stop typing', ({ username }) => forget(username));

// After a short break the server still knows us, and sends what we have missed. Otherwise we give the name again.
socket.on('connect', () => {
  $('trouble').textContent = '';
  if (socket.recovered && wasJoined) {
    setJoined(true);
    count(people);
    note('You are connected again.');
  } else if (name) {
    login();
  }
});

socket.on('connect_error', () => {
  if (!wasJoined) $('trouble').textContent = 'No connection to the server. Trying again…';
});

socket.on('disconnect', () => {
  setJoined(false);
  stopTyping();
  typists.clear();
  showTyping();
  $('people').textContent = 'offline';
  // A socket that is not active was sent away and does not come back by itself.
  note(socket.active ? 'You are disconnected. Trying to connect again…' : 'The server ended the connection. Reload the page to join again.', 'bad');
});
