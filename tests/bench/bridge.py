"""The classic out-of-process bridge: Asterisk on one side, a realtime AI on the other, in Python's asyncio.

    bridge.py ari|audiosocket|websocket --ai URL --port PORT [--http PORT] [--tuned]

ari          an external media channel (RTP, A-law) mixed with the call's in a bridge, PORT unused
audiosocket  AudioSocket server on PORT (slin, 8 kHz)
websocket    server for chan_websocket on PORT (A-law)

As such bridges are commonly written, the AI gets 24 kHz linear audio, resampled by scipy a packet at a time.
--tuned is what can be got out of it: uvloop, and G.711 all the way, so nothing is resampled.
"""

import argparse
import asyncio
import base64
import collections
import json
import struct
import sys
import time

import numpy as np
import websockets
from scipy.signal import resample_poly
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

PTIME = 0.02  # [s]
FRAME = 160  # samples: 8000 Hz x 20 ms
LATE_MAX = 0.1  # a pacer that is later than this starts a new grid [s]

parser = argparse.ArgumentParser()
parser.add_argument("mode", choices=["ari", "audiosocket", "websocket"])
parser.add_argument("--ai", required=True)
parser.add_argument("--port", type=int, default=0)
parser.add_argument("--http", type=int, default=8088)
parser.add_argument("--tuned", action="store_true")
options = parser.parse_args()


