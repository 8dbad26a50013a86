"""Config values: typed sections, the leaves under their dotted names, and the digest. Reads no file."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from ..digest import canonical, digest


class Section(BaseModel):
    """Base of every typed section: frozen, unknown keys refused, nothing converted, numbers finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def flatten(values: Mapping[str, Any], quoted: bool = False) -> dict[str, str]:
    """Return every leaf as text under its dotted name, for example ``{"model.weights": "[1,2]"}``.

    A list is a leaf, and so is an empty mapping (``{}``). A leaf is written as compact JSON. Text is written as it is,
    or as JSON too if *quoted*: then the number 3 and the text "3" differ.
    """
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= {f"{name}.{inner}": text for inner, text in flatten(value, quoted).items()}
        else:
            flat[name] = value if isinstance(value, str) and not quoted else canonical(value).decode()
    return flat


def config_digest(values: Mapping[str, Any]) -> str:
    """Return the digest of the values of a config: of its ``model_dump(mode="json")``, where `1e-3` equals `0.001`."""
    return digest(canonical(values))
