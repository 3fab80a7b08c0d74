"""Settings that are checked where they are made: a wrong value is one sentence that names its key."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from calm_ft.errors import UserError


class Settings(BaseModel):
    """Base of all groups of settings; `group` is their place in the configuration, such as "evaluation".

    Raises UserError for a value of another type or out of range, and for a setting that there is not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    group: ClassVar[str] = ""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise UserError(_sentence(self.group, error)) from None


def _sentence(group: str, error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    key = ".".join([*([group] if group else []), *(str(part) for part in fault["loc"])])
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if fault["type"] == "extra_forbidden":
        return f"There is no setting {key}."
    if fault["type"] == "missing":
        return f"{key} is not set."
    return f"{key}={fault['input']} {message}."
