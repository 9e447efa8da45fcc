"""What the rule-based partner answers, written the ways a speech recognizer writes."""

import json
from typing import Any

import pytest

from local_models.partner import GOODBYE, GREETING, HONESTY, STORY, CallTool, Say, decide_reply
from local_models.request_bodies import Function, Message, NamedTool

WEATHER = Function(
    name="get_weather",
    description="Called when the user asks about the weather.",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
CLOCK = Function(name="get_current_time", description="Returns the time of day.", parameters=None)
BILLING = Function(name="transfer_to_billing", description="Transfers the customer to the billing department.")
ORDER = Function(
    name="order_pizza",
    parameters={
        "type": "object",
        "properties": {"count": {"type": "integer"}, "size": {"type": "string", "enum": ["small", "large"]}},
        "required": ["count", "size"],
    },
)
TOOLS = [WEATHER, CLOCK, BILLING, ORDER]


def conversation(*texts: str) -> list[Message]:
    """Returns messages that begin with the customer and alternate."""
    return [Message(role="assistant" if i % 2 else "user", content=text) for i, text in enumerate(texts)]


def said(*messages: Message, **more: Any) -> str:
    reply = decide_reply(messages, **more)
    assert isinstance(reply, Say)
    return reply.text


@pytest.mark.parametrize(
    ("heard", "answer"),
    [
        ("Hello.", GREETING),
        ("hello there", GREETING),
        ("HI!", GREETING),
        ("Good morning.", GREETING),
        ("Thank you.", "You are welcome."),
        ("Okay, thanks a lot.", "You are welcome."),
        ("Thank you very much, goodbye.", GOODBYE),
        ("Bye-bye.", GOODBYE),
        ("Can you hear me?", "Yes, I can hear you."),
        ("Are you a real person?", HONESTY),
        ("Who are you?", HONESTY),
        ("are you an ai", HONESTY),
        ("What's your name?", HONESTY),
        ("Please repeat: The green bicycle.", "The green bicycle."),
        ("Please repeat, the green bicycle", "the green bicycle."),
        ("Repeat after me. Seven yellow lanterns!", "Seven yellow lanterns!"),
        ("Please repeat what is my name?", "what is my name?"),
        ("Count to five.", "one, two, three, four, five."),
        ("Can you count to 3, please?", "one, two, three."),
        ("Please count from three to six.", "three, four, five, six."),
        ("Count down from 3.", "three, two, one."),
        ("Count to a million and 999.", "I only count up to thirty."),
        ("Please count to the end.", "Please tell me how far to count."),
        ("Tell me a long story.", STORY),
        ("Could you please tell me a story?", STORY),
        ("My name is Anna.", "Nice to meet you, Anna."),
        ("MY NAME IS ANNA", "Nice to meet you, Anna."),
        ("Hello there, my name is Anna and I am calling about my order.", "Nice to meet you, Anna."),
        ("Hi, I'm Thomas.", "Nice to meet you, Thomas."),
        ("Hi, I\u2019m Thomas.", "Nice to meet you, Thomas."),
        ("My account number is 4711.", "I have noted your account number: 4 7 1 1."),
        ("My account number is 4-7-1-1.", "I have noted your account number: 4 7 1 1."),
        ("my account number is four seven one one", "I have noted your account number: 4 7 1 1."),
        ("My number is 5, 5, 5. 1 2.", "I have noted your number: 5 5 5 1 2."),
        ("Please remember that my table number is seven.", "I have noted your table number: 7."),
        ("I'd like to order two pizzas.", "Very well, I order two pizzas."),
        ("I would like to order two pizzas, please.", "Very well, I order two pizzas."),
        ("Can I order a large coffee? Thanks.", "Very well, I order a large coffee."),
        ("I'll have a salad.", "Very well, I order a salad."),
        ("Order two pizzas.", "Very well, I order two pizzas."),
        ("I want to book a table for two.", "Very well, I book a table for two."),
        ("What is my name?", "You have not told me your name yet."),
        ("What was my account number?", "You have not told me your account number yet."),
        ("What did I order?", "You have not ordered anything yet."),
        ("My order has not arrived yet.", "You said: My order has not arrived yet."),
        ("I'm looking for my keys", "You said: I'm looking for my keys."),
        ("I am a small robot.", "You said: I am a small robot."),
        ("Can you say that again?", "I have not said anything yet."),
    ],
)
def test_one_sentence(heard: str, answer: str) -> None:
    assert said(*conversation(heard)) == answer


@pytest.mark.parametrize(
    ("turns", "answer"),
    [
        (("My name is Anna.", "Nice.", "What is my name?"), "Your name is Anna."),
        (("My name is Anna.", "Nice.", "what's my name"), "Your name is Anna."),
        (("My name is Anna.", "Nice.", "Do you remember my name?"), "Your name is Anna."),
        (("My name is Anna.", "Nice.", "My name is Eve.", "Nice.", "Who am I?"), "Your name is Eve."),
        (("My name is Anna.", "Nice.", "Hello."), "Hello Anna! How can I help you today?"),
        (("My name is Anna.", "Nice.", "Goodbye!"), "Goodbye Anna, and thank you for calling."),
        (("My account number is 4711.", "Noted.", "What was my number?"), "Your number is 4 7 1 1."),
        (("My account number is 4711.", "Noted.", "What is my account number?"), "Your account number is 4 7 1 1."),
        (
            ("My account number is 4711 and my table number is 9.", "Noted.", "What was my account number again?"),
            "Your account number is 4 7 1 1.",
        ),
        (
            ("My account number is 4711.", "Noted.", "What is my phone number?"),
            "You have not told me your phone number yet.",
        ),
        (("I'd like to order two pizzas.", "Yes.", "What did I order?"), "You ordered two pizzas."),
        (
            ("I would like to order two large pizzas and a bottle of water.", "Yes.", "What did I order a moment ago?"),
            "You ordered two large pizzas and a bottle of water.",
        ),
        (("I want to book a table for two.", "Yes.", "What have I booked?"), "You booked a table for two."),
        (("Count to two.", "one, two.", "Please repeat that."), "one, two."),
        (("Count to two.", "one, two.", "What did you say?"), "one, two."),
    ],
)
def test_memory_is_what_the_messages_say(turns: tuple[str, ...], answer: str) -> None:
    assert said(*conversation(*turns)) == answer


def test_the_assistants_own_words_are_not_the_customers() -> None:
    assert said(*conversation("Hello.", "My name is Bob.", "What is my name?")) == "You have not told me your name yet."


@pytest.mark.parametrize(
    ("parts", "question", "answers"),
    [
        (("I would like to", "order two pizzas."), "What did I order?",
         ("Very well, I order two pizzas.", "You ordered two pizzas.")),
        (("My account number is.", "4711."), "What was my number?",
         ("I have noted your account number: 4 7 1 1.", "Your number is 4 7 1 1.")),
        (("The green bicycle.", "Behind the library."), "What did I order?",
         ("You said: The green bicycle. Behind the library.", "You have not ordered anything yet.")),
    ],
)  # fmt: skip
def test_a_sentence_cut_by_a_pause_is_put_together(
    parts: tuple[str, ...], question: str, answers: tuple[str, str]
) -> None:
    messages = [Message(role="user", content=part) for part in parts]
    assert said(*messages) == answers[0]
    later = [Message(role="assistant", content=answers[0]), Message(role="user", content=question)]
    assert said(*messages, *later) == answers[1]


def test_content_may_come_in_parts() -> None:
    message = Message.model_validate({"role": "user", "content": [{"type": "text", "text": "Count to two."}]})
    assert said(message) == "one, two."


def test_the_story_is_long_enough_to_be_interrupted() -> None:
    assert len(STORY.split()) > 100


@pytest.mark.parametrize(
    ("heard", "name", "arguments"),
    [
        ("What is the weather in Paris?", "get_weather", {"city": "Paris"}),
        ("what's the weather like in new york today", "get_weather", {"city": "new york"}),
        ("Tell me about the weather in Paris, please.", "get_weather", {"city": "Paris"}),
        ("How is the weather in the Netherlands?", "get_weather", {"city": "Netherlands"}),
        ("What time is it?", "get_current_time", {}),
        ("Can you transfer me to billing?", "transfer_to_billing", {}),
        ("I want to speak to someone in billing.", "transfer_to_billing", {}),
        ("Can you order two large pizzas?", "order_pizza", {"count": 2, "size": "large"}),
        ("Please order 3 small pizzas for me.", "order_pizza", {"count": 3, "size": "small"}),
    ],
)
def test_a_tool_is_called_when_asked_for(heard: str, name: str, arguments: dict[str, Any]) -> None:
    assert decide_reply(conversation(heard), TOOLS) == CallTool(name, arguments)


@pytest.mark.parametrize(
    "heard",
    [
        "Hello.",
        "My name is Anna.",
        "It rained the whole day.",
        "What is my name?",
        "Please repeat: what is the weather in Paris?",
        "Thank you, goodbye.",
    ],
)
def test_no_tool_is_called_when_none_is_asked_for(heard: str) -> None:
    assert isinstance(decide_reply(conversation(heard), TOOLS), Say)


def test_a_missing_argument_is_asked_for() -> None:
    assert "city" in said(*conversation("What is the weather?"), offered=TOOLS)


def test_tool_choice_is_obeyed() -> None:
    weather = conversation("What is the weather in Paris?")
    named = NamedTool.model_validate({"type": "function", "function": {"name": "get_current_time"}})
    assert isinstance(decide_reply(weather, TOOLS, "none"), Say)
    assert decide_reply(weather, TOOLS, named) == CallTool("get_current_time", {})
    assert decide_reply(conversation("Hello."), TOOLS, "required") == CallTool("get_weather", {})


@pytest.mark.parametrize(
    ("result", "spoken"),
    [
        ("sunny with a temperature of 21 degrees", "sunny with a temperature of 21 degrees."),
        (json.dumps({"city": "Paris", "degrees_outside": 21}), "city Paris, degrees outside 21."),
        ('"It is noon."', "It is noon."),
        ("21", "The answer is 21."),
        ("true", "The answer is yes."),
        ("", "That is done."),
        ("null", "That is done."),
        ("None", "That is done."),
    ],
)
def test_a_tools_result_is_spoken(result: str, spoken: str) -> None:
    call = {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "get_weather"}}]}
    messages = [*conversation("What is the weather in Paris?"), Message.model_validate(call)]
    assert said(*messages, Message(role="tool", content=result), offered=TOOLS) == spoken


