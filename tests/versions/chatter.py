"""One user of the chat with python-socketio: python chatter.py URL sync|asyncio polling|websocket|both NAME TEXTS

Logs in as NAME; when somebody says `go`, says each of the TEXTS (a JSON array) at once. Prints one JSON line for each
event it hears. Handlers take exactly one argument, as most do. Ends with its standard input.
"""
import asyncio
import json
import sys
import threading

import socketio

url, mode, transport, name, texts = sys.argv[1:]
options = {} if transport == 'both' else {'transports': [transport]}
EVENTS = ['login', 'user joined', 'new message']


def show(event, data):
    # One write, because handlers of the synchronous client run in threads of their own.
    sys.stdout.write(json.dumps([event, data]) + '\n')
    sys.stdout.flush()


def starts(event, data):
    return event == 'new message' and data['message'] == 'go'


def run_sync():
    client = socketio.Client()

    def listen(event):
        @client.on(event)
        def heard(data):
            show(event, data)
            if starts(event, data):
                for text in json.loads(texts):
                    client.emit('new message', text)

    for event in EVENTS:
        listen(event)
    client.connect(url, **options)
    client.emit('add user', name)
    sys.stdin.read()
    client.disconnect()


async def run_asyncio():
    client = socketio.AsyncClient()

    def listen(event):
        @client.on(event)
        async def heard(data):
            show(event, data)
            if starts(event, data):
                for text in json.loads(texts):
                    await client.emit('new message', text)

    for event in EVENTS:
        listen(event)
    await client.connect(url, **options)
    await client.emit('add user', name)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(ended.set)), daemon=True).start()
    await ended.wait()
    await client.disconnect()


run_sync() if mode == 'sync' else asyncio.run(run_asyncio())
