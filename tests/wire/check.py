"""Is what we send, and what our transcripts have the providers send, what the vendors' own packages know?

The tests of the dialects note down every message that they send (target/tmp/wire/<dialect>.<test>.jsonl). Here each is
read with the types of the provider's Python package, and so is every message of the server in
sidecar/dialect/tests/transcripts/ and transcribed/. A field that the types do not know counts as wrong, though most of
them would let it pass. ElevenLabs has no types for what goes over the WebSocket after the first message, so their own
client is run against a server of ours: our messages must have the fields of its messages, and it must make something of
the server's.
"""

import json
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import deepgram.agent.v1.types as deepgram
from elevenlabs.client import ElevenLabs
from elevenlabs.conversational_ai.conversation import AudioInterface, BaseConversation, ClientTools, Conversation
from elevenlabs.types import ConversationInitiationClientDataRequestInput
from google.genai.types import LiveClientMessage, LiveServerMessage, RealtimeInputConfig
from openai.types.beta.realtime import RealtimeClientEvent as BetaClientEvent
from openai.types.beta.realtime import RealtimeServerEvent as BetaServerEvent
from openai.types.realtime import RealtimeClientEvent, RealtimeServerEvent
from soniox.types.realtime import RealtimeControlType, RealtimeEvent, RealtimeSTTConfig
from strict import read_as
from websockets.sync.server import serve

DEEPGRAM = {
    "Settings": deepgram.AgentV1Settings,
    "KeepAlive": deepgram.AgentV1KeepAlive,
    "FunctionCallResponse": deepgram.AgentV1SendFunctionCallResponse,
    "InjectAgentMessage": deepgram.AgentV1InjectAgentMessage,
    "InjectUserMessage": deepgram.AgentV1InjectUserMessage,
    "UpdatePrompt": deepgram.AgentV1UpdatePrompt,
}
DEEPGRAM_SERVER = {
    "AgentAudioDone": deepgram.AgentV1AgentAudioDone,
    "AgentStartedSpeaking": deepgram.AgentV1AgentStartedSpeaking,
    "ConversationText": deepgram.AgentV1ConversationText,
    "FunctionCallRequest": deepgram.AgentV1FunctionCallRequest,
    "FunctionCallResponse": deepgram.AgentV1ReceiveFunctionCallResponse,
    "SettingsApplied": deepgram.AgentV1SettingsApplied,
    "UserStartedSpeaking": deepgram.AgentV1UserStartedSpeaking,
    "Welcome": deepgram.AgentV1Welcome,
}
TESTS = Path(__file__).parents[2] / "sidecar/dialect/tests"


def check_openai(message):
    read_as(RealtimeClientEvent, message)


def check_openai_beta(message):
    read_as(BetaClientEvent, message)


def check_gemini(message):
    # These types let no unknown field pass. The package itself puts the configuration of the input into the setup
    # (_live_converters.py), but not into the type of the setup.
    config = message.get("setup", {}).pop("realtimeInputConfig", {})
    RealtimeInputConfig.model_validate_json(json.dumps(config))
    LiveClientMessage.model_validate_json(json.dumps(message))


def check_deepgram(message):
    read_as(DEEPGRAM[message["type"]], message)


def check_elevenlabs(message):
    kind = message.get("type")
    if kind == "conversation_initiation_client_data":
        read_as(ConversationInitiationClientDataRequestInput, {k: v for k, v in message.items() if k != "type"})
        return
    theirs = THEIR_FIELDS.get(kind)
    if theirs is None:
        raise ValueError("their own client sends no such message")
    if set(message) != theirs:
        raise ValueError(f"their own client sends {sorted(theirs)}")


def check_elevenlabs_server(message):
    """A field that their client needs and does not find is an error there."""
    handler = MagicMock()
    talk = SimpleNamespace(_conversation_id=None, _last_interrupt_id=0)
    BaseConversation._handle_message_core(talk, message, handler)
    if not handler.mock_calls and talk._conversation_id is None:
        raise ValueError("their own client makes nothing of it")


