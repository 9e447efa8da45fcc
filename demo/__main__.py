"""What `make demo` does with the cluster and its images: chart, one spoken conversation, and what it left behind."""

import argparse
import asyncio
import os
import sys
import time
import urllib.request

from demo.conversation import Conversation, converse
from demo.script import SENTENCES
from local_cluster.layout import HANDOUT
from testing.customer import CustomerError
from testing.forwarding import ForwardingError, start_forwarding, stop_forwarding
from testing.front_door import Connection, FrontDoorError, ask_for_connection
from testing.progress import step
from testing.release import Release, ReleaseError
from testing.speech import SpeechError, synthesize
from testing.transcripts import word_error_rate

RELEASE = Release("voice", "voice")
PID_FILE = HANDOUT / "demo-forwarding.pid"
TOKEN_SERVICE_PORT = 3000
STEPS = 4


def main() -> int:
    """Returns 0 when the conversation was held and its books are closed."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--down", action="store_true", help="remove the release instead")
    instead.add_argument("--close", action="store_true", help="only stop answering on localhost:3000 instead")
    instead.add_argument("--openai", action="store_true", help="give the release the key in OPENAI_API_KEY instead")
    arguments = parser.parse_args()
    try:
        if arguments.openai:
            return add_openai(os.environ.get("OPENAI_API_KEY", "").strip())
        if arguments.close:
            return close()
        return take_down() if arguments.down else run_demo()
    except (ReleaseError, CustomerError, FrontDoorError, ForwardingError, SpeechError) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        print("Look at it with `make cluster-status` and `.cluster/bin/kubectl -n voice get pods`.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. What is up stays up: `make demo` goes on from there, `make demo-down` removes it.")
        return 130


def run_demo() -> int:
    """Installs the chart into the cluster that `make images` has brought up, talks, and shows what came of it."""
    print("\nCtrl-C stops; `make demo` again goes on from there.\n")
    with step(1, STEPS, "the chart: operator, token service, Postgres, LiveKit, local models") as running:
        RELEASE.install()
        RELEASE.wait_until_ready(running)
        _expose()
    with step(2, STEPS, "the customer's voice"):
        speech = {sentence: synthesize(RELEASE, sentence) for sentence in SENTENCES}
    with step(3, STEPS, "a conversation") as running:
        connection = ask_for_connection(llm_provider="local", is_local_mode=True)
        conversation = asyncio.run(converse(connection, speech, running))
    with step(4, STEPS, "the books are closed"):
        session_id = _wait_for_the_end(connection)
    show(conversation, session_id)
    return 0


def close() -> int:
    """Ends what answers on localhost. With the cluster goes the file that names it: it would keep the port for ever."""
    stop_forwarding(PID_FILE)
    return 0


def take_down() -> int:
    """Removes the release; the cluster stays until `make cluster-down`."""
    close()
    with step(1, 1, "removing the release"):
        RELEASE.uninstall()
    return 0


def add_openai(key: str) -> int:
    """Gives the release an OpenAI key: the default profile then speaks with OpenAI's models."""
    if not key:
        raise ReleaseError("there is no key: write OPENAI_API_KEY=sk-... make demo-openai")
    if not RELEASE.is_installed():
        raise ReleaseError("there is no release to give the key to; `make demo` makes one")
    with step(1, 2, "the key, as the Secret `openai`"):
        RELEASE.apply(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "openai"}, "stringData": {"api-key": key}}
        )
    with step(2, 2, "pods that have it") as running:
        RELEASE.install({"openai": {"apiKeySecret": "openai"}})
        RELEASE.wait_until_ready(running)
        _expose()
    print(f"\nTalk to OpenAI's models: http://localhost:{TOKEN_SERVICE_PORT}     (`make demo` goes back to local ones)")
    return 0


def show(conversation: Conversation, session_id: str) -> None:
    """Prints the transcript as Postgres has it, the VoiceSessions, and the timings."""
    rows = RELEASE.sql(
        f"SELECT role, content FROM voice.conversation_messages WHERE session_id = '{session_id}' ORDER BY id"
    )
    print("\nThe transcript, from Postgres:\n")
    for row in rows:
        print(f"  {row['role'] or '':>10}  {row['content']}")
    said = " ".join(row["content"] for row in rows if row["role"] == "user")
    print(f"\nWord error rate of the customer's sentences: {word_error_rate([' '.join(SENTENCES)], [said]):.3f}")
    print("\n$ kubectl get voicesessions\n" + RELEASE.kubectl("get", "voicesessions"))
    answers = ", ".join(f"{seconds:.2f}" for seconds in conversation.answer_seconds)
    print(f"connected after        {conversation.connect_seconds:.2f} s")
    print(f"agent in the room      {conversation.agent_seconds:.2f} s after the customer began to connect")
    print(f"greeting heard         {conversation.greeting_seconds:.2f} s after the customer began to connect")
    print(f"end of speech → answer {answers} s")
    print(f"\nTalk to it yourself: http://localhost:{TOKEN_SERVICE_PORT}     (end it with `make demo-down`)")


def _expose() -> None:
    stop_forwarding(PID_FILE)
    PID_FILE.write_text(str(start_forwarding(TOKEN_SERVICE_PORT, RELEASE.token_service_address())))
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"http://localhost:{TOKEN_SERVICE_PORT}/", timeout=5):
                return
        except OSError as error:
            if time.monotonic() > deadline:
                raise ReleaseError(
                    f"the token service does not answer on port {TOKEN_SERVICE_PORT}: {error}"
                ) from error
            time.sleep(0.5)


def _wait_for_the_end(connection: Connection) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for item in RELEASE.get("voicesessions")["items"]:
            status = item.get("status", {})
            if status.get("room") == connection.room and status.get("phase") in {"Ended", "Failed"}:
                if status["phase"] == "Failed":
                    raise ReleaseError(f"the VoiceSession failed: {status.get('reason')}: {status.get('message')}")
                return str(item["metadata"]["uid"])
        time.sleep(0.5)
    raise ReleaseError(f"no VoiceSession of room {connection.room} ended within 60 s")


if __name__ == "__main__":
    sys.exit(main())
