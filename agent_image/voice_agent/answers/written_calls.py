"""Keeps a tool call that a model has written into its words from being spoken."""

# How open models mark it, where the server does not know their template.
_MARKS = ("<tool_call>", "[TOOL_CALLS]", "<|python_tag|>", "<|tool_call|>")
# Nobody speaks so: an answer that begins like this is a call, or JSON that somebody asked for.
_BEGINNINGS = ("{", "```json", '[{"')


class WordFilter:
    """Lets words through until a call begins; from there on they are `held`."""

    def __init__(self, *, looks_for_calls: bool) -> None:
        """Without tools there is nothing to look for."""
        self._looks = looks_for_calls
        self._has_begun = False
        self._open = ""
        self.held = ""

    def take(self, text: str) -> str:
        """Returns what of the words so far can be said; an empty text asks for what was waiting for its next letter."""
        if not self._looks:
            return text
        if self.held:
            self.held += text
            return ""
        words, self._open = self._open + text, ""
        if not self._has_begun and words.lstrip().startswith(_BEGINNINGS):
            self.held = words
            return ""
        start = min((at for at in map(words.find, _MARKS) if at >= 0), default=-1)
        if start >= 0:
            words, self.held = words[:start], words[start:]
        elif text:
            words = self._keep_beginning(words)
        self._has_begun |= bool(words.strip())
        return words

    def read_unread(self) -> str:
        """Returns what was held and is no call, as far as it can be said: JSON, but nothing with a mark."""
        return "" if self.held.startswith(_MARKS) else self.held

    def _keep_beginning(self, words: str) -> str:
        """Keeps back what may be the first letters of a mark."""
        marks = _MARKS if self._has_begun else (*_MARKS, *_BEGINNINGS)
        tails = (words[-length:] for length in range(min(len(words), 13), 0, -1))
        kept = next((tail for tail in tails if any(mark.startswith(tail) for mark in marks)), "")
        self._open = kept
        return words.removesuffix(kept) if kept else words
