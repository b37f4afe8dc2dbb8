// What known clients send, byte by byte, and what they need to see in return. The facts come from the public sources
// that each row names; rows of curl, Node and Python were compared with what the programs send. behaviours.test.mjs
// replays every row; a new client is a new row.
//
// A row:
//   client, version, transport, eio
//   source    repositories, versions (tag or commit) and files from which the row is taken; also those of the library
//             that forms heads and frames, if it is another repository
//   supposed  facts of the row that no source shows; `supposed: true` is a row without a source, which does not count
//   note      what is peculiar about the client
//   args      options of salon
//   needs     fields of the Engine.IO handshake that the client reads
//   mask      key of every frame; random if not given
//   fresh     each request has a connection of its own
//   heads     request heads: the request line, then the fields in the client's order. Placeholders: {HOST}, {SID},
//             {TIME} (a new number each time), {LENGTH} (of the body), {KEY} (16 random bytes in base64), {KEY20} (20)
//   steps     what happens, in order
//
// A step has one of
//   send      a head, with `body` (one byte per character), on connection `on` ('main' if not given)
//   upgrade   a head that asks for a WebSocket, on connection `on` ('ws' if not given)
//   frames    texts of WebSocket frames, in one write
//   answer    a connection: the answer to a request that was sent there as `parked`
// and what the client needs to see then
//   status    200 if not given; for an upgrade 101 with the right Sec-WebSocket-Accept
//   fields    response fields that the client reads
//   text      the whole body
//   packets   Engine.IO packets, in this order; `*` stands for anything. Until all are there, a GET is repeated, as
//             every client polls again; if they came before, none is sent

const ADD_USER = '42["add user","Ada"]';
const MESSAGE = '42["new message","hello"]';
const LOGIN = '42["login",*';
const TEXT = { 'content-type': 'text/plain; charset=UTF-8' };

// How every row ends: the client joins the chat, says something and exchanges a heartbeat.
const WEBSOCKET_4 = [
  { frames: [ADD_USER], packets: [LOGIN] },
  { frames: [MESSAGE] },
  { packets: ['2'] },
  { frames: ['3'] },
];
const WEBSOCKET_3 = [
  { frames: [ADD_USER], packets: [LOGIN] },
  { frames: [MESSAGE] },
  { frames: ['2'], packets: ['3'] },
];
// With a GET under way while the client posts.
const POLLING_4 = [
  { send: 'get', on: 'poll', parked: true },
  { send: 'post', body: ADD_USER, text: 'ok' },
  { answer: 'poll', packets: [LOGIN] },
  { send: 'get', on: 'poll', parked: true },
  { send: 'post', body: MESSAGE, text: 'ok' },
  { answer: 'poll', packets: ['2'] },
  { send: 'post', body: '3', text: 'ok' },
];
// One request after the other.
const IN_TURN_4 = [
  { send: 'post', body: ADD_USER, text: 'ok' },
  { send: 'get', packets: [LOGIN] },
  { send: 'post', body: MESSAGE, text: 'ok' },
  { send: 'get', packets: ['2'] },
  { send: 'post', body: '3', text: 'ok' },
];
const IN_TURN_3 = [
  { send: 'post', body: `20:${ADD_USER}`, text: 'ok' },
  { send: 'get', packets: [LOGIN] },
  { send: 'post', body: `25:${MESSAGE}`, text: 'ok' },
  { send: 'post', body: '1:2', text: 'ok' },
  { send: 'get', packets: ['3'] },
];
const BINARY_3 = [
  { send: 'post', body: `\x00\x02\x00\xff${ADD_USER}`, text: 'ok' },
  { send: 'get', packets: [LOGIN] },
  { send: 'post', body: `\x00\x02\x05\xff${MESSAGE}`, text: 'ok' },
  { send: 'post', body: '\x00\x01\xff2', text: 'ok' },
  { send: 'get', packets: ['3'] },
];
// A probe with a GET under way: the client waits until that is answered before it sends `5`.
const PROBE = [
  { send: 'get', on: 'poll', parked: true },
  { upgrade: 'ws' },
  { frames: ['2probe'], packets: ['3probe'] },
  { answer: 'poll', packets: ['6'] },
  { frames: ['5'] },
];
const POLLED_CONNECT_4 = [
  { send: 'open', fields: TEXT, packets: ['0{*'] },
  { send: 'get', on: 'poll', parked: true },
  { send: 'post', body: '40', text: 'ok' },
  { answer: 'poll', packets: ['40{*'] },
];
const WEBSOCKET_CONNECT_4 = [
  { upgrade: 'direct' },
  { packets: ['0{*'] },
  { frames: ['40'], packets: ['40{*'] },
];

// Where the facts come from.
const from = (repository, version, ...files) => ({ repository, version, files });
const ELEPHANT = ['Engine/Transport/Polling.php', 'Engine/SocketIO/Version1X.php', 'Parser/Polling/Encoder.php'];
const elephantAt = (version) => [from('ElephantIO/elephant.io', version, ...ELEPHANT.map((file) => `src/${file}`))];
const csharpAt = (version, ...files) =>
  from('doghappy/socket.io-client-csharp', version, ...files.map((file) => `src/SocketIOClient/${file}`));
