"""A voice bot for res_ai_bridge in 30 lines: it says back what it heard. The protocol is in docs/raw.md.

    python3 -m venv bot && bot/bin/pip install websockets && bot/bin/python examples/raw_bot.py 8765

Profile: dialect = raw, url = ws://127.0.0.1:8765. Speak, then press # to hear it, * for silence, 0 to hang up,
9 to be transferred to 200.
"""

import asyncio
import json
import sys

from websockets.asyncio.server import serve


async def talk(socket):
    heard = bytearray()

    async def order(**message):
        await socket.send(json.dumps(message))

    async for message in socket:
        if isinstance(message, bytes):
            heard += message  # what the caller says, a piece every 20 ms
            continue
        match json.loads(message):
            case {"type": "digit", "digit": "#"}:
                await socket.send(bytes(heard))  # faster than it is heard: the bridge keeps it, and plays it in time
                await order(type="mark", name="said")
                heard.clear()
            case {"type": "digit", "digit": "*"}:
                await order(type="flush")
            case {"type": "digit", "digit": "0"}:
                await order(type="hangup")
            case {"type": "digit", "digit": "9"}:
                await order(type="transfer", extension="200")
            case {"type": "digit"}:
                heard.clear()
            case event:
                print(event, flush=True)  # start, mark, flushed, refused, say, context


async def main(port):
    async with serve(talk, "127.0.0.1", port) as server:
        print(f"listens on {server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()


asyncio.run(main(int(sys.argv[1])))
