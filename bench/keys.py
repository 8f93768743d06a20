"""Put COUNT keys into an installation's database, for measurements: keys.py DATA_DIR COUNT"""

import os
import sqlite3
import sys
from pathlib import Path

data_dir, count = Path(sys.argv[1]), int(sys.argv[2])
database = sqlite3.connect(data_dir / "ostiary.db", isolation_level=None)
database.execute("PRAGMA synchronous = OFF")
database.execute("BEGIN")
database.executemany(
    "INSERT INTO keys (tenant_id, id, team, environment, name, deployment, created_ns) VALUES (?, ?, ?, ?, ?, ?, ?)",
    (("bench", f"key-{i:08}", "bench", "production", f"name-{i:08}", "{}", i) for i in range(count)),
)
# A digest of a random key is 32 random bytes; nobody will ask with these keys.
database.executemany(
    "INSERT INTO key_secrets (digest, tenant_id, key_id, hint, created_ns) VALUES (?, ?, ?, ?, ?)",
    ((os.urandom(32), "bench", f"key-{i:08}", "osk_", i) for i in range(count)),
)
database.execute("UPDATE revision SET value = value + 1")
database.execute("COMMIT")
# Written behind the services' backs: the publisher has to read all keys anew.
(data_dir / "published" / "keys").unlink(missing_ok=True)