const DOTNET = [
  from(
    'dotnet/runtime',
    '00283e82615c',
    'src/libraries/System.Net.WebSockets.Client/src/System/Net/WebSockets/WebSocketHandle.Managed.cs',
  ),
  from(
    'dotnet/runtime',
    '000f104699a6',
    'src/libraries/System.Net.Http/src/System/Net/Http/SocketsHttpHandler/HttpConnection.cs',
  ),
];
const JAVA = ['Socket', 'transports/Polling', 'transports/PollingXHR', 'transports/WebSocket'];
const OKHTTP = ['http/BridgeInterceptor', 'ws/RealWebSocket'];
const javaAt = (engine, socket) => [
  from(
    'socketio/engine.io-client-java',
    `engine.io-client-${engine}`,
    ...JAVA.map((file) => `src/main/java/io/socket/engineio/client/${file}.java`),
  ),
  from(
    'socketio/socket.io-client-java',
    `socket.io-client-${socket}`,
    'src/main/java/io/socket/client/Socket.java',
    'src/main/java/io/socket/parser/IOParser.java',
  ),
  from(
    'square/okhttp',
    'parent-3.12.12',
    ...OKHTTP.map((file) => `okhttp/src/main/java/okhttp3/internal/${file}.java`),
  ),
];
const CPP = ['src/internal/sio_client_impl.cpp', 'src/sio_socket.cpp', 'src/internal/sio_packet.cpp'];
const WEBSOCKETPP = ['processors/hybi13.hpp', 'impl/connection_impl.hpp', 'http/parser.hpp'];
const cppAt = (version) => [
  from('socketio/socket.io-client-cpp', version, ...CPP),
  from('zaphoyd/websocketpp', '56123c87598f', ...WEBSOCKETPP.map((file) => `websocketpp/${file}`)),
];
const ARDUINO = from(
  'Links2004/arduinoWebSockets',
  '2.7.2',
  'src/WebSocketsClient.cpp',
  'src/SocketIOclient.cpp',
  'src/WebSockets.cpp',
  'examples/esp8266_pico/WebSocketClientSocketIO/WebSocketClientSocketIO.ino',
);
const PYTHON_3 = [
  from('miguelgrinberg/python-engineio', 'v3.14.2', 'engineio/client.py', 'engineio/payload.py'),
  from('miguelgrinberg/python-socketio', 'v4.6.1', 'socketio/client.py'),
  from('psf/requests', 'v2.34.2', 'src/requests/utils.py'),
  from('websocket-client/websocket-client', 'v0.59.0', 'websocket/_handshake.py'),
];
const PYTHON_4 = [
  from(
    'miguelgrinberg/python-engineio',
    'v4.13.3',
    'src/engineio/client.py',
    'src/engineio/base_client.py',
    'src/engineio/payload.py',
  ),
  from('miguelgrinberg/python-socketio', 'v5.16.3', 'src/socketio/client.py'),
  from('psf/requests', 'v2.34.2', 'src/requests/utils.py'),
  from('websocket-client/websocket-client', 'v1.9.0', 'websocket/_handshake.py'),
];
const RUST = [
  from(
    '1c3t3a/rust-socketio',
    'v0.6.0',
    'engineio/src/client/client.rs',
    'engineio/src/socket.rs',
    'engineio/src/transports/polling.rs',
    'engineio/src/asynchronous/async_transports/websocket.rs',
    'engineio/src/asynchronous/async_transports/websocket_general.rs',
    'socketio/src/client/raw_client.rs',
  ),
  from('snapview/tungstenite-rs', 'v0.21.0', 'src/handshake/client.rs', 'src/client.rs'),
];
const UNITY = ['UriConverters/UriConverter.cs', 'Transport/Http/HttpPollingHandler.cs', 'SocketIO.cs'];
const unityAt = (version) =>
  from(
    'itisnajim/SocketIOUnity',
    version,
    ...UNITY.map((file) => `Runtime/SocketIOClient/${file}`),
    'Samples~/Sample/SocketManager.cs',
  );
const GODOT = [
  from('godotengine/godot', '4.x', 'modules/websocket/wsl_peer.cpp'),
  from('godotengine/godot', '00120405f4e2', 'core/io/http_client_tcp.cpp'),
];
const NODE = from(
  'socketio/socket.io',
  'socket.io-client@4.8.3',
  'packages/engine.io-client/lib/socket.ts',
  'packages/engine.io-client/lib/transports/websocket.ts',
  'packages/engine.io-client/lib/transports/polling-xhr.node.ts',
);
const ARTILLERY = from('artilleryio/artillery', 'artillery-2.0.34', 'packages/artillery/lib/core/engine_socketio.ts');
const WEBSITE = from(
  'socketio/socket.io-website',
  'ffb328802302',
  'docs/categories/01-Documentation/troubleshooting.md',
);
const RECIPE = from('socketio/socket.io-protocol', 'comment of 2020-10-02', 'issues/15');

const ALL = ['sid', 'upgrades', 'pingInterval', 'pingTimeout'];
const TIMES = ['sid', 'pingInterval', 'pingTimeout'];

const elephant = (version, url, eio = 4) => {
  const common = `
    Accept: */*
    Origin: ${url}
    Referer: ${url}
    User-Agent: Elephant.io/${version}`;
  const key = eio === 2 ? '{KEY20}' : '{KEY}';
  const type = eio === 4 ? 'text/plain; charset=UTF-8' : 'application/octet-stream';
  const upgrade = (query) => `
    GET /socket.io/?EIO=${eio}&transport=websocket&t={TIME}${query} HTTP/1.1
    Host: {HOST}${common}
    Connection: Upgrade
    Upgrade: websocket
    Sec-WebSocket-Key: ${key}
    Sec-WebSocket-Version: 13`;
  return {
    open: `
    GET /socket.io/?EIO=${eio}&transport=polling&t={TIME} HTTP/1.1
    Host: {HOST}${common}
    Connection: keep-alive`,
    get: `
    GET /socket.io/?EIO=${eio}&transport=polling&t={TIME}&sid={SID} HTTP/1.1
    Host: {HOST}${common}
    Connection: keep-alive`,
    post: `
    POST /socket.io/?EIO=${eio}&transport=polling&t={TIME}&sid={SID} HTTP/1.1
    Host: {HOST}
    Content-Type: ${type}
    Content-Length: {LENGTH}${common}
    Connection: keep-alive`,
    ws: upgrade('&sid={SID}'),
    direct: upgrade(''),
  };
};

