"""LiveKit's server, for every part of the control plane."""
