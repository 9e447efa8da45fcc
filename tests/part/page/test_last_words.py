"""What a customer says at a browser's microphone just before they hang up is a row of the conversation."""

from pathlib import Path

from testing.agent_pod import build_assignment, build_provider, running_pod
from testing.browser import chromium, open_page, write_wav
from testing.conversations import ConversationsDatabase
from testing.fake_openai import running_fake_openai
from testing.livekit import LiveKitServer
from testing.local_speech import speech_pcm
from testing.page_stage import Stage
from voicesession.assignment import CallEnded, conversation_write_token
from voicesession.models import EndReason

GREETING = "Hello there."
# So long that what was said before is transcribed by the time it is said again, also on a busy machine.
PAUSE_SECONDS = 6.0
# Of speech-to-text that takes a sentence whole.
TRANSCRIPTION_SECONDS = 1.5


async def test_they_hang_up_before_they_are_transcribed(
    livekit: LiveKitServer, conversations: ConversationsDatabase, stage: Stage, tmp_path: Path
) -> None:
    stage.script = None  # a real agent comes instead
    recording = write_wav(tmp_path / "microphone.wav", [PAUSE_SECONDS, speech_pcm("A table for two, please.")])
    async with (
        running_fake_openai() as fake,
        running_pod([build_provider(fake.base_url)], DATABASE_URL=conversations.url("voice_agent")) as pod,
        chromium(recording) as browser,
        open_page(browser, stage.base_url) as page,
    ):
        fake.transcription_pause = TRANSCRIPTION_SECONDS
        await page.start()
        room, customer = await stage.until_customer()
        assignment = build_assignment(livekit, room, participant_identity=customer)
        token = conversation_write_token(conversations.key, assignment.session_id, 1)
        follower = await pod.assign(assignment.model_copy(update={"write_token": token}))
        await page.until_line("agent", GREETING)
        await page.until_look("listening")
        await page.until_look("hearing")
        fake.transcripts.append("Yes, please book it.")
        await page.until_look("listening")
        await page.button("Hang up").click()
        await page.until_look("ended")
        assert (await follower.wait_for(CallEnded)).reason is EndReason.PARTICIPANT_LEFT
    rows = conversations.query("SELECT * FROM voice.conversation_messages ORDER BY position")
    assert [(row["role"], row["content"]) for row in rows] == [
        ("assistant", GREETING),
        ("user", "Yes, please book it."),
    ]
