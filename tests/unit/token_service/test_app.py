"""What the page may connect to."""

import pytest

from token_service.app import build_headers


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("wss://livekit.example.com", "wss://livekit.example.com https://livekit.example.com"),
        ("ws://10.0.0.1:7880", "ws://10.0.0.1:7880 http://10.0.0.1:7880"),
        ("ws://[fd00::9]:7880", "ws: http:"),  # what no policy can name
        (
            "wss://acme-1a2b.livekit.cloud",
            "wss://acme-1a2b.livekit.cloud https://acme-1a2b.livekit.cloud wss://*.livekit.cloud https://*.livekit.cloud",
        ),
        ("wss://livekit.cloud.example.com", "wss://livekit.cloud.example.com https://livekit.cloud.example.com"),
    ],
)
def test_the_page_may_talk_to_livekit_and_in_livekits_cloud_to_every_region(url: str, allowed: str) -> None:
    policy = build_headers(url)["Content-Security-Policy"]
    assert f"; connect-src 'self' {allowed}; " in policy
