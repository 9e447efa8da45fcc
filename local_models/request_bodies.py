"""What clients send: the parts of OpenAI's request bodies that matter here. Unknown fields are ignored."""

from typing import Any, Literal

from pydantic import BaseModel, Field, JsonValue

LONGEST_INPUT = 4096


class ContentPart(BaseModel):
    """A part of a message; only text is read."""

    type: str
    text: str = ""


class FunctionCall(BaseModel):
    """A call that the assistant made earlier."""

    name: str
    arguments: str = "{}"


class ToolCall(BaseModel):
    """A function call with its id."""

    id: str
    function: FunctionCall


class Message(BaseModel):
    """One message of the conversation so far."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[ContentPart] | None = None
    tool_calls: list[ToolCall] | None = None

    @property
    def text(self) -> str:
        """The message's words."""
        if isinstance(self.content, list):
            return " ".join(part.text for part in self.content if part.text)
        return self.content or ""


class Function(BaseModel):
    """A function that may be called; `parameters` is a JSON schema."""

    name: str = Field(min_length=1)
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(BaseModel):
    """A tool that is offered."""

    type: Literal["function"]
    function: Function


class NamedFunction(BaseModel):
    """The name of a function."""

    name: str


class NamedTool(BaseModel):
    """A tool that has to be called."""

    type: Literal["function"]
    function: NamedFunction


class StreamOptions(BaseModel):
    """What a stream carries besides the words."""

    include_usage: bool | None = None


class ChatRequest(BaseModel):
    """Body of POST /v1/chat/completions."""

    model: str = Field(min_length=1)
    messages: list[Message] = Field(min_length=1)
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None


class SpeechRequest(BaseModel):
    """Body of POST /v1/audio/speech. `voice` and `instructions` change nothing: there is one voice."""

    model: str = Field(min_length=1)
    input: str = Field(min_length=1, max_length=LONGEST_INPUT)
    voice: JsonValue = None
    response_format: Literal["pcm", "wav", "mp3"] | None = None
    speed: float | None = Field(default=None, ge=0.5, le=2.0)


class TranscriptionRequest(BaseModel):
    """The form of POST /v1/audio/transcriptions, without its file."""

    model: str = Field(min_length=1)
    response_format: Literal["json", "verbose_json", "text"] = "json"
    language: str | None = Field(default=None, pattern="(?i)^en([-_].*|glish)?$")
