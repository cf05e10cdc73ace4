"""Reading messages with a package's own types, to the last field: most of the types let unknown fields pass."""

from functools import cache

from pydantic import BaseModel, TypeAdapter

adapter = cache(TypeAdapter)


def read_as(kind, message):
    """`message` as a `kind`. Raises ValueError if it is none, or has a field that `kind` does not know."""
    read = adapter(kind).validate_python(message)
    if unknown := list(unknown_fields(read)):
        raise ValueError(f"{', '.join(unknown)}: no such field in {type(read).__name__}")


def unknown_fields(value, path=""):
    if isinstance(value, BaseModel):
        yield from (f"{path}.{name}" for name in value.model_extra or {})
        for name in type(value).model_fields:
            yield from unknown_fields(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, list):
        for item in value:
            yield from unknown_fields(item, f"{path}[]")
