"""Settings as TOML text: what ``tomllib`` reads back the same.

Responsible for: tables of strings, numbers, truths and lists of them, which is all that ``appliance.toml`` has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping


def write(tree: Mapping[str, object]) -> str:
    """Write ``tree``: plain keys first, then each table under its heading."""
    plain = {key: value for key, value in tree.items() if not isinstance(value, dict)}
    lines = [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    for key, table in tree.items():
        if isinstance(table, dict):
            lines += ["", f"[{_key(key)}]", *(f"{_key(name)} = {_value(value)}" for name, value in table.items())]
    return "\n".join(lines) + "\n"


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else _value(key)


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    raise TypeError(f"no setting is a {type(value).__name__}")
