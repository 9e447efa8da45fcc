"""The models' HTTP client as one: connections, time-outs, what is none of its business."""

import httpx2
import pytest

from testing.odd_server import delta, one_json, running_odd_server, stream
from voice_agent.answers.client import PATIENCE, ModelClient, Patience

QUESTION = {"model": "m", "stream": True, "messages": []}
YES = stream(delta(content="Yes."), delta("stop"))


async def test_an_answer_that_was_read_leaves_its_connection_to_the_next() -> None:
    async with running_odd_server({"odd": [YES]}) as server, ModelClient() as http:
        for _ in range(3):
            answer = await http.post(f"{server.url('odd')}/chat/completions", json=QUESTION)
            assert "Yes." in answer.text
        assert server.connections == 1


async def test_a_connection_is_waited_for_as_long_as_is_said() -> None:
    timeouts: list[dict[str, float | None]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        timeouts.append(request.extensions["timeout"])
        return httpx2.Response(200, json={"text": "hello"})

    async with ModelClient(transport=httpx2.MockTransport(answer)) as http:
        for extensions in ({}, {PATIENCE: Patience(connect=9)}):
            await http.post("http://stt/v1/audio/transcriptions", extensions=extensions)
        await http.get("http://stt/v1/models", timeout=7)
    assert [timeout["connect"] for timeout in timeouts] == [3, 9, 7]


async def test_what_is_no_question_to_a_model_is_left_alone() -> None:
    async with running_odd_server({"odd": [one_json({"error": "no"})]}) as server, ModelClient() as http:
        answer = await http.post(f"{server.url('odd')}/embeddings", json={})
        assert answer.json() == {"error": "no"}


async def test_a_chat_that_is_not_to_be_streamed_is_not() -> None:
    whole = {"choices": [{"message": {"content": "Yes."}}]}
    async with running_odd_server({"odd": [one_json(whole)]}) as server, ModelClient() as http:
        answer = await http.post(f"{server.url('odd')}/chat/completions", json={"model": "m", "messages": []})
        assert answer.json() == whole


async def test_it_knows_when_a_transcription_is_on_its_way() -> None:
    seen: list[bool] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(http.is_hearing)
        if len(seen) == 3:
            raise httpx2.ConnectError("nobody is there")
        return httpx2.Response(200, content=b"\1" * 4800)

    async with ModelClient(transport=httpx2.MockTransport(answer)) as http:
        await http.post("http://models/v1/audio/transcriptions")
        await http.post("http://models/v1/audio/speech", json={"input": "x"})
        with pytest.raises(httpx2.RequestError):
            await http.post("http://models/v1/audio/transcriptions")
        assert not http.is_hearing
    assert seen == [True, False, True]