const dotnet = (path = '/socket.io/', eio = 4) => ({
  open: `
    GET ${path}?EIO=${eio}&transport=polling HTTP/1.1
    Host: {HOST}`,
  // Version 4 gives every GET an empty content.
  openWithContent: `
    GET ${path}?EIO=${eio}&transport=polling HTTP/1.1
    Host: {HOST}
    Content-Type: text/plain; charset=utf-8
    Content-Length: 0`,
  get: `
    GET ${path}?EIO=${eio}&transport=polling&sid={SID}&t={TIME} HTTP/1.1
    Host: {HOST}`,
  getWithContent: `
    GET ${path}?EIO=${eio}&transport=polling&sid={SID}&t={TIME} HTTP/1.1
    Host: {HOST}
    Content-Type: text/plain; charset=utf-8
    Content-Length: 0`,
  post: `
    POST ${path}?EIO=${eio}&transport=polling&sid={SID}&t={TIME} HTTP/1.1
    Host: {HOST}
    Content-Type: text/plain; charset=utf-8
    Content-Length: {LENGTH}`,
  direct: `
    GET ${path}?EIO=${eio}&transport=websocket HTTP/1.1
    Host: {HOST}
    Connection: Upgrade
    Upgrade: websocket
    Sec-WebSocket-Version: 13
    Sec-WebSocket-Key: {KEY}`,
  ws: `
    GET ${path}?EIO=${eio}&transport=websocket&sid={SID} HTTP/1.1
    Host: {HOST}
    Connection: Upgrade
    Upgrade: websocket
    Sec-WebSocket-Version: 13
    Sec-WebSocket-Key: {KEY}`,
});

const URL_SESSION = `
    Accept: */*
    User-Agent: Chat/1 CFNetwork/1410.0.3 Darwin/22.6.0
    Accept-Language: en-GB,en;q=0.9
    Accept-Encoding: gzip, deflate
    Connection: keep-alive`;
const starscream = (target) => `
    GET ${target} HTTP/1.1
    Host: {HOST}
    Origin: ws://{HOST}
    Upgrade: websocket
    Connection: Upgrade
    Sec-WebSocket-Version: 13
    Sec-WebSocket-Key: {KEY}`;
const SWIFT_SUPPOSED = ['the order of the fields, and those that URLSession adds'];

const java = (eio) => ({
  open: `
    GET /socket.io/?EIO=${eio}&transport=polling HTTP/1.1
    Accept: */*
    Host: {HOST}
    Connection: Keep-Alive
    Accept-Encoding: gzip
    User-Agent: okhttp/3.12.12`,
  get: `
    GET /socket.io/?EIO=${eio}&transport=polling&sid={SID} HTTP/1.1
    Accept: */*
    Host: {HOST}
    Connection: Keep-Alive
    Accept-Encoding: gzip
    User-Agent: okhttp/3.12.12`,
  post: `
    POST /socket.io/?EIO=${eio}&transport=polling&sid={SID} HTTP/1.1
    Accept: */*
    Content-Type: text/plain;charset=UTF-8
    Content-Length: {LENGTH}
    Host: {HOST}
    Connection: Keep-Alive
    Accept-Encoding: gzip
    User-Agent: okhttp/3.12.12`,
  ws: `
    GET /socket.io/?EIO=${eio}&transport=websocket&sid={SID} HTTP/1.1
    Upgrade: websocket
    Connection: Upgrade
    Sec-WebSocket-Key: {KEY}
    Sec-WebSocket-Version: 13
    Host: {HOST}
    Accept-Encoding: gzip
    User-Agent: okhttp/3.12.12`,
  direct: `
    GET /socket.io/?EIO=${eio}&transport=websocket HTTP/1.1
    Upgrade: websocket
    Connection: Upgrade
    Sec-WebSocket-Key: {KEY}
    Sec-WebSocket-Version: 13
    Host: {HOST}
    Accept-Encoding: gzip
    User-Agent: okhttp/3.12.12`,
});

const websocketpp = (target) => `
    GET ${target} HTTP/1.1
    Connection: Upgrade
    Host: {HOST}
    Sec-WebSocket-Key: {KEY}
    Sec-WebSocket-Version: 13
    Upgrade: websocket
    User-Agent: WebSocket++/0.8.2`;

const arduino = (url) => ({
  open: `
    GET ${url}&transport=polling HTTP/1.1
    Host: {HOST}
    Connection: keep-alive
    Origin: file://
    User-Agent: arduino-WebSocket-Client`,
  ws: `
    GET ${url}&transport=websocket&sid={SID} HTTP/1.1
    Host: {HOST}
    Connection: Upgrade
    Upgrade: websocket
    Sec-WebSocket-Version: 13
    Sec-WebSocket-Key: {KEY}
    Sec-WebSocket-Protocol: arduino
    Origin: file://
    User-Agent: arduino-WebSocket-Client`,
});

const python = (eio) => ({
  open: `
    GET /socket.io/?transport=polling&EIO=${eio}&t={TIME}.7062447 HTTP/1.1
    Host: {HOST}
    User-Agent: python-requests/2.34.2
    Accept-Encoding: gzip, deflate
    Accept: */*
    Connection: keep-alive`,
  get: `
    GET /socket.io/?transport=polling&EIO=${eio}&sid={SID}&t={TIME}.7062447 HTTP/1.1
    Host: {HOST}
    User-Agent: python-requests/2.34.2
    Accept-Encoding: gzip, deflate
    Accept: */*
    Connection: keep-alive`,
  post: `
    POST /socket.io/?transport=polling&EIO=${eio}&sid={SID} HTTP/1.1
    Host: {HOST}
    User-Agent: python-requests/2.34.2
    Accept-Encoding: gzip, deflate
    Accept: */*
    Connection: keep-alive
    Content-Type: ${eio === 4 ? 'text/plain' : 'application/octet-stream'}
    Content-Length: {LENGTH}`,
  ws: `
    GET /socket.io/?transport=websocket&EIO=${eio}&sid={SID}&t={TIME}.7062447 HTTP/1.1
    Upgrade: websocket
    Host: {HOST}
    Origin: http://{HOST}
    Sec-WebSocket-Key: {KEY}
    Sec-WebSocket-Version: 13
    Connection: Upgrade`,
  direct: `
    GET /socket.io/?transport=websocket&EIO=${eio}&t={TIME}.7062447 HTTP/1.1
    Upgrade: websocket
    Host: {HOST}
    Origin: http://{HOST}
    Sec-WebSocket-Key: {KEY}
    Sec-WebSocket-Version: 13
    Connection: Upgrade`,
});

