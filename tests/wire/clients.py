"""Do the vendors' own clients understand the practice agent where it writes down speech and answers questions?

    python clients.py <the practice agent's program>
"""

import json
import math
import struct
import subprocess
import sys
import tempfile

from openai import APIStatusError, OpenAI
from soniox import SonioxClient
from soniox.types.realtime import RealtimeSTTConfig

KEY = "sk-test-0123456789"
WORDS = "Сколько стоит перегородка?"
RATE = 16_000


def tone(seconds):
    samples = (int(8000 * math.sin(n * 0.3)) for n in range(int(seconds * RATE)))
    return b"".join(struct.pack("<h", sample) for sample in samples)


def start(program):
    """The practice agent, and where its two services are."""
    words = tempfile.NamedTemporaryFile("w", suffix=".json", delete=False)
    json.dump({"caller": [WORDS]}, words)
    words.close()
    command = [program, "--listen", "127.0.0.1:0", "--words", words.name]
    agent = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    agent.stderr.readline()
    speech, chat = agent.stderr.readline().removeprefix("speech to text: ").strip().split(", chat completions: ")
    return agent, speech, chat


def transcribe(url):
    """What Soniox' client makes of a second of sound, a pause in it and the end."""
    config = RealtimeSTTConfig(
        model="stt-rt-v5",
        audio_format="pcm_s16le",
        sample_rate=RATE,
        num_channels=1,
        enable_endpoint_detection=True,
        client_reference_id="1-caller",
    )
    client = SonioxClient(api_key=KEY, websocket_base_url=url)
    with client.realtime.stt.connect(config=config) as session:
        session.send_byte_chunk(tone(1.0))
        session.pause()
        session.resume()
        session.send_byte_chunk(tone(0.5))
        session.finish()
        events = list(session.receive_events())
    tokens = [token for event in events for token in event.tokens if token.is_final]
    assert not any(event.error_code for event in events), events
    assert events[-1].finished, events[-1]
    return "".join(token.text for token in tokens)


def hint(url, stream):
    """What OpenAI's client makes of an answer."""
    fields = {"type": {"type": "string", "enum": ["objection", "other"]}, "content": {"type": "string"}}
    schema = {"type": "object", "properties": fields, "required": [*fields], "additionalProperties": False}
    answer = OpenAI(api_key=KEY, base_url=url.removesuffix("/chat/completions"), max_retries=0).chat.completions.create(
        model="practice/hints",
        messages=[{"role": "user", "content": f"Caller: {WORDS}"}],
        response_format={"type": "json_schema", "json_schema": {"name": "hint", "strict": True, "schema": schema}},
        stream=stream,
    )
    if not stream:
        return json.loads(answer.choices[0].message.content)
    return json.loads("".join(choice.delta.content or "" for chunk in answer for choice in chunk.choices))


def refusal(url):
    """What OpenAI's client makes of an error."""
    try:
        OpenAI(api_key=KEY, base_url=url.removesuffix("/chat/completions"), max_retries=0).chat.completions.create(
            model="practice/hints", messages=[]
        )
    except APIStatusError as error:
        return error.status_code, "messages" in error.message
    return None


def main(program):
    agent, speech, chat = start(program)
    try:
        results = {
            "Soniox' client, speech": (transcribe(speech), f"{WORDS}<fin>(0.5 s of speech)"),
            "OpenAI's client, a hint": (hint(chat, stream=False)["type"], "objection"),
            "OpenAI's client, a hint in pieces": (hint(chat, stream=True), hint(chat, stream=False)),
            "OpenAI's client, an error": (refusal(chat), (400, True)),
        }
    finally:
        agent.kill()
    for what, (got, expected) in results.items():
        print(f"{what}: {got!r}" if got == expected else f"{what}: {got!r}, not {expected!r}")
    sys.exit(any(got != expected for got, expected in results.values()))


main(sys.argv[1])
