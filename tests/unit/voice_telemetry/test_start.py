"""The start of a part: what is read, and how a wrong environment is told."""

import resource
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from pydantic import BaseModel, Field, SecretStr, ValidationError, model_validator

from voice_telemetry.start import LogLevel, describe_wrong_settings, find_secrets, start

SECRET = "a-secret-4711"


class Inner(BaseModel):
    name: str


class Example(BaseModel):
    """The settings of no part."""

    log_level: LogLevel = "INFO"
    url: SecretStr | None = None
    key: SecretStr = SecretStr("")
    inner: list[Inner] = []
    aliased: int = Field(default=1, alias="WHOLE_NAME")

    @model_validator(mode="after")
    def _agree(self) -> "Example":
        if self.aliased == 13:
            raise ValueError("URL and WHOLE_NAME contradict each other")
        return self


def describe(values: Mapping[str, Any], prefix: str = "") -> str:
    with pytest.raises(ValidationError) as raised:
        Example.model_validate(values)
    return describe_wrong_settings(raised.value, prefix)


@pytest.fixture
def few_files() -> Iterator[int]:
    """Lets this process open few files, as container runtimes do at first; returns how many it may ask for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, soft), hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_part_may_have_as_many_connections_as_the_kernel_lets_it(few_files: int) -> None:
    start("voice_telemetry", Example)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (few_files, few_files)


@pytest.mark.parametrize("level", ["info", "Info", "INFO"])
def test_a_level_in_any_case(level: str) -> None:
    assert Example.model_validate({"log_level": level}).log_level == "INFO"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"log_level": "loud"}, "P_LOG_LEVEL: Input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        ({"inner": [{}]}, "P_INNER.0.NAME: Field required"),
        ({"WHOLE_NAME": 13}, "URL and WHOLE_NAME contradict each other"),
        ({"key": 1, "url": 2}, "P_URL: Input should be a valid string; P_KEY: Input should be a valid string"),
    ],
)
def test_each_wrong_variable_is_named(values: dict[str, Any], told: str) -> None:
    assert describe(values, "p_") == told


def test_a_wrong_value_is_not_repeated() -> None:
    told = describe({"log_level": SECRET, "WHOLE_NAME": SECRET})
    assert told.startswith("LOG_LEVEL: ")
    assert "WHOLE_NAME: " in told
    assert SECRET not in told


def test_passwords_in_urls_are_secrets_too() -> None:
    settings = Example(url=SecretStr("postgresql://agent:hunter2@db:6432/voice"), key=SecretStr(SECRET))
    assert find_secrets(settings) == ["postgresql://agent:hunter2@db:6432/voice", SECRET, "hunter2"]


def test_a_part_that_cannot_start_says_so_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        start("example", lambda: Example.model_validate({"log_level": "loud"}))
    assert ended.value.code == 2
    line = "example cannot start: LOG_LEVEL: Input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'\n"
    assert capsys.readouterr().err == line
