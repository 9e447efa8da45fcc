"""Every tier: see testing/tiers.py."""

pytest_plugins = ["testing.tiers", "pytester"]
