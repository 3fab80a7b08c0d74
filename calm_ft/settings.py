"""Settings that are checked where they are made.

A value that is refused raises `UserError` with one sentence: the whole key, the value, and what is allowed, as in
`data.max_batch_size=0 must be an integer of at least 1.` What is allowed is read from the types below: strict ones, so
that a bool is no integer, a text is no number, and NaN and infinity are no numbers.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, TypeAdapter, ValidationError
from pydantic import model_validator as on_validation

from calm_ft.errors import UserError

STRICT = ConfigDict(strict=True, allow_inf_nan=False, frozen=True, extra="forbid", arbitrary_types_allowed=True)

PositiveInteger = Annotated[int, Field(ge=1)]
NonNegativeInteger = Annotated[int, Field(ge=0)]
PositiveNumber = Annotated[float, Field(gt=0)]
NonNegativeNumber = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
FractionBelowOne = Annotated[float, Field(ge=0, lt=1)]
FolderPath = Annotated[str, Field(min_length=1, description="the path of a folder")]

KINDS = {
    "boolean": "true or false",
    "integer": "an integer",
    "null": "null",
    "number": "a number",
    "object": "named settings",
    "string": "a text",
}
LIMITS = {"minimum": "at least", "exclusiveMinimum": "above", "exclusiveMaximum": "below", "maximum": "at most"}


class Settings(BaseModel):
    """Base of all settings. Keyword arguments only; `section` is the key under which users set them.

    Raises UserError for an unknown or missing setting, and for a value that its type refuses.
    """

    model_config = STRICT
    section: ClassVar[str] = ""

    @on_validation(mode="wrap")
    @classmethod
    def _say_what_is_wrong(cls, values: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return validate(values)
        except ValidationError as error:
            raise UserError(refusal(error, cls.section, cls.model_json_schema())) from None


def checked(key: str, value: Any, kind: Any) -> Any:
    """`value` if it is of a type such as `PositiveInteger`; raises UserError, naming the key, if not."""
    adapter: TypeAdapter[Any] = TypeAdapter(kind, config=ConfigDict(strict=True, allow_inf_nan=False))
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise UserError(refusal(error, key, adapter.json_schema())) from None


def refusal(error: ValidationError, section: str, schema: Mapping[str, Any]) -> str:
    """The first fault of a validation as one sentence; `schema` is the JSON schema of what was validated."""
    fault = error.errors(include_url=False)[0]
    names = [str(each) for each in fault["loc"]]
    if fault["type"] != "extra_forbidden":
        names = _known(schema, names)
    key = ".".join([section, *names] if section else names)
    if fault["type"] == "extra_forbidden":
        place = key.rpartition(".")[0] or "the top level"
        known = ", ".join(_schema_at(schema, names[:-1]).get("properties", {}))
        return f"There is no setting {key}; {place} has: {known}."
    allowed = allowed_values(_schema_at(schema, names), schema)
    if fault["type"] == "missing":
        return f"{key} is not set: give {allowed}."
    return f"{key}={_as_yaml(fault['input'])} must be {allowed}."


def allowed_values(schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """What a JSON schema allows, in words: `an integer of at least 1 or null`."""
    schema = _resolved(schema, root)
    if "description" in schema and "properties" not in schema:
        return str(schema["description"])
    if "anyOf" in schema:
        return " or ".join(allowed_values(each, root) for each in schema["anyOf"])
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    if "properties" in schema:
        return f"settings named {', '.join(schema['properties'])}"
    given = " and ".join(f"{words} {schema[name]:g}" for name, words in LIMITS.items() if name in schema)
    of = " of " if given.startswith("at ") else " "
    return (KINDS[schema["type"]] + of + given).rstrip()


def _known(schema: Mapping[str, Any], names: list[str]) -> list[str]:
    """The names of a fault's place without what pydantic adds to them: which of several types refused the value."""
    places = range(len(names), 0, -1)
    return next((names[:place] for place in places if _schema_at(schema, names[:place])), [])


def _schema_at(schema: Mapping[str, Any], names: list[str]) -> Mapping[str, Any]:
    """The schema of a nested setting."""
    found: Mapping[str, Any] = schema
    for name in names:
        found = _resolved(found, schema)
        if "anyOf" in found:
            found = _resolved(found["anyOf"][0], schema)
        found = found.get("properties", {}).get(name) or found.get("additionalProperties") or {}
    return _resolved(found, schema)


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    return root["$defs"][reference.rpartition("/")[2]] if reference else schema


def _as_yaml(value: Any) -> str:
    """A value as it is written in a configuration."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