const RUST_HEADS = {
  open: `
    GET /socket.io/?EIO=4&transport=polling HTTP/1.1
    accept: */*
    host: {HOST}`,
  get: `
    GET /socket.io/?EIO=4&sid={SID}&transport=polling HTTP/1.1
    accept: */*
    host: {HOST}`,
  post: `
    POST /socket.io/?EIO=4&sid={SID}&transport=polling HTTP/1.1
    accept: */*
    host: {HOST}
    content-length: {LENGTH}`,
  ws: `
    GET /socket.io/?EIO=4&sid={SID}&transport=websocket HTTP/1.1
    Host: {HOST}
    Connection: Upgrade
    Upgrade: websocket
    Sec-WebSocket-Version: 13
    Sec-WebSocket-Key: {KEY}`,
  direct: `
    GET /socket.io/?EIO=4&transport=websocket HTTP/1.1
    Host: {HOST}
    Connection: Upgrade
    Upgrade: websocket
    Sec-WebSocket-Version: 13
    Sec-WebSocket-Key: {KEY}`,
};

const godot = (target) => `
    GET ${target} HTTP/1.1
    Host: {HOST}
    Upgrade: websocket
    Connection: Upgrade
    Sec-WebSocket-Key: {KEY}
    Sec-WebSocket-Version: 13`;

const node = (protocols = '') => ({
  open: `
    GET /socket.io/?EIO=4&transport=polling&t={TIME} HTTP/1.1
    User-Agent: node-XMLHttpRequest
    Accept: */*
    Host: {HOST}
    Connection: close`,
  get: `
    GET /socket.io/?EIO=4&transport=polling&t={TIME}&sid={SID} HTTP/1.1
    User-Agent: node-XMLHttpRequest
    Accept: */*
    Host: {HOST}
    Connection: close`,
  post: `
    POST /socket.io/?EIO=4&transport=polling&t={TIME}&sid={SID} HTTP/1.1
    User-Agent: node-XMLHttpRequest
    Accept: */*
    Content-type: text/plain;charset=UTF-8
    Host: {HOST}
    Content-Length: {LENGTH}
    Connection: close`,
  ws: `
    GET /socket.io/?EIO=4&transport=websocket&sid={SID} HTTP/1.1
    Sec-WebSocket-Version: 13
    Sec-WebSocket-Key: {KEY}
    Connection: Upgrade
    Upgrade: websocket
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits${protocols}
    Host: {HOST}`,
  direct: `
    GET /socket.io/?EIO=4&transport=websocket HTTP/1.1
    Sec-WebSocket-Version: 13
    Sec-WebSocket-Key: {KEY}
    Connection: Upgrade
    Upgrade: websocket
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits${protocols}
    Host: {HOST}`,
});

const curl = (eio) => ({
  open: `
    GET /socket.io/?EIO=${eio}&transport=polling HTTP/1.1
    Host: {HOST}
    User-Agent: curl/7.88.1
    Accept: */*`,
  get: `
    GET /socket.io/?EIO=${eio}&transport=polling&sid={SID} HTTP/1.1
    Host: {HOST}
    User-Agent: curl/7.88.1
    Accept: */*`,
  post: `
    POST /socket.io/?EIO=${eio}&transport=polling&sid={SID} HTTP/1.1
    Host: {HOST}
    User-Agent: curl/7.88.1
    Accept: */*
    Content-Length: {LENGTH}
    Content-Type: application/x-www-form-urlencoded`,
});

