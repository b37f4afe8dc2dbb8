# The chat on python-socketio, uvicorn and uvloop, to be compared with salon: PORT and HOST as there, the ping interval in
# ms in SALON_PING_INTERVAL.
import os
import pathlib

import socketio
import uvicorn

PAGE = pathlib.Path(__file__).parents[3].joinpath('static/index.html').read_bytes()

sio = socketio.AsyncServer(
    async_mode='asgi', ping_interval=int(os.environ.get('SALON_PING_INTERVAL', '25000')) / 1000, logger=False
)
names = {}


async def relay(sid, event, **fields):
    if sid in names:
        await sio.emit(event, {'username': names[sid], **fields}, skip_sid=sid)


@sio.on('add user')
async def add_user(sid, name):
    if sid in names:
        return
    names[sid] = name
    await sio.emit('login', {'numUsers': len(names)}, to=sid)
    await relay(sid, 'user joined', numUsers=len(names))


@sio.on('new message')
async def new_message(sid, message):
    await relay(sid, 'new message', message=message)


@sio.on('typing')
async def typing(sid):
    await relay(sid, 'typing')


@sio.on('stop typing')
async def stop_typing(sid):
    await relay(sid, 'stop typing')


@sio.event
async def disconnect(sid, reason):
    if sid in names:
        await relay(sid, 'user left', numUsers=len(names) - 1)
        del names[sid]


async def page(scope, receive, send):
    """The page; nothing else is asked for."""
    if scope['type'] == 'http':
        headers = [(b'content-type', b'text/html; charset=utf-8'), (b'content-length', str(len(PAGE)).encode())]
        await send({'type': 'http.response.start', 'status': 200, 'headers': headers})
        await send({'type': 'http.response.body', 'body': PAGE})


uvicorn.run(
    socketio.ASGIApp(sio, page),
    host=os.environ.get('HOST', '127.0.0.1'),
    port=int(os.environ.get('PORT', '3000')),
    loop='uvloop',
    http='httptools',
    ws='websockets',
    log_level='warning',
    lifespan='off',
    backlog=1024,
)
