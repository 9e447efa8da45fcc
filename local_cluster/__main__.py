"""The command line: `python -m local_cluster up|down|status|node-down|node-up`."""

import sys
from local_cluster.netns import NetnsProvider
from local_cluster.errors import ClusterError
import os

p = NetnsProvider()
cmd = sys.argv[1]
try:
    if cmd == "up":
        p.up(int(os.environ.get("NODES", "1")))
    if cmd == "down":
        p.down()
    if cmd == "status":
        print("\n".join(p.status()))
    if cmd == "node-down":
        p.node_down(int(sys.argv[2]))
    if cmd == "node-up":
        p.node_up(int(sys.argv[2]))
except ClusterError as e:
    print(e)
    sys.exit(1)
