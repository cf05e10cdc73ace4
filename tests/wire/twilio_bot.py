"""A bot after nothing but Twilio's documentation, which is strict about every word that comes.

    python twilio_bot.py <port> <speech>

It says what is in the file (µ-law, 8 kHz) and puts a mark after it, twice; a key makes it clear what is still to be heard. Every
message must be as the documentation has it: all of its fields and no others, numbered without a gap, in the order of
https://www.twilio.com/docs/voice/media-streams/websocket-messages (read 2026-11). The signature of the request is for Twilio's
own package to judge. What happens is a line of JSON on stdout; what is wrong, too.
"""

import asyncio
import base64
import json
import re
import sys
from pathlib import Path

from twilio.request_validator import RequestValidator
from websockets.asyncio.server import serve

TOKEN = "sk-test-0123456789"
SPEECH = Path(sys.argv[2]).read_bytes()

# What the documentation lists for each event, with how a value has to look.
SID = "[0-9a-fA-F]{32}"
NUMBER = "0|[1-9][0-9]*"
FORMAT = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
MESSAGES = {
    "connected": {"event": "connected", "protocol": "Call", "version": r"\d+\.\d+\.\d+"},
    "start": {
        "event": "start",
        "sequenceNumber": NUMBER,
        "start": {
            "streamSid": f"MZ{SID}",
            "accountSid": f"AC{SID}",
            "callSid": f"CA{SID}",
            "tracks": ["inbound"],
            "customParameters": {"tier": "gold"},
            "mediaFormat": FORMAT,
        },
        "streamSid": f"MZ{SID}",
    },
    "media": {
        "event": "media",
        "sequenceNumber": NUMBER,
        "media": {"track": "inbound", "chunk": NUMBER, "timestamp": NUMBER, "payload": "[A-Za-z0-9+/]+={0,2}"},
        "streamSid": f"MZ{SID}",
    },
    "dtmf": {
        "event": "dtmf",
        "streamSid": f"MZ{SID}",
        "sequenceNumber": NUMBER,
        "dtmf": {"track": "inbound_track", "digit": "[0-9*#A-D]"},
    },
    "mark": {"event": "mark", "sequenceNumber": NUMBER, "streamSid": f"MZ{SID}", "mark": {"name": "first|second"}},
    "stop": {
        "event": "stop",
        "sequenceNumber": NUMBER,
        "stop": {"accountSid": f"AC{SID}", "callSid": f"CA{SID}"},
        "streamSid": f"MZ{SID}",
    },
}


def note(event, **what):
    print(json.dumps({"event": event, **what}), flush=True)


def differences(value, wanted, place):
    """Where `value` is not as `wanted`, whose texts are regular expressions."""
    if isinstance(wanted, dict):
        if not isinstance(value, dict) or value.keys() != wanted.keys():
            yield f"{place}: {value!r} should have {sorted(wanted)}"
            return
        for name in wanted:
            yield from differences(value[name], wanted[name], f"{place}.{name}")
    elif isinstance(wanted, str):
        if not isinstance(value, str) or not re.fullmatch(wanted, value):
            yield f"{place}: {value!r} is not {wanted!r}"
    elif value != wanted:
        yield f"{place}: {value!r} is not {wanted!r}"


class Stream:
    def __init__(self, socket):
        self.socket = socket
        self.seen = []
        self.sequence = 0
        self.chunks = 0
        self.audio = bytearray()
        self.sids = {}

    async def run(self):
        request = self.socket.request
        url = f"ws://{request.headers['Host']}{request.path}"
        if not RequestValidator(TOKEN).validate(url, {}, request.headers.get("X-Twilio-Signature", "")):
            note("wrong", what="the signature")
        async for text in self.socket:
            if not isinstance(text, str):
                note("wrong", what="a binary message")
                continue
            message = json.loads(text)
            for what in self.problems(message):
                note("wrong", what=what)
            await self.answer(message)
        if self.seen[-1:] != ["stop"]:
            note("wrong", what="the stream ends without stop")
        note("over", messages=self.sequence, chunks=self.chunks, code=self.socket.close_code)

    def problems(self, message):
        kind = message.get("event")
        if kind not in MESSAGES:
            yield f"there is no event {kind!r}"
            return
        yield from differences(message, MESSAGES[kind], kind)
        if kind != ("connected", "start")[len(self.seen)] if len(self.seen) < 2 else kind in ("connected", "start"):
            yield f"{kind} after {self.seen}"
        if "stop" in self.seen:
            yield f"{kind} after stop"
        self.seen.append(kind)
        if kind == "connected":
            return
        self.sequence += 1
        if message["sequenceNumber"] != str(self.sequence):
            yield f"number {message['sequenceNumber']} where {self.sequence} should be"
        about = message.get(kind, {})
        sids = {"streamSid": message["streamSid"]} | {name: about[name] for name in about if name.endswith("Sid")}
        if any(self.sids.setdefault(name, sid) != sid for name, sid in sids.items()):
            yield f"{sids} are not {self.sids}"
        if kind == "media":
            self.chunks += 1
            if about["chunk"] != str(self.chunks):
                yield f"chunk {about['chunk']} where {self.chunks} should be"
            # "Presentation timestamp in milliseconds from the start of the stream."
            if int(about["timestamp"]) != len(self.audio) // 8:
                yield f"{about['timestamp']} ms where {len(self.audio) // 8} should be"
            self.audio += base64.b64decode(about["payload"], validate=True)

    async def answer(self, message):
        match message["event"]:
            case "start":
                for name in ("first", "second"):
                    await self.say(name)
            case "dtmf":
                note("key", key=message["dtmf"]["digit"])
                await self.tell({"event": "clear"})
            case "mark":
                note("mark", name=message["mark"]["name"])
            case "stop":
                Path(sys.argv[2] + ".heard").write_bytes(self.audio)

    async def say(self, name):
        for at in range(0, len(SPEECH), 4000):
            await self.tell({"event": "media", "media": {"payload": base64.b64encode(SPEECH[at : at + 4000]).decode()}})
        await self.tell({"event": "mark", "mark": {"name": name}})

    async def tell(self, message):
        await self.socket.send(json.dumps(message | {"streamSid": self.sids["streamSid"]}))


async def main():
    async with serve(lambda socket: Stream(socket).run(), "127.0.0.1", int(sys.argv[1])) as server:
        print(f"listens on {server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()


asyncio.run(main())