def check_soniox(message):
    if kind := message.get("type"):
        # Their client has no types for these, only names that differ from what it sends.
        if message != {"type": kind} or kind not in {name.replace("_", "") for name in RealtimeControlType}:
            raise ValueError("their own client sends no such message")
        return
    read_as(RealtimeSTTConfig, message)


def check_soniox_server(message):
    # Their documentation has these, their types not yet.
    later = ("error_type", "more_info", "request_id")
    read_as(RealtimeEvent, {key: value for key, value in message.items() if key not in later})


class Microphone(AudioInterface):
    """Says one chunk of silence."""

    def start(self, input_callback):
        input_callback(bytes(640))

    def stop(self):
        pass

    def output(self, audio):
        pass

    def interrupt(self):
        pass


def their_messages():
    """What ElevenLabs' own client sends in a small conversation, until a message of every kind has come."""
    seen = {}
    complete = threading.Event()

    def converse(socket):
        event = {"tool_name": "lookup", "tool_call_id": "t1", "parameters": {}, "event_id": 2}
        socket.send(json.dumps({"type": "ping", "ping_event": {"event_id": 1, "ping_ms": None}}))
        socket.send(json.dumps({"type": "client_tool_call", "client_tool_call": event}))
        for text in socket:
            message = json.loads(text)
            seen[message.get("type")] = set(message)
            if {None, "pong", "client_tool_result", "user_message", "contextual_update"} <= set(seen):
                complete.set()

    with serve(converse, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.socket.getsockname()[1]
        tools = ClientTools()
        tools.register("lookup", lambda parameters: "ok")
        client = ElevenLabs(base_url=f"http://127.0.0.1:{port}")
        theirs = Conversation(
            client, "agent_1", requires_auth=False, audio_interface=Microphone(), client_tools=tools
        )
        theirs.start_session()
        for _ in range(100):
            if theirs._ws is not None:
                break
            complete.wait(0.05)
        theirs.send_user_message("12#")
        theirs.send_contextual_update("It rains.")
        if not complete.wait(10):
            sys.exit(f"ElevenLabs' client sent only {sorted(map(str, seen))}")
        theirs.end_session()
    return seen


# What a client sends, and what a server sends.
CHECKS = {
    "deepgram": (check_deepgram, lambda message: read_as(DEEPGRAM_SERVER[message["type"]], message)),
    "elevenlabs": (check_elevenlabs, check_elevenlabs_server),
    "gemini": (check_gemini, lambda message: LiveServerMessage.model_validate_json(json.dumps(message))),
    "openai": (check_openai, lambda message: read_as(RealtimeServerEvent, message)),
    "openai-beta": (check_openai_beta, lambda message: read_as(BetaServerEvent, message)),
    "openai-transcription": (check_openai, lambda message: read_as(RealtimeServerEvent, message)),
    "soniox": (check_soniox, check_soniox_server),
}


def client_messages(folder, dialect):
    return {text for file in folder.glob(f"{dialect}.*.jsonl") for text in file.read_text().splitlines()}


def server_messages(dialect):
    [file] = TESTS.glob(f"transcri*/{dialect}.jsonl")
    steps = map(json.loads, file.read_text().splitlines())
    return {json.dumps(step["server"]) for step in steps if "server" in step}


def failures(messages, check):
    for text in sorted(messages):
        try:
            check(json.loads(text))
        except Exception as problem:  # whatever the types make of it
            yield f"{text[:400]}\n    {problem}\n"
    if not messages:
        yield "there are no messages"


def main(folder):
    wrong = 0
    for dialect, (check_client, check_server) in CHECKS.items():
        sent, heard = client_messages(folder, dialect), server_messages(dialect)
        for failure in [*failures(sent, check_client), *failures(heard, check_server)]:
            wrong += 1
            print(f"{dialect}: {failure}")
        print(f"{dialect}: {len(sent)} different messages of ours, {len(heard)} of the server")
    sys.exit(f"{wrong} messages are not what the vendor's package knows" if wrong else 0)


THEIR_FIELDS = their_messages()
main(Path(sys.argv[1]))
