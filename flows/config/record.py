"""The base class of configuration records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from lycoris.safety.file_names import is_printable
from lycoris.safety.redaction import has_secret


class ConfigRecord(BaseModel):
    """A frozen record that rejects unknown names, control characters and secrets in text, and infinite numbers.

    What a record holds is stored by Prefect and MLflow and shown in reports.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    @field_validator("*", mode="after")
    @classmethod
    def _check_text(cls, value: Any) -> Any:
        items = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else (value,)
        for item in items:
            if isinstance(item, str | Path) and not is_printable(str(item)):
                raise ValueError("must be text without control characters")
            if isinstance(item, str | Path) and has_secret(str(item)):
                raise ValueError(
                    "must not contain a user name, password or token, because options are stored and shown: put it "
                    "into the environment (docs/operations.md, Secrets)"
                )
        return value
