"""What it means for a call that somebody is gone from its room, by the names of LiveKit's reasons.

By their names, because the control plane and the agents have them in enums of different packages.
"""

# Who is gone so will not come back by itself: hung up, declined, or was put out.
LEFT_FOR_GOOD = frozenset({"CLIENT_INITIATED", "USER_REJECTED", "PARTICIPANT_REMOVED"})
