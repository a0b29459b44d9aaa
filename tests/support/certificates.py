"""A certificate authority for tests, made with the openssl command."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key, PEM files."""

    cert: Path
    key: Path


class Authority:
    """A CA in ``folder``; issues certificates for host names."""

    def __init__(self, folder: Path, name: str = "test CA") -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.ca = Certificate(folder / "ca.pem", folder / "ca.key")
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
                 "-subj", f"/CN={name}", "-keyout", self.ca.key, "-out", self.ca.cert)  # fmt: skip

    def issue(self, host: str, *, expired: bool = False) -> Certificate:
        """A certificate for ``host`` (a name or an address), optionally one that is over already."""
        stem = f"{host}{'-expired' if expired else ''}"
        made = Certificate(self._folder / f"{stem}.pem", self._folder / f"{stem}.key")
        request = self._folder / f"{stem}.csr"
        extensions = self._folder / f"{stem}.ext"
        kind = "IP" if host[0].isdigit() else "DNS"
        extensions.write_text(f"subjectAltName={kind}:{host}\n", encoding="ascii")
        _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={host}",
                 "-keyout", made.key, "-out", request)  # fmt: skip
        days = "-1" if expired else "30"
        _openssl("x509", "-req", "-in", request, "-CA", self.ca.cert, "-CAkey", self.ca.key, "-CAcreateserial",
                 "-days", days, "-extfile", extensions, "-out", made.cert)  # fmt: skip
        made.key.chmod(0o644)  # mosquitto gives up root before it reads the key
        return made


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr}")
