"""How the processes that tests start find the repository's code."""

import os

from local_cluster.layout import REPOSITORY

PYTHONPATH = os.pathsep.join(str(REPOSITORY / folder) for folder in ("operator", "agent_image", "."))
