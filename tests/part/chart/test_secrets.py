"""Secrets where helm can ask the cluster: made once, kept, and whoever reads one that changed is restarted."""

import base64
import json

import pytest

from testing.chart import NAMESPACE, RELEASE, WITH_CALLS, pod_templates, secret_keys
from testing.installation import Installation
from voicesession.pod_tokens import load_private_key


def test_an_upgrade_that_changes_nothing_restarts_nothing_not_even_the_first_one(installation: Installation) -> None:
    before = installation.generations()
    assert before.keys() == {"operator", "token-service", "livekit", "postgres", "pgbouncer", "local-models"}
    installation.upgrade()
    installation.upgrade()
    assert installation.generations() == before


def test_what_is_made(installation: Installation) -> None:
    installation.upgrade()
    read = {name.removeprefix(f"{RELEASE}-voice-agent-"): data for name, data in installation.secrets().items()}
    load_private_key(read["keys"]["signing-key"])
    assert len(read["keys"]["conversation-key"]) >= 32
    assert len(read["keys"]["installation-key"]) >= 32
    assert len(read["livekit"]["api-secret"]) >= 32
    assert read["livekit"]["keys"] == f"{read['livekit']['api-key']}: {read['livekit']['api-secret']}"
    roles = read["database-roles"]
    assert roles["reader-url"] == (
        f"postgresql://voice_reader:{roles['reader-password']}@r-voice-agent-pgbouncer:6433/voice"
    )
    assert read["agent-database"] == {
        "url": f"postgresql://voice_agent:{roles['agent-password']}@r-voice-agent-pgbouncer:6432/voice"
    }
    passwords = [roles[f"{role}-password"] for role in ("agent", "reader", "closer", "stats")]
    assert len({*passwords, read["database-owner"]["password"]}) == 5
    assert [line.split('"')[1::2] for line in roles["userlist.txt"].splitlines()] == [
        [f"voice_{role}", roles[f"{role}-password"]] for role in ("agent", "reader", "closer", "stats")
    ]


def test_secrets_stand_nowhere_else_and_whatever_is_read_is_there(installation: Installation) -> None:
    installation.upgrade()
    objects = installation.objects()
    made = {item["metadata"]["name"]: item["data"] for item in objects if item["kind"] == "Secret"}
    assert len(made) == 5
    rest = json.dumps([item for item in objects if item["kind"] != "Secret"])
    for name, data in made.items():
        for key, value in data.items():
            assert json.dumps(base64.b64decode(value).decode())[1:-1] not in rest, (name, key)
    for name, template in pod_templates(objects):
        for secret, key in secret_keys(template["spec"]):
            assert key in made[secret], (name, secret)


def test_the_page_of_calls_has_a_role_of_its_own_as_long_as_it_is_on(installation: Installation) -> None:
    installation.upgrade(**WITH_CALLS)
    name = f"{RELEASE}-voice-agent-database-roles"
    roles = installation.secrets()[name]
    viewer = roles["viewer-password"]
    assert roles["viewer-url"] == f"postgresql://voice_viewer:{viewer}@r-voice-agent-pgbouncer:6433/voice"
    assert f'"voice_viewer" "{viewer}"' in roles["userlist.txt"].splitlines()
    installation.upgrade()
    assert viewer not in str(installation.secrets())
    assert "viewer" not in str(installation.secrets()[name])


def test_they_stay_over_upgrades(installation: Installation) -> None:
    installation.upgrade()
    before = installation.secrets()
    assert len(before) == 5
    installation.upgrade(tokenService={"replicas": 2})
    assert installation.secrets() == before


def test_a_password_that_was_deleted_is_made_anew_everywhere(installation: Installation) -> None:
    before = installation.secrets()
    name = f"{RELEASE}-voice-agent-database-roles"
    installation.remove_key("database-roles", "agent-password")
    installation.upgrade()
    after = installation.secrets()
    old, new = before[name]["agent-password"], after[name]["agent-password"]
    assert old != new
    assert f'"voice_agent" "{new}"' in after[name]["userlist.txt"]
    assert f":{new}@" in after[f"{RELEASE}-voice-agent-agent-database"]["url"]
    assert after[name]["reader-url"] == before[name]["reader-url"]
    assert old not in str(after)


@pytest.mark.parametrize(
    ("secret", "key", "readers"),
    [
        ("keys", "signing-key", {"operator"}),
        ("keys", "conversation-key", {"operator"}),
        ("keys", "installation-key", {"operator", "token-service"}),
        ("database-roles", "agent-password", {"pgbouncer", "operator"}),
        ("database-roles", "reader-password", {"pgbouncer", "token-service"}),
        ("database-roles", "closer-password", {"pgbouncer", "operator"}),
        ("database-roles", "stats-password", {"pgbouncer"}),
        # Postgres reads it once, when it makes its database.
        ("database-owner", "password", set()),
        ("livekit", "api-secret", {"livekit", "operator", "token-service"}),
    ],
)
def test_whoever_reads_a_secret_that_changed_is_restarted_and_nobody_else(
    installation: Installation, secret: str, key: str, readers: set[str]
) -> None:
    installation.upgrade()
    before = installation.generations()
    installation.remove_key(secret, key)
    installation.upgrade()
    after = installation.generations()
    assert {part for part in before if after[part] != before[part]} == readers


def test_a_secret_of_ones_own_restarts_its_readers_too(installation: Installation) -> None:
    def apply(url: str) -> None:
        data = {"closer-url": url, "reader-url": "r", "userlist.txt": "u", "agent-password": "a"}
        own = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "own"}, "stringData": data}
        installation.kubectl("apply", "-f", "-", stdin=json.dumps(own))

    named = {"databaseRoles": {"existingSecret": "own"}, "agentDatabase": {"existingSecret": "own"}}
    apply("one")
    installation.upgrade(secrets=named)
    assert len(installation.secrets()) == 3
    before = installation.generations()
    installation.upgrade(secrets=named)
    assert installation.generations() == before
    apply("another")
    installation.upgrade(secrets=named)
    after = installation.generations()
    assert {part for part in before if after[part] != before[part]} == {"operator"}
    installation.kubectl("delete", "secret", "own")
    installation.upgrade()


def test_a_release_from_before_there_was_an_installation_s_key_gets_one_and_keeps_its_others(
    installation: Installation,
) -> None:
    before = installation.secrets()
    name = f"{RELEASE}-voice-agent-keys"
    installation.remove_key("keys", "installation-key")
    installation.upgrade()
    made = installation.secrets()
    assert made[name].pop("installation-key") != before[name].pop("installation-key")
    assert made == before


def test_livekit_of_a_release_without_the_annotation_is_not_restarted_for_it(installation: Installation) -> None:
    installation.upgrade()
    name = f"{RELEASE}-voice-agent-livekit"
    path = "/spec/template/metadata/annotations"
    patch = json.dumps([{"op": "remove", "path": path}])
    assert installation.kubectl("patch", "deployment", name, "--type=json", "-p", patch).returncode == 0
    before = installation.generations()
    installation.upgrade()
    assert installation.generations() == before
    installation.kubectl("delete", "deployment", name, "-n", NAMESPACE)
    installation.upgrade()
