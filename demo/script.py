"""The demo's conversation: what the customer says, one sentence a turn."""

# Sentences that the small speech models and the rule-based partner of local mode can handle.
SENTENCES = (
    "Hello there, my name is Anna and I am calling about my order.",
    "I would like to order two large pizzas and a bottle of water.",
    "Please remember that my table number is seven.",
    "What did I order a moment ago?",
    "Thank you very much, goodbye.",
)