export const ROWS = [
  {
    client: 'elephant.io',
    version: '4.13.1',
    transport: 'polling, then WebSocket',
    eio: 4,
    source: elephantAt('v4.13.1'),
    note: 'The default. No probe: the first frame is `5`. One connection for everything. Origin is the URL as given.',
    needs: ALL,
    heads: elephant('v4.13.1', 'http://{HOST}'),
    steps: [
      { send: 'open', packets: ['0{*'] },
      { send: 'post', body: '40', text: 'ok' },
      { send: 'get', packets: ['40{*'] },
      { upgrade: 'ws', on: 'main' },
      { frames: ['5'] },
      ...WEBSOCKET_4,
    ],
  },
  {
    client: 'elephant.io',
    version: '4.13.1',
    transport: 'WebSocket',
    eio: 4,
    source: elephantAt('v4.13.1'),
    needs: ALL,
    heads: elephant('v4.13.1', 'http://{HOST}'),
    steps: [...WEBSOCKET_CONNECT_4, ...WEBSOCKET_4],
  },
  {
    client: 'elephant.io',
    version: '4.13.1',
    transport: 'polling, then WebSocket',
    eio: 3,
    source: elephantAt('v4.13.1'),
    needs: ALL,
    heads: elephant('v4.13.1', 'http://{HOST}', 3),
    steps: [
      { send: 'open', packets: ['0{*'] },
      { upgrade: 'ws', on: 'main' },
      { frames: ['5'] },
      { packets: ['40'] },
      ...WEBSOCKET_3,
    ],
  },
  {
    client: 'elephant.io',
    version: '5.1.0',
    transport: 'polling, then WebSocket',
    eio: 4,
    source: elephantAt('v5.1.0'),
    note: 'With a URL that ends in a slash.',
    needs: ALL,
    heads: elephant('v5.1.0', 'http://{HOST}/'),
    steps: [
      { send: 'open', packets: ['0{*'] },
      { send: 'post', body: '40', text: 'ok' },
      { send: 'get', packets: ['40{*'] },
      { upgrade: 'ws', on: 'main' },
      { frames: ['5'] },
      ...WEBSOCKET_4,
    ],
  },
  {
    client: 'elephant.io',
    version: '5.1.0',
    transport: 'polling',
    eio: 3,
    source: elephantAt('v5.1.0'),
    note: 'Its option transports is polling alone. Bodies have the binary framing.',
    needs: ALL,
    heads: elephant('v5.1.0', 'http://{HOST}/', 3),
    steps: [
      { send: 'open', packets: ['0{*'] },
      { send: 'get', packets: ['40'] },
      ...BINARY_3,
    ],
  },
  {
    client: 'elephant.io',
    version: '5.1.0',
    transport: 'polling',
    eio: 2,
    source: elephantAt('v5.1.0'),
    note: 'Its key has 20 bytes, which RFC 6455 forbids. The upgrade is refused, and the client goes on polling.',
    needs: ALL,
    heads: elephant('v5.1.0', 'http://{HOST}/', 2),
    steps: [
      { send: 'open', packets: ['0{*'] },
      { upgrade: 'ws', on: 'main', status: 400 },
      { send: 'get', packets: ['40'] },
      ...BINARY_3,
    ],
  },
  {
    client: 'socket.io-client-csharp',
    version: '3.1.1',
    transport: 'WebSocket after a look at polling',
    eio: 4,
    source: [csharpAt('v3.1.1', 'SocketIO.cs', 'UriConverters/UriConverter.cs'), ...DOTNET],
    note: 'The default: one handshake by polling, which is given up, tells it that it may open a WebSocket of its own.',
    needs: ALL,
    heads: dotnet(),
    steps: [
      { send: 'open', packets: ['0{*"websocket"*'] },
      { upgrade: 'direct' },
      { packets: ['0{*'] },
      { frames: ['40'], packets: ['40{*'] },
      ...WEBSOCKET_4,
    ],
  },
  {
    client: 'socket.io-client-csharp',
    version: '3.1.1',
    transport: 'polling',
    eio: 4,
    source: [csharpAt('v3.1.1', 'Transport/Http/HttpPollingHandler.cs', 'Transport/Http/HttpTransport.cs'), ...DOTNET],
    note: 'It reads the content type of every answer, also of that to a POST.',
    needs: ALL,
    heads: dotnet(),
    steps: [
      { send: 'open', fields: TEXT, packets: ['0{*'] },
      { send: 'get', on: 'poll', parked: true },
      { send: 'post', body: '40', fields: { 'content-type': 'text/html' }, text: 'ok' },
      { answer: 'poll', fields: TEXT, packets: ['40{*'] },
      ...POLLING_4,
    ],
  },
  {
    client: 'socket.io-client-csharp',
    version: '3.1.1',
    transport: 'WebSocket, Path = "/socket.io/"',
    eio: 4,
    source: [csharpAt('v3.1.1', 'UriConverters/UriConverter.cs'), ...DOTNET],
    note: 'A slash is appended to a path that has one.',
    needs: ALL,
    heads: dotnet('/socket.io//'),
    steps: [...WEBSOCKET_CONNECT_4, ...WEBSOCKET_4],
  },
  {
    client: 'socket.io-client-csharp',
    version: '4.0.2',
    transport: 'polling, then WebSocket',
    eio: 4,
    source: [
      csharpAt(
        'v4.0.2',
        'SocketIO.cs',
        'Session/SessionBase.cs',
        'Session/WebSocket/WebSocketSession.cs',
        'Protocol/Http/SystemHttpClient.cs',
      ),
      ...DOTNET,
    ],
    note: 'The default. No GET after the handshake, no probe: the answer to CONNECT comes over the WebSocket.',
    supposed: ['the order of Content-Type and Content-Length'],
    needs: ALL,
    heads: dotnet(),
    steps: [
      { send: 'openWithContent', fields: TEXT, packets: ['0{*'] },
      { send: 'post', body: '40', text: 'ok' },
      { upgrade: 'ws' },
      { frames: ['5'], packets: ['40{*'] },
      ...WEBSOCKET_4,
    ],
  },
  {
    client: 'socket.io-client-csharp',
    version: '4.0.2',
    transport: 'polling',
    eio: 3,
    source: [
      csharpAt(
        'v4.0.2',
        'Session/Http/EngineIOAdapter/HttpEngineIO3Adapter.cs',
        'Protocol/Http/SystemHttpClient.cs',
        'Protocol/Http/HttpAdapter.cs',
      ),
      ...DOTNET,
    ],
    supposed: ['the order of Content-Type and Content-Length'],
    needs: ALL,
    heads: { ...dotnet('/socket.io/', 3), get: dotnet('/socket.io/', 3).getWithContent },
    steps: [
      { send: 'openWithContent', fields: TEXT, packets: ['0{*'] },
      { send: 'get', packets: ['40'] },
      ...IN_TURN_3,
    ],
  },
  {
    client: 'socket.io-client-swift',
    version: '16.1.1',
    transport: 'polling, then WebSocket',
    eio: 4,
    source: [
      from(
        'socketio/socket.io-client-swift',
        'v16.1.1',
        'Source/SocketIO/Engine/SocketEngine.swift',
        'Source/SocketIO/Engine/SocketEnginePollable.swift',
        'Source/SocketIO/Manager/SocketManager.swift',
      ),
      from('daltoniam/Starscream', '4.0.8', 'Sources/Framer/HTTPHandler.swift'),
    ],
    note: 'CONNECT names the default namespace with a comma. Origin has the scheme ws.',
    supposed: SWIFT_SUPPOSED,
    needs: ALL,
    heads: {
      open: `
    GET /socket.io/?transport=polling&b64=1&EIO=4 HTTP/1.1
    Host: {HOST}${URL_SESSION}`,
      get: `
    GET /socket.io/?transport=polling&b64=1&EIO=4&sid={SID} HTTP/1.1
    Host: {HOST}${URL_SESSION}`,
      post: `
    POST /socket.io/?transport=polling&b64=1&EIO=4&sid={SID} HTTP/1.1
    Host: {HOST}
    Content-Type: text/plain; charset=UTF-8
    Content-Length: {LENGTH}${URL_SESSION}`,
      ws: starscream('/socket.io/?transport=websocket&EIO=4&sid={SID}'),
    },
    steps: [
      { send: 'open', packets: ['0{*'] },
      { send: 'get', on: 'poll', parked: true },
      { send: 'post', body: '40/,', text: 'ok' },
      { answer: 'poll', packets: ['40{*'] },
      ...PROBE,
      ...WEBSOCKET_4,
    ],
  },
  {
    client: 'socket.io-client-swift',
    version: '15.2.0',
    transport: 'WebSocket, connectParams EIO=3',
    eio: 3,
    source: [
      from('socketio/socket.io-client-swift', 'v15.2.0', 'Source/SocketIO/Engine/SocketEngine.swift'),
      from('socketio/socket.io-website', 'ffb328802302', 'docs/categories/01-Documentation/troubleshooting.md'),
      from('daltoniam/Starscream', '3.1.0', 'Sources/Starscream/WebSocket.swift'),
    ],
    note: 'Without the option it sends no EIO at all, which is refused. The first ping leaves at once.',
    supposed: SWIFT_SUPPOSED,
    needs: TIMES,
    heads: { direct: starscream('/socket.io/?transport=websocket&EIO=3') },
    steps: [
      { upgrade: 'direct' },
      { packets: ['0{*'] },
      { frames: ['2'], packets: ['40', '3'] },
      ...WEBSOCKET_3,
    ],
  },
  {
    client: 'socket.io-client-java',
    version: '1.0.2',
    transport: 'polling, then WebSocket',
    eio: 3,
    source: javaAt('1.0.2', '1.0.2'),
    needs: ALL,
    heads: java(3),
    steps: [
      { send: 'open', packets: ['0{*'] },
      { send: 'get', on: 'poll', packets: ['40'] },
      ...PROBE,
      ...WEBSOCKET_3,
    ],
  },
  {
    client: 'socket.io-client-java',
    version: '1.0.2',
    transport: 'polling',
    eio: 3,
    source: javaAt('1.0.2', '1.0.2'),
    needs: ALL,
    heads: java(3),
    steps: [
      { send: 'open', packets: ['0{*'] },
      { send: 'get', packets: ['40'] },
      ...IN_TURN_3,
    ],
  },
  {
    client: 'socket.io-client-java',
    version: '2.1.2',
    transport: 'polling, then WebSocket',
    eio: 4,
    source: javaAt('2.1.0', '2.1.2'),
    needs: ALL,
    heads: java(4),
    steps: [...POLLED_CONNECT_4, ...PROBE, ...WEBSOCKET_4],
  },
  {
    client: 'socket.io-client-java',
    version: '2.1.2',
    transport: 'WebSocket',
    eio: 4,
    source: javaAt('2.1.0', '2.1.2'),
    needs: ALL,
    heads: java(4),
    steps: [...WEBSOCKET_CONNECT_4, ...WEBSOCKET_4],
  },
  {
    client: 'socket.io-client-cpp',
    version: '2.1.0',
    transport: 'WebSocket',
    eio: 3,
    source: cppAt('2.1.0'),
    needs: TIMES,
    heads: { direct: websocketpp('/socket.io/?EIO=3&transport=websocket&t={TIME}') },
    steps: [{ upgrade: 'direct' }, { packets: ['0{*', '40'] }, ...WEBSOCKET_3],
  },
  {
    client: 'socket.io-client-cpp',
    version: '3.1.0',
    transport: 'WebSocket',
    eio: 4,
    source: cppAt('3.1.0'),
    note: 'CONNECT leaves as soon as the WebSocket is open, before the handshake has come.',
    needs: TIMES,
    heads: { direct: websocketpp('/socket.io/?EIO=4&transport=websocket&t={TIME}') },
    steps: [{ upgrade: 'direct' }, { frames: ['40'] }, { packets: ['0{*', '40{*'] }, ...WEBSOCKET_4],
  },
  {
    client: 'arduinoWebSockets',
    version: '2.7.2',
    transport: 'polling, then WebSocket',
    eio: 3,
    source: [ARDUINO],
    args: ['--origins', 'file://'],
    note: 'The default URL. Probe and upgrade leave together, on the connection of the handshake.',
    needs: ['sid'],
    mask: '00000000',
    heads: arduino('/socket.io/?EIO=3'),
    steps: [
      { send: 'open', packets: ['0{*'] },
      { upgrade: 'ws', on: 'main' },
      { frames: ['2probe'] },
      { frames: ['5'] },
      { packets: ['3probe', '40'] },
      ...WEBSOCKET_3,
    ],
  },
  {
    client: 'arduinoWebSockets',
    version: '2.7.2',
    transport: 'polling, then WebSocket',
    eio: 4,
    source: [ARDUINO],
    args: ['--origins', 'file://'],
    note: 'As its example has it: CONNECT is `40/`.',
    needs: ['sid'],
    mask: '00000000',
    heads: arduino('/socket.io/?EIO=4'),
    steps: [
      { send: 'open', packets: ['0{*'] },
      { upgrade: 'ws', on: 'main' },
      { frames: ['2probe'] },
      { frames: ['5'] },
      { frames: ['40/'] },
      { packets: ['3probe', '40{*'] },
      ...WEBSOCKET_4,
    ],
  },
  {
    client: 'arduinoWebSockets',
    version: '2.7.2',
    transport: 'polling, then WebSocket, with a URL that names a transport',
    eio: 3,
    source: [ARDUINO, from('Links2004/arduinoWebSockets', 'comment of 2017-04-05', 'issues/185')],
    args: ['--origins', 'file://'],
    note: 'Sketches pass a whole URL; the client appends its own transport, which counts.',
    needs: ['sid'],
    mask: '00000000',
    heads: arduino('/socket.io/?EIO=3&transport=websocket'),
    steps: [
      { send: 'open', packets: ['0{*'] },
      { upgrade: 'ws', on: 'main' },
      { frames: ['2probe'] },
      { frames: ['5'] },
      { packets: ['3probe', '40'] },
      ...WEBSOCKET_3,
    ],
  },
  {
    client: 'python-engineio',
    version: '3.14.2',
    transport: 'polling, then WebSocket',
    eio: 3,
    source: PYTHON_3,
    note: 'No GET is under way during the probe. The first ping leaves at once.',
    needs: ALL,
    heads: python(3),
    steps: [
      { send: 'open', packets: ['0{*'] },
      { upgrade: 'ws' },
      { frames: ['2probe'], packets: ['3probe'] },
      { frames: ['5'] },
      { frames: ['2'], packets: ['40', '3'] },
      ...WEBSOCKET_3,
    ],
  },
  {
    client: 'python-engineio',
    version: '3.14.2',
    transport: 'polling',
    eio: 3,
    source: PYTHON_3,
    note: 'Bodies have the binary framing.',
    needs: ALL,
    heads: python(3),
    steps: [
      { send: 'open', packets: ['0{*'] },
      { send: 'post', body: '\x00\x01\xff2', text: 'ok' },
      { send: 'get', on: 'poll', packets: ['40', '3'] },
      ...BINARY_3,
    ],
  },
  {
    client: 'python-engineio',
    version: '3.14.2',
    transport: 'WebSocket',
    eio: 3,
    source: PYTHON_3,
    needs: ALL,
    heads: python(3),
    steps: [
      { upgrade: 'direct' },
      { packets: ['0{*', '40'] },
      { frames: ['2'], packets: ['3'] },
      ...WEBSOCKET_3,
    ],
  },
  {
    client: 'python-engineio',
    version: '4.13.3',
    transport: 'polling, then WebSocket',
    eio: 4,
    source: PYTHON_4,
    note: 'No GET is under way during the probe; CONNECT follows it.',
    needs: ALL,
    heads: python(4),
    steps: [
      { send: 'open', packets: ['0{*'] },
      { upgrade: 'ws' },
      { frames: ['2probe'], packets: ['3probe'] },
      { frames: ['5'] },
      { frames: ['40{}'], packets: ['40{*'] },
      ...WEBSOCKET_4,
    ],
  },
  {
    client: 'python-engineio',
    version: '4.13.3',
    transport: 'polling',
    eio: 4,
    source: PYTHON_4,
    needs: ALL,
    heads: python(4),
    steps: [
      { send: 'open', packets: ['0{*'] },
      { send: 'get', on: 'poll', parked: true },
      { send: 'post', body: '40{}', text: 'ok' },
      { answer: 'poll', packets: ['40{*'] },
      ...POLLING_4,
    ],
  },
  {
    client: 'python-engineio',
    version: '4.13.3',
    transport: 'WebSocket',
    eio: 4,
    source: PYTHON_4,
    needs: ALL,
    heads: python(4),
    steps: [
      { upgrade: 'direct' },
      { packets: ['0{*'] },
      { frames: ['40{}'], packets: ['40{*'] },
      ...WEBSOCKET_4,
    ],
  },
  {
    client: 'rust_socketio',
    version: '0.6.0',
    transport: 'polling, then WebSocket',
    eio: 4,
    source: RUST,
    note: 'The default. A pong that answers no ping, then CONNECT. No GET is under way during the probe.',
    supposed: ['the order of the fields that reqwest and hyper add'],
    needs: ALL,
    heads: RUST_HEADS,
    steps: [
      { send: 'open', packets: ['0{*'] },
      { upgrade: 'ws' },
      { frames: ['2probe'], packets: ['3probe'] },
      { frames: ['5'] },
      { frames: ['3'] },
      { frames: ['40'], packets: ['40{*'] },
      ...WEBSOCKET_4,
    ],
  },
  {
    client: 'rust_socketio',
    version: '0.6.0',
    transport: 'polling',
    eio: 4,
    source: RUST,
    note: 'A POST has no content type.',
    supposed: ['the order of the fields that reqwest and hyper add'],
    needs: ALL,
    heads: RUST_HEADS,
    steps: [
      { send: 'open', packets: ['0{*'] },
      { send: 'post', body: '3', text: 'ok' },
      { send: 'post', body: '40', text: 'ok' },
      { send: 'get', on: 'poll', packets: ['40{*'] },
      ...POLLING_4,
    ],
  },
  {
    client: 'rust_socketio',
    version: '0.6.0',
    transport: 'WebSocket',
    eio: 4,
    source: RUST,
    note: 'The first event may leave before CONNECT is answered; the reference closes such a connection.',
    needs: ALL,
    heads: RUST_HEADS,
    steps: [
      { upgrade: 'direct' },
      { packets: ['0{*'] },
      { frames: ['3'] },
      { frames: ['40'] },
      { frames: [ADD_USER], packets: ['40{*', LOGIN] },
      { frames: [MESSAGE] },
      { packets: ['2'] },
      { frames: ['3'] },
    ],
  },
  {
    client: 'socket_io_client (Flutter)',
    version: '3.1.6',
    transport: 'WebSocket',
    eio: 4,
    source: [
      from(
        'rikulo/socket.io-client-dart',
        'v3.1.6',
        'lib/src/engine/socket.dart',
        'lib/src/engine/transport.dart',
        'lib/src/socket.dart',
        'README.md',
      ),
      from('dart-lang/sdk', '035360848cca', 'sdk/lib/_http/websocket_impl.dart'),
      from('dart-lang/sdk', '04d4ad6e7010', 'sdk/lib/_http/http_headers.dart'),
    ],
    supposed: ['the order of the fields, which is that of a hash map, and the version in User-Agent'],
    needs: ALL,
    heads: {
      direct: `
    GET /socket.io/?EIO=4&transport=websocket HTTP/1.1
    user-agent: Dart/3.5 (dart:io)
    connection: Upgrade
    cache-control: no-cache
    accept-encoding: gzip
    sec-websocket-version: 13
    host: {HOST}
    sec-websocket-extensions: permessage-deflate; client_max_window_bits
    sec-websocket-key: {KEY}
    upgrade: websocket`,
    },
    steps: [...WEBSOCKET_CONNECT_4, ...WEBSOCKET_4],
  },
  {
    client: 'SocketIOUnity',
    version: '1.1.5',
    transport: 'WebSocket',
    eio: 4,
    source: [unityAt('v1.1.5'), ...DOTNET],
    supposed: ['that the runtime of Unity sends the head of .NET'],
    needs: ALL,
    heads: dotnet(),
    steps: [...WEBSOCKET_CONNECT_4, ...WEBSOCKET_4],
  },
  {
    client: 'SocketIOUnity',
    version: '1.1.5',
    transport: 'polling',
    eio: 4,
    source: [unityAt('v1.1.5'), ...DOTNET],
    supposed: ['that the runtime of Unity sends the head of .NET'],
    needs: ALL,
    heads: dotnet(),
    steps: [
      { send: 'open', fields: TEXT, packets: ['0{*'] },
      { send: 'get', on: 'poll', parked: true },
      { send: 'post', body: '40', fields: { 'content-type': 'text/html' }, text: 'ok' },
      { answer: 'poll', fields: TEXT, packets: ['40{*'] },
      ...POLLING_4,
    ],
  },
  {
    client: 'godot-socketio (msabaeian)',
    version: '0.1.0',
    transport: 'polling, then WebSocket',
    eio: 4,
    source: [
      from(
        'msabaeian/godot-socketio',
        '6dffe3d163ff',
        'addons/godot-socketio/engineio.gd',
        'addons/godot-socketio/request.gd',
        'addons/godot-socketio/socketio.gd',
      ),
      ...GODOT,
    ],
    note: 'No GET is under way during the probe; CONNECT follows it.',
    needs: [...ALL, 'maxPayload'],
    fresh: true,
    heads: {
      open: `
    GET /socket.io/?EIO=4&transport=polling HTTP/1.1
    Accept-Encoding: gzip, deflate
    Host: {HOST}
    User-Agent: GodotEngine/4.3.stable.official (Linux)
    Accept: */*`,
      ws: godot('/socket.io/?EIO=4&transport=websocket&sid={SID}'),
    },
    steps: [
      { send: 'open', packets: ['0{*'] },
      { upgrade: 'ws' },
      { frames: ['2probe'], packets: ['3probe'] },
      { frames: ['5'] },
      { frames: ['40'], packets: ['40{*'] },
      ...WEBSOCKET_4,
    ],
  },
  {
    client: 'godot-socketio (nisovin)',
    version: '30fff6a',
    transport: 'WebSocket',
    eio: 4,
    source: [
      from('nisovin/godot-socketio', '30fff6ab6a7e', 'addons/socketio/engine_io.gd', 'addons/socketio/socket_io.gd'),
      ...GODOT,
    ],
    needs: [...TIMES, 'maxPayload'],
    heads: { direct: godot('/socket.io/?EIO=4&transport=websocket') },
    steps: [...WEBSOCKET_CONNECT_4, ...WEBSOCKET_4],
  },
  {
    client: 'k6 (xk6-socket.io)',
    version: '1.8.1',
    transport: 'WebSocket',
    eio: 4,
    source: [
      from('dexsper/xk6-socket.io', '8e1b3ea07466', 'module.go'),
      from('grafana/k6', 'v1.8.1', 'internal/js/modules/k6/ws/ws.go'),
      from('gorilla/websocket', 'v1.5.3', 'client.go'),
      from('golang/go', '01098cd5dbcc', 'src/net/http/request.go'),
    ],
    needs: [],
    heads: {
      direct: `
    GET /socket.io/?EIO=4&transport=websocket HTTP/1.1
    Host: {HOST}
    User-Agent: Grafana k6/1.8.1
    Connection: Upgrade
    Sec-WebSocket-Key: {KEY}
    Sec-WebSocket-Version: 13
    Upgrade: websocket`,
    },
    steps: [...WEBSOCKET_CONNECT_4, ...WEBSOCKET_4],
  },
  {
    client: 'artillery (socket.io-client)',
    version: '2.0.34',
    transport: 'polling, then WebSocket',
    eio: 4,
    source: [ARTILLERY, NODE],
    note: 'The poll after the answer to CONNECT leaves while the probe is under way, and must end for the upgrade.',
    needs: [...ALL, 'maxPayload'],
    heads: node(),
    steps: [
      ...POLLED_CONNECT_4,
      { upgrade: 'ws' },
      { frames: ['2probe'], packets: ['3probe'] },
      { send: 'get', on: 'poll', parked: true },
      { answer: 'poll', packets: ['6'] },
      { frames: ['5'] },
      ...WEBSOCKET_4,
    ],
  },
  {
    client: 'artillery (socket.io-client)',
    version: '2.0.34',
    transport: 'WebSocket',
    eio: 4,
    source: [ARTILLERY, NODE],
    needs: [...ALL, 'maxPayload'],
    heads: node(),
    steps: [...WEBSOCKET_CONNECT_4, ...WEBSOCKET_4],
  },
  {
    client: 'socket.io-client',
    version: '4.8.3',
    transport: 'WebSocket, protocols chat and token-1',
    eio: 4,
    source: [NODE],
    note: 'Its option protocols. The WebSocket fails if none of them is accepted.',
    needs: [...ALL, 'maxPayload'],
    heads: node('\n    Sec-WebSocket-Protocol: chat,token-1'),
    steps: [
      { upgrade: 'direct', fields: { 'sec-websocket-protocol': 'chat' } },
      { packets: ['0{*'] },
      { frames: ['40'], packets: ['40{*'] },
      ...WEBSOCKET_4,
    ],
  },
  {
    client: 'curl -d',
    version: '7.88.1',
    transport: 'polling',
    eio: 4,
    source: [WEBSITE, RECIPE],
    note: 'A packet in a POST of the type of a form.',
    needs: ['sid'],
    fresh: true,
    heads: curl(4),
    steps: [
      { send: 'open', packets: ['0{*'] },
      { send: 'post', body: '40', text: 'ok' },
      { send: 'get', packets: ['40{*'] },
      ...IN_TURN_4,
    ],
  },
  {
    client: 'curl -d',
    version: '7.88.1',
    transport: 'polling',
    eio: 3,
    source: [RECIPE],
    supposed: ['EIO=3, which the recipe leaves out'],
    needs: ['sid'],
    fresh: true,
    heads: curl(3),
    steps: [
      { send: 'open', packets: ['0{*'] },
      { send: 'get', packets: ['40'] },
      ...IN_TURN_3,
    ],
  },
];
