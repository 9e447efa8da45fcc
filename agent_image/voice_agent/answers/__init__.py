"""What servers that speak OpenAI's interface really answer: made what the clients expect, or a failure with a name."""
