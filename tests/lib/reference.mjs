// The official server (socket.io from npm) with the events of its public chat example: what salon is compared with.
// Takes PORT and HOST as salon does, and the ping interval in ms as SALON_PING_INTERVAL. It judges no names or texts;
// salon does.
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { Server } from 'socket.io';

// Only the HTML, for the bench: the page's script would ask for more than this server knows.
const page = readFileSync(new URL('../../static/index.html', import.meta.url));
const headers = { 'Content-Type': 'text/html; charset=utf-8' };
const server = http.createServer(({ url }, response) => {
  if (url === '/') response.writeHead(200, headers).end(page);
  else response.writeHead(404).end();
});
const io = new Server(server, { pingInterval: Number(process.env.SALON_PING_INTERVAL ?? 25_000) });

let numUsers = 0;
io.on('connection', (socket) => {
  let username;
  const others = (event, fields) => socket.broadcast.emit(event, { username, ...fields });
  socket.on('add user', (name) => {
    if (username !== undefined) return;
    username = name;
    numUsers += 1;
    socket.emit('login', { numUsers });
    others('user joined', { numUsers });
  });
  socket.on('new message', (message) => others('new message', { message }));
  socket.on('typing', () => others('typing'));
  socket.on('stop typing', () => others('stop typing'));
  socket.on('disconnect', () => {
    if (username === undefined) return;
    numUsers -= 1;
    others('user left', { numUsers });
  });
});

process.on('SIGTERM', () => process.exit(0));
server.listen(process.env.PORT ?? 3000, process.env.HOST);
