"""Makes the secrets of one `docker compose up`, once: each is random, and lives in a volume only."""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
from pathlib import Path


def make_secrets() -> dict[str, tuple[str, int]]:
    """Return file name → text and mode."""
    database = secrets.token_hex(24)
    return {
        # Read by the database's own user, who is not Airflow's.
        "postgres-password": (database, 0o444),
        "sql-alchemy-conn": (f"postgresql+psycopg2://airflow:{database}@postgres/airflow", 0o600),
        "fernet-key": (base64.urlsafe_b64encode(os.urandom(32)).decode(), 0o600),
        "jwt-secret": (secrets.token_urlsafe(48), 0o600),
        "api-secret-key": (secrets.token_urlsafe(48), 0o600),
        "passwords.json": (json.dumps({"admin": secrets.token_urlsafe(12)}), 0o600),
    }


def main(folder: Path) -> None:
    """Write what is not there yet: a database keeps the password it was made with."""
    complete = folder / ".complete"
    if complete.exists():
        return
    for name, (text, mode) in make_secrets().items():
        path = folder / name
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            file.write(text)
        path.chmod(mode)
    complete.touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
