"""Assignment in, conversation out: what runs in an agent pod."""
