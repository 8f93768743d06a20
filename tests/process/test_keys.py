"""Keys on the running system: from their creation to their end, and nowhere to be found."""

import json
import time

from tests.process.house import APP_KEY, SIM_SECRET, until


def test_a_created_key_is_taken_and_a_revoked_one_refused_within_a_second(shared):
    made = json.loads(shared.command("keys", "create", "fresh", "--tenant", "acme", "--team", "search", "--json"))
    created = time.monotonic()
    until(lambda: shared.models(made["secret"]) == 200, 1.0, "the new key")
    usable = time.monotonic() - created
    shared.command("keys", "revoke", made["id"])
    revoked = time.monotonic()
    until(lambda: shared.models(made["secret"]) == 401, 1.0, "the revocation")
    refused = time.monotonic() - revoked
    print(f"usable {usable:.3f} s after its creation, refused {refused:.3f} s after its revocation")
    assert shared.chat(key=made["secret"]).json["error"]["code"] == "auth.invalid"
    assert shared.models() == 200
