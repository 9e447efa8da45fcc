"""Arguments filled from a sentence, for the kinds of schema that livekit-agents and others send."""

from typing import Any

import pytest

from local_models.request_bodies import Function
from local_models.tool_choice import choose_tool, fill_arguments


def function(name: str, description: str = "", /, **properties: Any) -> Function:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return Function(name=name, description=description, parameters=schema)


STRING = {"type": "string"}
OPTIONAL = {"anyOf": [{"type": "string"}, {"type": "null"}]}


@pytest.mark.parametrize(
    ("heard", "tool", "values"),
    [
        ("Fly me from London to Rome.", function("book_flight", origin=STRING, destination=STRING),
         {"origin": "London", "destination": "Rome"}),
        ("Fly to Rome from London.", function("book_flight", origin=STRING, destination=STRING),
         {"origin": "London", "destination": "Rome"}),
        ("My account number is 4-7-1-1.", function("find_account", account_number=STRING), {"account_number": "4711"}),
        ("Take a note: buy milk and bread.", function("take_note", text=STRING), {"text": "buy milk and bread"}),
        ("Book a table for four on Friday.", function("book_table", people={"type": "integer"}, day=STRING),
         {"people": 4, "day": "Friday"}),
        ("Set the heating to twenty-one.", function("set_heating", degrees={"type": "number"}), {"degrees": 21}),
        ("Turn the light on.", function("turn_light", on={"type": "boolean"}), {"on": True}),
        ("Turn the light off.", function("turn_light", on={"type": "boolean"}), {"on": False}),
        ("Play something.", function("play", genre={"anyOf": [{"type": "string", "enum": ["jazz"]}, {"type": "null"}]}),
         {"genre": None}),
        ("Play some jazz.", function("play", genre={"anyOf": [{"type": "string", "enum": ["jazz"]}, {"type": "null"}]}),
         {"genre": "jazz"}),
        ("The weather, please.", function("get_weather", city=OPTIONAL), {"city": None}),
        ("Is Berlin warm?", function("get_weather", city=STRING), {"city": "Berlin"}),
        ("What is it like today, Berlin or Rome?", function("get_weather", city=STRING), {"city": "Berlin"}),
        ("Do it.", function("do_it"), {}),
        ("What's the weather in Paris?", function("get_weather", city=OPTIONAL, unit=OPTIONAL),
         {"city": "Paris", "unit": None}),
        ("What's the weather in Paris?", function("get_weather", city=STRING, latitude=STRING), {"city": "Paris"}),
    ],
)  # fmt: skip
def test_arguments(heard: str, tool: Function, values: dict[str, Any]) -> None:
    assert fill_arguments(heard, tool).values == values


def test_the_first_missing_parameter_is_named() -> None:
    arguments = fill_arguments("Book a table.", function("book_table", party_size={"type": "integer"}, day=STRING))
    assert arguments.missing == "party size"


def test_an_optional_parameter_may_be_left_out() -> None:
    tool = Function(name="get_weather", parameters={"properties": {"city": STRING}})
    assert (fill_arguments("The weather, please.", tool).values, fill_arguments("x", tool).missing) == ({}, "")


def test_what_cannot_be_filled_from_words_is_missing() -> None:
    assert fill_arguments("Order three.", function("order", items={"type": "array"})).missing == "items"


END_CALL = function("end_call", "Ends the current call. Call when the user is done, for example when they say goodbye.")
FORECAST = function("get_weather_forecast", "Get the weather forecast for a city.", city=STRING)
STATUS = function("get_order_status", "Look up the status of an order.", order_id=STRING)
LOOKUP = function("lookup", "Look up train departures at a station.", station=STRING)


@pytest.mark.parametrize(
    ("heard", "chosen"),
    [
        ("Please end the call.", END_CALL),
        ("At the end of the week it rained.", None),
        ("Goodbye.", None),
        ("What is the weather in Paris?", FORECAST),
        ("The weather was fine.", None),
        ("My order has not arrived yet.", None),
        ("What is the status of my order?", STATUS),
        ("When are the next train departures from Bonn?", LOOKUP),
        ("Is there a station?", None),
    ],
)
def test_choice(heard: str, chosen: Function | None) -> None:
    assert choose_tool(heard, [END_CALL, FORECAST, STATUS, LOOKUP]) == chosen


def test_nothing_offered_nothing_chosen() -> None:
    assert choose_tool("What is the weather?", []) is None
