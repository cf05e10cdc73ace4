"""Stand-ins for ElevenLabs Agents, Gemini Live and Deepgram Voice Agent, after their documentation.

    python vendors.py <port>

A stand-in hears by itself when the caller speaks, and tells the client so as the vendor does. Everything else it is
ordered to do, by a line of JSON on stdin, in the session that was opened last:

    {"do": "say", "file": "words.bin", "text": "Hello"}    faster than it is heard; bytes of the format that it speaks
    {"do": "call", "id": "t1", "tool": "hangup", "arguments": {}}
    {"do": "interrupt"}                                     as when it hears the caller
    {"do": "hear", "text": "Hi"}                            as when the caller has said so
    {"do": "resumable", "handle": "h1"}                     what a later session may be given (Gemini)
    {"do": "send", "text": "…"}                             a message as it is
    {"do": "send huge", "bytes": 50000000}
    {"do": "close", "code": 1000}, {"do": "reset"}          with and without a goodbye
    {"do": "door", "opens": "open|silent|drop|500", "times": 1}   for the connections that follow, then open again

What happens is a line of JSON on stdout, each with the number of its session: `opened`, `told` (every message but audio),
`ready`, `greet`, `keys`, `result` (of a tool), `caller` (begins or stops to speak), `interrupted`, `closed`. What is sent is
checked with the types of the vendor's package, where it has such.
"""

import asyncio
import base64
import json
import sys
import threading
import time
from array import array
from http import HTTPStatus
from pathlib import Path

import deepgram.agent.v1.types as deepgram
from google.genai.types import LiveServerMessage
from strict import read_as
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

KEY = "sk-test-0123456789"
KEYS_PRESSED = "(The caller pressed these keys on the telephone: "


def ulaw_sample(code):
    """ITU-T G.711."""
    code = ~code & 0xFF
    size = (((code & 0x0F) << 3) + 0x84 << ((code & 0x70) >> 4)) - 0x84
    return -size if code & 0x80 else size


ULAW = [ulaw_sample(code) for code in range(256)]


class Ear:
    """Finds the caller's turns by loudness."""

    LOUD = 500 * 500  # mean square of a sample
    ONSET = 3  # windows of 20 ms
    PAUSE = 30

    def __init__(self, rate, ulaw):
        self.ulaw = ulaw
        self.window = rate // 50
        self.samples = array("h")
        self.speaks = False
        self.streak = 0

    def hear(self, audio):
        """True or False for every time that the caller begins or stops in `audio`."""
        self.samples.extend(array("h", [ULAW[code] for code in audio] if self.ulaw else audio))
        while len(self.samples) >= self.window:
            window, self.samples = self.samples[: self.window], self.samples[self.window :]
            loud = sum(sample * sample for sample in window) > self.LOUD * self.window
            self.streak = self.streak + 1 if loud != self.speaks else 0
            if self.streak == (self.PAUSE if self.speaks else self.ONSET):
                self.speaks, self.streak = loud, 0
                yield loud


class Vendor:
    """One conversation. A vendor is how it says what."""

    ear = {"rate": 16_000, "ulaw": False}
    agent_bytes_in_s = 8000
    piece = 4800  # bytes of audio in one message

    def __init__(self, house, socket):
        self.house = house
        self.socket = socket
        self.number = len(house.sessions) + 1
        self.audio_bytes = 0
        self.heard_until = 0.0
        self.turns = Ear(**self.ear)

    async def converse(self, silent):
        request = self.socket.request
        self.note("opened", path=request.path, headers=dict(request.headers.raw_items()))
        try:
            if not silent:
                await self.greet()
            async for message in self.socket:
                if not silent:
                    await self.hear(message)
        except ConnectionClosed:
            pass
        self.note("closed", code=self.socket.close_code, audio_bytes=self.audio_bytes)

    async def hear(self, message):
        if (audio := self.audio_in(message)) is None:
            self.note("told", message=json.loads(message))
            return await self.answer(json.loads(message))
        self.audio_bytes += len(audio)
        for speaks in self.turns.hear(audio):
            self.note("caller", speaks=speaks)
            await (self.caller_begins() if speaks else self.caller_ends("I have said something."))

    def is_heard(self):
        """Whether the caller still hears the agent, as far as the vendor can know."""
        return time.monotonic() < self.heard_until

    async def caller_begins(self):
        if self.is_heard():
            await self.interrupt()

    async def interrupt(self):
        self.heard_until = 0.0
        self.note("interrupted")
        await self.tell_interruption()

    async def say(self, speech, text):
        self.heard_until = max(time.monotonic(), self.heard_until) + len(speech) / self.agent_bytes_in_s
        await self.begin_answer(text)
        for at in range(0, len(speech), self.piece):
            await self.say_piece(speech[at : at + self.piece])
        await self.end_answer()

    async def tell(self, message):
        await self.socket.send(json.dumps(message))

    def note(self, event, **what):
        print(json.dumps({"event": event, "session": self.number, **what}), flush=True)

    def told_in_words(self, text):
        if text.startswith(KEYS_PRESSED):
            self.note("keys", keys=text.removeprefix(KEYS_PRESSED).rstrip(")"))

    async def greet(self):
        pass

    async def end_answer(self):
        pass


