"""An OpenAI-compatible server on small CPU models: local mode, demo, tests."""
