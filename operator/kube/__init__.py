"""The API server, for every part of the control plane."""