class ElevenLabs(Vendor):
    """The agent is set to speak µ-law and to hear 16 kHz, whatever the client expects."""

    event_id = 0
    last = ""

    def audio_in(self, message):
        chunk = json.loads(message).get("user_audio_chunk")
        return None if chunk is None else base64.b64decode(chunk)

    async def say_piece(self, audio, event_id=None):
        self.event_id += event_id is None
        event = {"audio_base_64": base64.b64encode(audio).decode(), "event_id": event_id or self.event_id}
        await self.tell({"type": "audio", "audio_event": event})

    async def begin_answer(self, text):
        self.last = text
        await self.tell({"type": "agent_response", "agent_response_event": {"agent_response": text}})

    async def tell_interruption(self):
        await self.tell({"type": "interruption", "interruption_event": {"event_id": self.event_id}})
        corrected = {"original_agent_response": self.last, "corrected_agent_response": self.last[:10] + "…"}
        kind = "agent_response_correction"
        await self.tell({"type": kind, f"{kind}_event": corrected})
        # Something of the answer was already on its way.
        await self.say_piece(bytes(range(1, 121)) * 40, event_id=self.event_id)

    async def caller_ends(self, words):
        await self.tell({"type": "user_transcript", "user_transcription_event": {"user_transcript": words}})

    async def call(self, call_id, tool, arguments):
        call = {"tool_name": tool, "tool_call_id": call_id, "parameters": arguments, "event_id": self.event_id}
        await self.tell({"type": "client_tool_call", "client_tool_call": call})

    async def answer(self, message):
        match message["type"]:
            case "conversation_initiation_client_data":
                formats = {"agent_output_audio_format": "ulaw_8000", "user_input_audio_format": "pcm_16000"}
                event = {"conversation_id": "conv_1", **formats}
                kind = "conversation_initiation_metadata"
                await self.tell({"type": kind, f"{kind}_event": event})
                await self.tell({"type": "ping", "ping_event": {"event_id": 7, "ping_ms": None}})
                self.note("ready")
                agent = message.get("conversation_config_override", {}).get("agent", {})
                self.note("greet", text=agent.get("first_message", ""))
            case "user_message":
                self.told_in_words(message["text"])
            case "client_tool_result":
                self.note("result", id=message["tool_call_id"], text=message["result"])


class Gemini(Vendor):
    agent_bytes_in_s = 48_000

    def audio_in(self, message):
        audio = json.loads(message).get("realtimeInput", {}).get("audio")
        return None if audio is None else base64.b64decode(audio["data"])

    async def tell(self, message):
        LiveServerMessage.model_validate_json(json.dumps(message))
        await self.socket.send(json.dumps(message).encode())  # in a binary frame, as the real one does

    async def say_piece(self, audio):
        blob = {"mimeType": "audio/pcm;rate=24000", "data": base64.b64encode(audio).decode()}
        await self.tell({"serverContent": {"modelTurn": {"parts": [{"inlineData": blob}]}}})

    async def begin_answer(self, text):
        await self.tell({"serverContent": {"outputTranscription": {"text": text}}})

    async def end_answer(self):
        await self.tell({"serverContent": {"generationComplete": True}})
        await self.tell({"serverContent": {"turnComplete": True}, "usageMetadata": {"totalTokenCount": 10}})

    async def tell_interruption(self):
        await self.tell({"serverContent": {"interrupted": True}})
        await self.tell({"serverContent": {"turnComplete": True}})

    async def caller_ends(self, words):
        await self.tell({"serverContent": {"inputTranscription": {"text": words}}})

    async def call(self, call_id, tool, arguments):
        call = {"id": call_id, "name": tool, "args": arguments}
        await self.tell({"toolCall": {"functionCalls": [call]}})

    async def resumable(self, handle):
        await self.tell({"sessionResumptionUpdate": {"newHandle": handle, "resumable": True}})

    async def answer(self, message):
        if "setup" in message:
            await self.tell({"setupComplete": {}})
            self.note("ready")
        elif text := message.get("realtimeInput", {}).get("text"):
            self.told_in_words(text)
            if not text.startswith(KEYS_PRESSED):
                self.note("greet", text=text)
        for response in message.get("toolResponse", {}).get("functionResponses", []):
            self.note("result", id=response["id"], text=json.dumps(response["response"]))


