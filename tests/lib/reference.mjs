// The official server (socket.io from npm) with the events of its public chat example and salon's page: what salon is
// compared with. Takes PORT and HOST as salon does, and the ping interval in ms as SALON_PING_INTERVAL. It judges no names
// or texts; salon does.
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import { Server } from 'socket.io';

const FILES = {
  '/': ['index.html', 'text/html; charset=utf-8'],
  '/style.css': ['style.css', 'text/css; charset=utf-8'],
  '/main.js': ['main.js', 'text/javascript; charset=utf-8'],
  '/icon.svg': ['icon.svg', 'image/svg+xml'],
};
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
  "base-uri 'none'; form-action 'self'; frame-ancestors 'self'";

const server = http.createServer(async (request, response) => {
  const file = FILES[request.url];
  if (!file) return response.writeHead(404).end();
  const body = (file.body ??= await readFile(new URL(`../../static/${file[0]}`, import.meta.url)));
  response.writeHead(200, { 'Content-Type': file[1], 'Content-Security-Policy': POLICY }).end(body);
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
