"""Checks deploy/envoy.yaml against Envoy's own message types: every field has to be one of its message, of its type.
Usage: envoy.py FILE     Needs envoy-data-plane and PyYAML (requirements.txt). Envoy itself is in no package archive.
"""

import importlib
import sys

import yaml


def message(name):
    package, _, leaf = name.rpartition(".")
    return getattr(importlib.import_module(f"envoy_data_plane.{package}"), leaf)


def checked(name, fields):
    """Raises where `fields` are not those of the message `name`. What is packed as Any is checked by its own type."""
    message(name)().from_dict(unpacked(fields), ignore_unknown_fields=False)
    print(f"  {name.rpartition('.')[2]}")


def unpacked(value):
    if isinstance(value, list):
        return [unpacked(one) for one in value]
    if not isinstance(value, dict):
        return value
    rest = {}
    for key, inner in value.items():
        if isinstance(inner, dict) and "@type" in inner:
            own = dict(inner)
            checked(own.pop("@type").rpartition("/")[2], own)
        elif isinstance(inner, dict) and any(isinstance(one, dict) and "@type" in one for one in inner.values()):
            unpacked(inner)
        else:
            rest[key] = unpacked(inner)
    return rest


file = yaml.safe_load(open(sys.argv[1]))
assert file["static_resources"]["listeners"] and file["static_resources"]["clusters"]
checked("envoy.config.bootstrap.v3.Bootstrap", file)
