"""The operator, unchanged but for one thing: all pods have the same key, which the server that stands for them knows.

A pod's own key is in its object alone, and one server that answers for thousands of pods has no object.
"""

import base64

from voice_operator import __main__ as program
from voice_operator.pools import templates

POD_KEY = base64.b64encode(b"one key for every simulated pod!").decode()


def main() -> None:
    """Runs the operator."""
    vars(templates)["new_pod_key"] = lambda: POD_KEY
    program.main()


if __name__ == "__main__":
    main()