def alaw_table():
    """Linear value of every A-law code (ITU-T G.711)."""
    code = np.arange(256) ^ 0x55
    segment, mantissa = (code >> 4) & 7, code & 15
    magnitude = np.where(segment == 0, (mantissa << 4) + 8, ((mantissa << 4) + 0x108) << np.maximum(segment - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype("<i2")


def alaw_codes(table):
    """Nearest A-law code of every linear value, by its 16 bits."""
    order = np.argsort(table, kind="stable")
    levels = table[order].astype(int)
    borders = (levels[1:] + levels[:-1]) / 2
    values = np.arange(65536).astype(np.uint16).view(np.int16).astype(int)
    return order[np.searchsorted(borders, values)].astype(np.uint8)


ALAW = alaw_table()
ALAW_CODES = alaw_codes(ALAW)


def decode(alaw):
    return ALAW[np.frombuffer(alaw, np.uint8)]


def encode(samples):
    return ALAW_CODES[samples.view(np.uint16)].tobytes()


def resample(samples, up, down):
    return np.clip(resample_poly(samples.astype(np.float32), up, down), -32768, 32767).astype("<i2")


class Audio:
    """Converts between the phone's side (A-law or slin, 8 kHz) and the AI's."""

    def __init__(self, alaw):
        self.alaw = alaw

    def to_ai(self, audio):
        if options.tuned:
            return audio if self.alaw else encode(np.frombuffer(audio, "<i2"))
        samples = decode(audio) if self.alaw else np.frombuffer(audio, "<i2")
        return resample(samples, 3, 1).tobytes()

    def from_ai(self, audio):
        if options.tuned:
            return audio if self.alaw else decode(audio).tobytes()
        samples = resample(np.frombuffer(audio, "<i2"), 1, 3)
        return encode(samples) if self.alaw else samples.tobytes()


class AI:
    """One realtime session."""

    def __init__(self, audio, on_audio, on_interrupt):
        self.audio, self.on_audio, self.on_interrupt = audio, on_audio, on_interrupt
        self.socket, self.tasks, self.queue = None, [], asyncio.Queue()

    async def start(self):
        self.socket = await connect(options.ai + "?model=bench", max_size=None, compression=None)
        wire = {"type": "audio/pcma"} if options.tuned else {"type": "audio/pcm", "rate": 24000}
        audio = {"input": {"format": wire, "turn_detection": None}, "output": {"format": wire}}
        settings = {"type": "realtime", "audio": audio}
        await self.socket.send(json.dumps({"type": "session.update", "session": settings}))
        self.tasks = [asyncio.create_task(self.receive()), asyncio.create_task(self.send())]

    def feed(self, audio):
        if self.socket is not None:
            self.queue.put_nowait(audio)

    async def send(self):
        try:
            while True:
                audio = self.audio.to_ai(await self.queue.get())
                message = {"type": "input_audio_buffer.append", "audio": base64.b64encode(audio).decode("ascii")}
                await self.socket.send(json.dumps(message))
        except websockets.ConnectionClosed:
            pass

    async def receive(self):
        try:
            async for message in self.socket:
                event = json.loads(message)
                if event["type"] == "response.output_audio.delta":
                    self.on_audio(self.audio.from_ai(base64.b64decode(event["delta"])))
                elif event["type"] == "input_audio_buffer.speech_started":
                    self.on_interrupt()
                elif event["type"] == "error":
                    print("AI:", message, file=sys.stderr, flush=True)
        except websockets.ConnectionClosed:
            pass

    async def close(self):
        for task in self.tasks:
            task.cancel()
        if self.socket is not None:
            await self.socket.close()


class Pacer:
    """Sends a frame every 20 ms on a grid that does not drift."""

    def __init__(self, frame_bytes, send):
        self.frame_bytes, self.send = frame_bytes, send
        self.frames, self.more = collections.deque(), asyncio.Event()

    def add(self, audio):
        for at in range(0, len(audio), self.frame_bytes):
            self.frames.append(audio[at:at + self.frame_bytes])
        self.more.set()

    def flush(self):
        self.frames.clear()

    async def run(self):
        loop = asyncio.get_running_loop()
        due = 0.0
        while True:
            if not self.frames:
                self.more.clear()
                await self.more.wait()
            now = loop.time()
            if now > due + LATE_MAX:
                due = now
            if due > now:
                await asyncio.sleep(due - now)
            if self.frames:  # and not flushed meanwhile
                due += PTIME
                self.send(self.frames.popleft())


class Rtp(asyncio.DatagramProtocol):
    """The bridge's end of an external media channel."""

    def __init__(self):
        self.peer, self.ai = None, None
        self.pacer = Pacer(FRAME, self.send)
        self.sequence, self.timestamp, self.sent_at = 0, 0, 0.0

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        if len(data) > 12:
            self.peer = address
            self.ai.feed(data[12 + 4 * (data[0] & 15):])

    def send(self, frame):
        if self.peer is None:
            return
        now = time.monotonic()
        if self.sent_at and now - self.sent_at > 6 * PTIME:
            self.timestamp += int((now - self.sent_at) / PTIME) * FRAME
        self.sent_at = now
        self.sequence = (self.sequence + 1) & 0xFFFF
        self.timestamp = (self.timestamp + len(frame)) & 0xFFFFFFFF
        header = struct.pack("!BBHII", 0x80, 8, self.sequence, self.timestamp, 0x1234)
        self.transport.sendto(header + frame, self.peer)


async def ari():
    import httpx

    limits = httpx.Limits(max_connections=20, max_keepalive_connections=20)
    base = f"http://127.0.0.1:{options.http}/ari"
    http = httpx.AsyncClient(base_url=base, auth=("bench", "bench"), timeout=20, limits=limits)
    loop = asyncio.get_running_loop()
    calls, entered = {}, {}

    async def post(path, **parameters):
        answer = await http.post(path, params=parameters)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    async def begin(channel):
        transport, rtp = await loop.create_datagram_endpoint(Rtp, local_addr=("127.0.0.1", 0))
        rtp.ai = AI(Audio(alaw=True), rtp.pacer.add, rtp.pacer.flush)
        call = calls[channel] = {"rtp": rtp, "transport": transport}
        call["pacer"] = asyncio.create_task(rtp.pacer.run())
        await rtp.ai.start()
        await post(f"/channels/{channel}/answer")
        media = call["media"] = f"media-{channel}"
        # addChannel before the media channel has entered the application is answered 422.
        entered[media] = asyncio.Event()
        host = "127.0.0.1:%d" % transport.get_extra_info("sockname")[1]
        await post("/channels/externalMedia", app="bench", channelId=media, format="alaw", external_host=host)
        call["bridge"] = (await post("/bridges", type="mixing"))["id"]
        await asyncio.wait_for(entered[media].wait(), 10)
        del entered[media]
        await post(f"/bridges/{call['bridge']}/addChannel", channel=f"{channel},{media}")

    async def end(channel):
        call = calls.pop(channel, None)
        if call is None:
            return
        call["pacer"].cancel()
        call["transport"].close()
        if "media" in call:
            await http.delete(f"/channels/{call['media']}")
        if "bridge" in call:
            await http.delete(f"/bridges/{call['bridge']}")
        await call["rtp"].ai.close()

    def complain(task):
        if not task.cancelled() and task.exception():
            print("ERROR", repr(task.exception()), file=sys.stderr, flush=True)

    events = f"ws://127.0.0.1:{options.http}/ari/events?app=bench&api_key=bench:bench"
    async with connect(events, max_size=None, compression=None) as socket:
        print("ready", flush=True)
        async for message in socket:
            event = json.loads(message)
            if event["type"] not in ("StasisStart", "StasisEnd"):
                continue
            channel = event["channel"]["id"]
            if event["type"] == "StasisStart" and channel in entered:
                entered[channel].set()
            elif event["channel"]["name"].startswith("PJSIP/"):
                work = begin(channel) if event["type"] == "StasisStart" else end(channel)
                asyncio.create_task(work).add_done_callback(complain)


async def audiosocket_call(reader, writer):
    pacer = Pacer(2 * FRAME, lambda f: writer.write(struct.pack("!BH", 0x10, len(f)) + f))
    ai = AI(Audio(alaw=False), pacer.add, pacer.flush)
    pacing = asyncio.create_task(pacer.run())
    start = asyncio.create_task(ai.start())
    try:
        while True:
            kind, length = struct.unpack("!BH", await reader.readexactly(3))
            body = await reader.readexactly(length) if length else b""
            if kind == 0x10:
                ai.feed(body)
            elif kind == 0x00:
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    pacing.cancel()
    start.cancel()
    writer.close()
    await ai.close()


async def audiosocket():
    server = await asyncio.start_server(audiosocket_call, "127.0.0.1", options.port, backlog=512)
    print("ready", flush=True)
    await server.serve_forever()


async def websocket_call(socket):
    queue = asyncio.Queue()

    def flush():
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait("FLUSH_MEDIA")

    ai = AI(Audio(alaw=True), queue.put_nowait, flush)

    async def forward():  # chan_websocket paces by itself
        while True:
            await socket.send(await queue.get())

    forwarder = asyncio.create_task(forward())
    await ai.start()
    try:
        async for message in socket:
            if isinstance(message, bytes):
                ai.feed(message)
    except websockets.ConnectionClosed:
        pass
    forwarder.cancel()
    await ai.close()


async def websocket():
    listen = serve(websocket_call, "127.0.0.1", options.port, subprotocols=["media"], max_size=None, compression=None)
    async with listen as server:
        print("ready", flush=True)
        await server.serve_forever()


main = {"ari": ari, "audiosocket": audiosocket, "websocket": websocket}[options.mode]
if options.tuned:
    import uvloop

    uvloop.run(main())
else:
    asyncio.run(main())
