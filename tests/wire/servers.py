"""Are the servers of our tests what the vendors' own packages take them for?

The tests of the practice agent note down every message that it sends (target/tmp/wire/server/*.jsonl), and each is read
with the types of OpenAI and Soniox here. The stand-ins for Gemini and Deepgram check their messages themselves, with
their vendors' types, whenever they run. ElevenLabs has no such types, so their own client holds a conversation with the
stand-in and must understand all of it.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import get_args

from elevenlabs.client import ElevenLabs
from elevenlabs.conversational_ai.conversation import AudioInterface, ClientTools, Conversation
from openai.types.beta.realtime import RealtimeServerEvent as BetaServerEvent
from openai.types.realtime import RealtimeServerEvent
from openai.types.realtime.realtime_session_create_response import RealtimeSessionCreateResponse
from openai.types.realtime.realtime_transcription_session_create_response import (
    RealtimeTranscriptionSessionCreateResponse,
)
from soniox.types.realtime import RealtimeEvent
from strict import read_as

SHAPES = {"ga": RealtimeServerEvent, "beta": BetaServerEvent}
PATIENCE_S = 10


def check_openai(folder):
    """How many of the messages noted in `folder` are not OpenAI's."""
    failures = 0
    for shape, union in SHAPES.items():
        known = kinds(union)
        files = sorted(folder.glob(f"openai-{shape}.*.jsonl"))
        # Of most there are hundreds that differ in ids and texts alone.
        messages = {kind_and_fields(text): text for file in files for text in file.read_text().splitlines()}
        for text in messages.values():
            try:
                read_event(shape, known, json.loads(text))
            except Exception as problem:  # whatever the types make of it
                failures += 1
                print(f"practice agent, {shape}: {text[:400]}\n    {str(problem)[:2000]}\n")
        print(f"practice agent, {shape}: {len(messages)} kinds of messages")
        failures += not messages
    return failures


def check_soniox(folder):
    """How many of the messages noted in `folder` are not Soniox'."""
    failures = 0
    texts = (text for file in folder.glob("soniox.*.jsonl") for text in file.read_text().splitlines())
    messages = {shape_of(message): message for message in map(json.loads, texts)}
    for message in messages.values():
        # Their documentation has these, their types not yet.
        known = {key: value for key, value in message.items() if key not in ("error_type", "more_info", "request_id")}
        try:
            read_as(RealtimeEvent, known)
        except ValueError as problem:
            failures += 1
            print(f"practice agent, soniox: {message}\n    {problem}\n")
    print(f"practice agent, soniox: {len(messages)} kinds of messages")
    return failures + (not messages)


def kinds(union):
    """The types of which `union` consists, by the `type` of their messages."""
    alternatives = get_args(get_args(union)[0])
    return {get_args(kind.model_fields["type"].annotation)[0]: kind for kind in alternatives}


def read_event(shape, known, event):
    if shape == "ga" and event["type"] in ("session.created", "session.updated"):
        # The type of these events has the settings that a client sends. The package has another for those with an id.
        types = {"realtime": RealtimeSessionCreateResponse, "transcription": RealtimeTranscriptionSessionCreateResponse}
        kind = event["session"]["type"]
        read_as(types[kind], event["session"])
        event = event | {"session": {"type": kind}}
    elif "session" in event:
        event["session"]["model"] = "gpt-realtime"  # only OpenAI's own models have a name there
        for field in ("expires_at", "include", "object"):  # OpenAI's reference has them, the package's old type not
            event["session"].pop(field)
    if event["type"] not in known:
        raise ValueError("there is no such event")
    read_as(known[event["type"]], event)


def kind_and_fields(value):
    """What of a message counts for its type: everything but numbers and free text."""
    if isinstance(value, str) and value.startswith("{"):
        value = json.loads(value)
        return value.get("type"), shape_of(value)
    return shape_of(value)


