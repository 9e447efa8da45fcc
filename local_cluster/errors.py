"""The one error of this package: a sentence for the user, which ends in a way out."""


class ClusterError(Exception):
    """What went wrong and what to do about it, for people; the command line prints it without a traceback."""


class StoppedError(ClusterError):
    """Something else has failed, or Ctrl-C: what was begun is not wanted any more."""
