"""Echoes messages, by the library websockets: an argument is the port."""

import asyncio
import sys

import websockets


async def echo(socket, *_):
    try:
        async for message in socket:
            await socket.send(message)
    except websockets.ConnectionClosed:
        pass


async def main():
    limits = {"max_size": None, "write_limit": 1 << 25, "ping_interval": None, "compression": None}
    async with websockets.serve(echo, "0.0.0.0", int(sys.argv[1]), close_timeout=5, **limits):
        await asyncio.Future()


asyncio.run(main())
