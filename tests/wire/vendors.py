"""Stand-ins for ElevenLabs Agents, Gemini Live and Deepgram Voice Agent, after their documentation, for one call each.

    python vendors.py <port> <file>

The agent says what is in the file (bytes of the format it speaks) faster than it is heard. A key that the caller presses
interrupts it; something of the interrupted answer comes late, and then the agent hangs up by a tool. Every message of the
client but audio is printed, and at the end how many bytes of audio came. What is sent is checked with the types of the
vendor's package, where it has such.
"""

import asyncio
import base64
import json
import sys
from http import HTTPStatus
from pathlib import Path

import deepgram.agent.v1.types as deepgram
from google.genai.types import LiveServerMessage
from strict import read_as
from websockets.asyncio.server import serve

KEY = "sk-test-0123456789"


class Vendor:
    """One conversation. A vendor is how it says what."""

    def __init__(self, socket, speech):
        self.socket = socket
        self.speech = speech
        self.audio_bytes = 0

    async def converse(self):
        await self.greet()
        async for message in self.socket:
            if (audio := self.audio_in(message)) is not None:
                if self.audio_bytes == 0 and audio:
                    await self.say_it_all()
                self.audio_bytes += len(audio)
                continue
            print(message, flush=True)
            await self.answer(json.loads(message))
        print(f"audio {self.audio_bytes}", flush=True)

    async def say_it_all(self):
        piece = 4800  # 100 ms at 24 kHz
        for at in range(0, len(self.speech), piece):
            await self.say(self.speech[at : at + piece])

    async def tell(self, message):
        await self.socket.send(json.dumps(message))


class ElevenLabs(Vendor):
    event_id = 0

    def audio_in(self, message):
        chunk = json.loads(message).get("user_audio_chunk")
        return None if chunk is None else base64.b64decode(chunk)

    async def greet(self):
        pass

    async def say(self, audio, event_id=None):
        self.event_id += 1
        event = {"audio_base_64": base64.b64encode(audio).decode(), "event_id": event_id or self.event_id}
        await self.tell({"type": "audio", "audio_event": event})

    async def answer(self, message):
        match message["type"]:
            case "conversation_initiation_client_data":
                formats = {"agent_output_audio_format": "ulaw_8000", "user_input_audio_format": "pcm_16000"}
                event = {"conversation_id": "conv_1", **formats}
                kind = "conversation_initiation_metadata"
                await self.tell({"type": kind, f"{kind}_event": event})
                await self.tell({"type": "ping", "ping_event": {"event_id": 7, "ping_ms": None}})
            case "user_message":
                await self.tell({"type": "interruption", "interruption_event": {"event_id": self.event_id}})
                await self.say(self.speech[:8000], event_id=1)
                call = {"tool_name": "hangup", "tool_call_id": "t1", "parameters": {}, "event_id": 9}
                await self.tell({"type": "client_tool_call", "client_tool_call": call})


class Gemini(Vendor):
    def audio_in(self, message):
        audio = json.loads(message).get("realtimeInput", {}).get("audio")
        return None if audio is None else base64.b64decode(audio["data"])

    async def greet(self):
        pass

    async def tell(self, message):
        LiveServerMessage.model_validate_json(json.dumps(message))
        await self.socket.send(json.dumps(message).encode())  # in a binary frame, as the real one does

    async def say(self, audio):
        blob = {"mimeType": "audio/pcm;rate=24000", "data": base64.b64encode(audio).decode()}
        await self.tell({"serverContent": {"modelTurn": {"parts": [{"inlineData": blob}]}}})

    async def answer(self, message):
        if "setup" in message:
            await self.tell({"setupComplete": {}})
        elif "realtimeInput" in message:
            await self.tell({"serverContent": {"interrupted": True}})
            await self.tell({"serverContent": {"turnComplete": True}})
            await self.tell({"toolCall": {"functionCalls": [{"id": "fc1", "name": "hangup", "args": {}}]}})


class Deepgram(Vendor):
    def audio_in(self, message):
        return message if isinstance(message, bytes) else None

    async def tell(self, message):
        read_as(getattr(deepgram, f"AgentV1{message['type']}"), message)
        await super().tell(message)

    async def greet(self):
        await self.tell({"type": "Welcome", "request_id": "r1"})

    async def say(self, audio):
        await self.socket.send(audio)

    async def answer(self, message):
        match message["type"]:
            case "Settings":
                await self.tell({"type": "SettingsApplied"})
            case "InjectUserMessage":
                await self.tell({"type": "UserStartedSpeaking"})
                call = {"id": "fc1", "name": "hangup", "arguments": "{}", "client_side": True}
                await self.tell({"type": "FunctionCallRequest", "functions": [call]})


VENDORS = {
    "/v1/convai/conversation": (ElevenLabs, lambda request: "conversation_signature=s" in request.path),
    "/ws/BidiGenerateContent": (Gemini, lambda request: request.headers.get("x-goog-api-key") == KEY),
    "/v1/agent/converse": (Deepgram, lambda request: request.headers.get("Authorization") == f"Token {KEY}"),
}


def admit(connection, request):
    """Signs an address, or lets in whoever shows what the vendor wants to see."""
    path, _, query = request.path.partition("?")
    if path == "/v1/convai/conversation/get-signed-url" and request.headers.get("xi-api-key") == KEY:
        url = f"ws://{request.headers['Host']}/v1/convai/conversation?{query}&conversation_signature=s"
        return connection.respond(HTTPStatus.OK, json.dumps({"signed_url": url}))
    if path in VENDORS and VENDORS[path][1](request):
        return None
    return connection.respond(HTTPStatus.UNAUTHORIZED, '{"detail":{"message":"who are you?"}}')


async def main(port, speech):
    async def talk(socket):
        vendor, _ = VENDORS[socket.request.path.partition("?")[0]]
        await vendor(socket, speech).converse()

    async with serve(talk, "127.0.0.1", port, process_request=admit) as server:
        print(f"listens on {server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()


asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]).read_bytes()))
