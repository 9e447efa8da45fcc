"""What every part tells of itself, in the same way: its start, its log, its health.

Not `telemetry`: the agent image has it too, where a team's own code is imported from the same path and may well have a
module of that name.
"""