def shape_of(value):
    if isinstance(value, dict):
        return tuple((name, value[name] if name in ("type", "status", "role") else shape_of(value[name])) for name in value)
    if isinstance(value, list):
        return tuple(sorted({shape_of(item) for item in value}, key=repr))
    return type(value).__name__


class StandIn:
    """tests/wire/vendors.py in a process of its own."""

    def __init__(self):
        script = Path(__file__).with_name("vendors.py")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([sys.executable, script, "0"], **pipes)
        self.port = int(self.process.stdout.readline().removeprefix("listens on "))
        self.events = []
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            self.events.append(json.loads(line))

    def order(self, **order):
        print(json.dumps(order), file=self.process.stdin, flush=True)

    def saw(self, event):
        return any(seen["event"] == event for seen in self.events)


class Line(AudioInterface):
    """What the client hears, and the order to be silent."""

    def __init__(self, note):
        self.note = note

    def start(self, input_callback):
        pass

    def stop(self):
        pass

    def output(self, audio):
        self.note("audio", len(audio))

    def interrupt(self):
        self.note("interruption", True)


def check_elevenlabs():
    """How much of what the stand-in says ElevenLabs' own client did not understand."""
    understood = {}
    server = StandIn()
    with tempfile.NamedTemporaryFile() as speech:
        speech.write(bytes(48_000))
        speech.flush()
        tools = ClientTools()
        tools.register("lookup", lambda parameters: understood.setdefault("tool", parameters["city"]))
        client = ElevenLabs(base_url=f"http://127.0.0.1:{server.port}", api_key="sk-test-0123456789")
        conversation = Conversation(
            client,
            "agent_1",
            requires_auth=True,
            audio_interface=Line(lambda what, value: understood.setdefault(what, value)),
            client_tools=tools,
            callback_agent_response=lambda text: understood.setdefault("agent said", text),
            callback_agent_response_correction=lambda said, heard: understood.setdefault("correction", heard),
            callback_user_transcript=lambda text: understood.setdefault("caller said", text),
        )
        conversation.start_session()
        wait_for("the session", lambda: server.saw("ready"))
        server.order(do="say", file=speech.name, text="We are open from eight to five.")
        server.order(do="interrupt")
        server.order(do="hear", text="Where is that?")
        server.order(do="call", id="t1", tool="lookup", arguments={"city": "Riga"})
        wait_for("the tool's result", lambda: server.saw("result"))
        result = next(event for event in server.events if event["event"] == "result")
        told = [event["message"] for event in server.events if event["event"] == "told"]
        understood["pong"] = any(message.get("type") == "pong" and message["event_id"] == 7 for message in told)
        understood["conversation"] = conversation._conversation_id
        conversation.end_session()
        wait_for("the end", lambda: server.saw("closed"))
    server.process.kill()
    wanted = {
        "audio": 4800,
        "interruption": True,
        "tool": "Riga",
        "agent said": "We are open from eight to five.",
        "correction": "We are ope…",
        "caller said": "Where is that?",
        "pong": True,
        "conversation": "conv_1",
    }
    print(f"stand-in for ElevenLabs: its client understood {', '.join(sorted(understood))}; the tool gave {result['text']!r}")
    for what in sorted(wanted.keys() | understood.keys()):
        if wanted.get(what) != understood.get(what):
            print(f"    {what}: {understood.get(what)!r}, not {wanted.get(what)!r}")
    return sum(wanted.get(what) != understood.get(what) for what in wanted.keys() | understood.keys())


def wait_for(what, look):
    until = time.monotonic() + PATIENCE_S
    while not look():
        if time.monotonic() > until:
            sys.exit(f"not within {PATIENCE_S} s: {what}")
        time.sleep(0.02)


FOLDER = Path(sys.argv[1])
failures = check_openai(FOLDER) + check_soniox(FOLDER) + check_elevenlabs()
sys.exit(f"{failures} messages are not what the vendor's package knows" if failures else 0)