def system(text: str) -> Message:
    return Message(role="system", content=text)


@pytest.mark.parametrize(
    ("messages", "answer"),
    [
        ([system("You are a helpful voice assistant.")], GREETING),
        ([system("You are helpful."), system("Greet the user and offer your assistance.")], GREETING),
        ([system("You are helpful."), Message(role="developer", content="Welcome the caller.")], GREETING),
        ([system("You are helpful."), system('Say "Welcome to Acme"')], "Welcome to Acme."),
        ([system("You are helpful."), *conversation("Stop.", "Yes."), system("Say goodbye to the user.")], GOODBYE),
        ([system("You are helpful."), *conversation("Count to two."), system("Be brief.")], "one, two."),
        ([system("You are helpful."), *conversation("Hm.", "Yes?"), system("Ask for more.")], "How can I help you?"),
        ([system("You say goodbye often."), *conversation("My name is Anna.")], "Nice to meet you, Anna."),
        ([system("You are helpful."), *conversation("Hm.", "Yes?")], "Is there anything else that I can do for you?"),
    ],
)
def test_instructions_are_used_lightly(messages: list[Message], answer: str) -> None:
    assert said(*messages) == answer


def test_a_very_long_message_is_answered_too() -> None:
    assert said(*conversation("count " * 50_000)).startswith("You said: count")


def test_what_is_said_at_once_is_looked_at_as_far_as_a_message_goes() -> None:
    flood = [Message(role="user", content="my name is Eve. " + "x " * 900) for _ in range(50)]
    assert len(said(*flood, Message(role="user", content="nothing of note"))) < 2100
    assert said(*flood, Message(role="user", content="What is my name?")) == "Your name is Eve."


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("My account number is 4711. My pin is 12.", "1 2"),
        ("My number is 1. My number is 2. My number is 3.", "3"),
    ],
)
def test_several_numbers_in_one_breath(text: str, digits: str) -> None:
    question = "What is my pin?" if "pin" in text else "What is my number?"
    assert digits in said(*conversation(text, "Yes?", question))
