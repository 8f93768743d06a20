"""Write dist/ostiary.cdx.json: a CycloneDX 1.6 bill of what Ostiary runs with, as locked in requirements/run.txt.

    .venv/bin/python dev/sbom.py [FILE]

Versions and hashes are those of the lock, licences those of the installed packages' own metadata. Packages that the
lock holds for other operating systems only are listed as not needed here. Without a clock and without chance: the
same lock and metadata give the same bytes.
"""

import json
import re
import sys
import tomllib
import uuid
from importlib.metadata import PackageNotFoundError, distribution, requires
from pathlib import Path

import msgspec
from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "run.txt"
TARGET = ROOT / "dist" / "ostiary.cdx.json"
_ENTRY = re.compile(r"^([a-z0-9-]+)==(\S+)(?: ; (.+?))? \\$")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_NAME = re.compile(r"^[A-Za-z0-9._-]+")
# What metadata says in words, where it says it in no other way.
_WORDS = {
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: BSD License": "BSD-3-Clause",
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "MIT License": "MIT",
    "ISC License": "ISC",
    "Apache 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
}
# What is not installed on this operating system, so that nothing can be asked.
_NOT_HERE = {"colorama": "BSD-3-Clause"}


def locked() -> dict[str, tuple[str, str, list[str]]]:
    """Name → version, environment marker (empty for everywhere), hashes; as the lock has them."""
    found: dict[str, tuple[str, str, list[str]]] = {}
    name = ""
    for line in LOCK.read_text(encoding="utf-8").splitlines():
        entry = _ENTRY.match(line)
        if entry:
            name = entry[1]
            found[name] = (entry[2], entry[3] or "", [])
        else:
            found[name][2].extend(_HASH.findall(line))
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def licence(name: str) -> str:
    """An SPDX expression of a package's licence, or empty where its metadata says nothing usable or it is not here."""
    try:
        metadata = distribution(name).metadata
    except PackageNotFoundError:
        return _NOT_HERE.get(name, "")
    if metadata["License-Expression"]:
        return metadata["License-Expression"]
    for one in metadata.get_all("Classifier") or ():
        if one in _WORDS:
            return _WORDS[one]
    stated = (metadata["License"] or "").strip()
    return _WORDS.get(stated, stated if re.fullmatch(r"[\w.+-]+", stated) else "")


def needed_by(name: str, known: dict[str, tuple[str, str, list[str]]]) -> list[str]:
    """The locked packages that a package requires, extras left out."""
    try:
        declared = requires(name) or []
    except PackageNotFoundError:
        return []
    names = {normal(_NAME.match(line)[0]) for line in declared if "extra ==" not in line}
    return sorted(names & set(known))


def bom() -> Bom:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    known = locked()
    make = LicenseFactory()
    root = Component(
        name="ostiary",
        version=project["version"],
        type=ComponentType.APPLICATION,
        bom_ref="ostiary",
        purl=PackageURL("pypi", name="ostiary", version=project["version"]),
        licenses=[make.make_from_string(project["license"])],
    )
    components = {}
    for name, (version, marker, hashes) in known.items():
        text = licence(name)
        components[name] = Component(
            name=name,
            version=version,
            type=ComponentType.LIBRARY,
            bom_ref=f"{name}@{version}",
            purl=PackageURL("pypi", name=name, version=version),
            scope=ComponentScope.OPTIONAL if marker else ComponentScope.REQUIRED,
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=one) for one in hashes],
            licenses=[make.make_from_string(text)] if text else [],
            properties=[Property(name="ostiary:marker", value=marker)] if marker else [],
        )
    made = Bom(components=components.values(), serial_number=uuid.uuid5(uuid.NAMESPACE_URL, LOCK.read_text()))
    made.metadata.component = root
    direct = {normal(_NAME.match(line)[0]) for line in project["dependencies"]}
    made.register_dependency(root, [components[name] for name in sorted(direct)])
    for name, component in components.items():
        made.register_dependency(component, [components[other] for other in needed_by(name, known)])
    return made


def document() -> str:
    """The bill as JSON. The library stamps the time; the lock has none, so it is left out."""
    value = msgspec.json.decode(JsonV1Dot6(bom()).output_as_string())
    value["metadata"].pop("timestamp", None)
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(document(), encoding="utf-8")
    print(f"{target}: {len(locked())} packages")
