"""A Pipecat bot for Twilio Media Streams, with local stages only.

    python bot.py <port> <greeting> <answer>

    websocket ─► TwilioFrameSerializer ─► Silero VAD ─► turns, interruptions ─► Bot ─► TwilioFrameSerializer ─► websocket

The bot greets, gives its answer when the caller has spoken, is silent when the caller interrupts, and says goodbye with the
greeting when `#` is pressed. Both are files of 16 bit samples at 8 kHz. What happens is a line of JSON on stdout.
"""

import asyncio
import json
import socket
import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    ClientConnectedFrame,
    EndWorkerFrame,
    InputDTMFFrame,
    InterruptionFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.runner.utils import parse_telephony_websocket
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.turns.user_start import VADUserTurnStartStrategy
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_processor import UserTurnProcessor
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

RATE = 8000
GREETING, ANSWER = (Path(file).read_bytes() for file in sys.argv[2:4])
TOLD = {
    UserStartedSpeakingFrame: "caller begins",
    UserStoppedSpeakingFrame: "caller ends",
    BotStartedSpeakingFrame: "bot begins",
    BotStoppedSpeakingFrame: "bot ends",
    InterruptionFrame: "interruption",
}


def note(event, **what):
    print(json.dumps({"event": event, **what}), flush=True)


class Bot(FrameProcessor):
    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        if type(frame) in TOLD:
            note(TOLD[type(frame)])
        match frame:
            case ClientConnectedFrame():
                await self.say(GREETING)
            case UserStoppedSpeakingFrame():
                await self.say(ANSWER)
            case InputDTMFFrame():
                note("key", key=frame.button.value)
                if frame.button.value == "#":
                    await self.say(GREETING)
                    await self.push_frame(EndWorkerFrame())
        await self.push_frame(frame, direction)

    async def say(self, audio):
        await self.push_frame(TTSStartedFrame())
        for at in range(0, len(audio), RATE // 5):  # 100 ms
            await self.push_frame(TTSAudioRawFrame(audio[at : at + RATE // 5], RATE, 1))
        await self.push_frame(TTSStoppedFrame())


app = FastAPI()


@app.websocket("/ws")
async def converse(websocket: WebSocket):
    await websocket.accept()
    kind, call = await parse_telephony_websocket(websocket)
    note("call", kind=kind, stream=call["stream_id"], call=call["call_id"], body=call["body"])
    no_rest = TwilioFrameSerializer.InputParams(auto_hang_up=False)
    serializer = TwilioFrameSerializer(call["stream_id"], call["call_id"], params=no_rest)
    params = FastAPIWebsocketParams(audio_in_enabled=True, audio_out_enabled=True, serializer=serializer)
    transport = FastAPIWebsocketTransport(websocket, params)
    turns = UserTurnStrategies(
        start=[VADUserTurnStartStrategy()],
        # Nobody transcribes here.
        stop=[SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=0.4, wait_for_transcript=False)],
    )
    stages = [
        transport.input(),
        VADProcessor(vad_analyzer=SileroVADAnalyzer(sample_rate=RATE)),
        UserTurnProcessor(user_turn_strategies=turns),
        Bot(),
        transport.output(),
    ]
    rates = PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE)
    worker = PipelineWorker(Pipeline(stages), params=rates, enable_rtvi=False)

    @transport.event_handler("on_client_disconnected")
    async def on_client_disconnected(transport, websocket):
        note("disconnected")
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()
    note("over")


async def main():
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    print(f"listens on {listener.getsockname()[1]}", flush=True)
    await uvicorn.Server(uvicorn.Config(app, log_level="warning")).serve(sockets=[listener])


asyncio.run(main())
