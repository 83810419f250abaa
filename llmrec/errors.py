"""Every error llmrec raises on purpose.

::

    LlmrecError                 base; `except LlmrecError` catches all of them
    ├── ConfigError             a setting is unknown, missing or out of range        (exit code 2)
    ├── DataError               a file, row, column or id is not what it must be     (exit code 3)
    │   ├── UnknownIdError      an item or user id that is not in the catalog or log
    │   └── LeakageError        a split lets the future into training
    ├── TemplateError           a prompt template cannot be read or rendered         (exit code 2)
    ├── AssetError              a model or data set cannot be found, fetched or verified
    ├── ModelError              weights load but cannot do what is asked of them
    ├── BundleError             a saved bundle is missing, damaged or too new
    └── MissingExtraError       an optional dependency is not installed

Each message says what went wrong, where, and what to do about it.
"""

from __future__ import annotations

__all__ = [
    "AssetError",
    "BundleError",
    "ConfigError",
    "DataError",
    "LeakageError",
    "LlmrecError",
    "MissingExtraError",
    "ModelError",
    "TemplateError",
    "UnknownIdError",
]


class LlmrecError(Exception):
    """Base of all errors llmrec raises on purpose."""

    exit_code: int = 1


class ConfigError(LlmrecError):
    """A setting is unknown, missing or out of range."""

    exit_code = 2


class DataError(LlmrecError):
    """A file, row, column or id is not what it must be."""

    exit_code = 3


class UnknownIdError(DataError):
    """An item or user id that is not in the catalog or the interaction log."""


class LeakageError(DataError):
    """A split lets the future into training."""


class TemplateError(LlmrecError):
    """A prompt template cannot be read or rendered."""

    exit_code = 2


class AssetError(LlmrecError):
    """A model or data set cannot be found, fetched or verified."""


class ModelError(LlmrecError):
    """Weights load but cannot do what is asked of them."""


class BundleError(LlmrecError):
    """A saved bundle is missing, damaged or too new."""


class MissingExtraError(LlmrecError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed, and this step needs it. Install it with: pip install 'llmrec[{extra}]'"
        )
