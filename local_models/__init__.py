"""An OpenAI-compatible server on small CPU models: local mode, demo, tests."""

import os

# From 1.29 on, onnxruntime tells its maker about each model it loads, unless this is set before it is loaded.
# Local mode is for customers of whom nothing leaves the cluster.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