class Deepgram(Vendor):
    ear = {"rate": 8000, "ulaw": True}

    def audio_in(self, message):
        return message if isinstance(message, bytes) else None

    async def tell(self, message):
        read_as(getattr(deepgram, f"AgentV1{message['type']}"), message)
        await super().tell(message)

    async def greet(self):
        await self.tell({"type": "Welcome", "request_id": "r1"})

    async def say_piece(self, audio):
        await self.socket.send(audio)

    async def begin_answer(self, text):
        await self.tell({"type": "ConversationText", "role": "assistant", "content": text})
        latencies = {"total_latency": 1.1, "tts_latency": 0.3, "ttt_latency": 0.8}
        await self.tell({"type": "AgentStartedSpeaking", **latencies})

    async def end_answer(self):
        await self.tell({"type": "AgentAudioDone"})

    async def caller_begins(self):
        """Told whether or not the agent speaks."""
        await self.interrupt()

    async def tell_interruption(self):
        await self.tell({"type": "UserStartedSpeaking"})

    async def caller_ends(self, words):
        await self.tell({"type": "ConversationText", "role": "user", "content": words})

    async def call(self, call_id, tool, arguments):
        call = {"id": call_id, "name": tool, "arguments": json.dumps(arguments), "client_side": True}
        await self.tell({"type": "FunctionCallRequest", "functions": [call]})

    async def answer(self, message):
        match message["type"]:
            case "Settings":
                await self.tell({"type": "SettingsApplied"})
                self.note("ready")
                self.note("greet", text=message["agent"].get("greeting", ""))
            case "InjectUserMessage":
                self.told_in_words(message["content"])
            case "FunctionCallResponse":
                self.note("result", id=message["id"], text=message["content"])


VENDORS = {
    "/v1/convai/conversation": (ElevenLabs, lambda request: "conversation_signature=s" in request.path),
    "/ws/BidiGenerateContent": (Gemini, lambda request: request.headers.get("x-goog-api-key") == KEY),
    "/v1/agent/converse": (Deepgram, lambda request: request.headers.get("Authorization") == f"Token {KEY}"),
}


class House:
    """The address where all of them are, and the orders."""

    def __init__(self):
        self.sessions = []
        self.door = "open"
        self.times = 0

    def admit(self, connection, request):
        """Signs an address, or lets in whoever shows what the vendor wants to see."""
        path, _, query = request.path.partition("?")
        match self.door:
            case "drop":
                self.opened_once()
                connection.transport.abort()
                return None
            case status if status.isdigit():
                self.opened_once()
                return connection.respond(HTTPStatus(int(status)), "out of order")
        if path == "/v1/convai/conversation/get-signed-url" and request.headers.get("xi-api-key") == KEY:
            url = f"ws://{request.headers['Host']}/v1/convai/conversation?{query}&conversation_signature=s"
            return connection.respond(HTTPStatus.OK, json.dumps({"signed_url": url}))
        if path in VENDORS and VENDORS[path][1](request):
            return None
        return connection.respond(HTTPStatus.UNAUTHORIZED, '{"detail":{"message":"who are you?"}}')

    def opened_once(self):
        print(json.dumps({"event": "door", "was": self.door}), flush=True)
        self.times -= 1
        if self.times <= 0:
            self.door = "open"

    async def talk(self, socket):
        kind, _ = VENDORS[socket.request.path.partition("?")[0]]
        vendor = kind(self, socket)
        self.sessions.append(vendor)
        silent = self.door == "silent"
        if silent:
            self.opened_once()
        await vendor.converse(silent)

    async def obey(self, order):
        if order["do"] == "door":
            self.door, self.times = order["opens"], order.get("times", 1)
            return
        vendor = self.sessions[-1]
        match order["do"]:
            case "say":
                await vendor.say(Path(order["file"]).read_bytes(), order["text"])
            case "call":
                await vendor.call(order["id"], order["tool"], order["arguments"])
            case "interrupt":
                await vendor.interrupt()
            case "hear":
                await vendor.caller_ends(order["text"])
            case "resumable":
                await vendor.resumable(order["handle"])
            case "send":
                await vendor.socket.send(order["text"])
            case "send huge":
                await vendor.socket.send(json.dumps({"type": "x" * order["bytes"]}))
            case "close":
                await vendor.socket.close(order["code"])
            case "reset":
                vendor.socket.transport.abort()


async def main(port):
    house, orders, loop = House(), asyncio.Queue(), asyncio.get_running_loop()

    def listen():
        for line in sys.stdin:
            loop.call_soon_threadsafe(orders.put_nowait, json.loads(line))

    async with serve(house.talk, "127.0.0.1", port, process_request=house.admit, max_size=1 << 26) as server:
        print(f"listens on {server.sockets[0].getsockname()[1]}", flush=True)
        threading.Thread(target=listen, daemon=True).start()
        while True:
            try:
                await house.obey(await orders.get())
            except ConnectionClosed:
                pass  # the client has gone before the order was carried out


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
