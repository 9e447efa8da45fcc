"""Fields of the custom resources' specs as JSON Schema: from the CRDs, with what their rules say of a single value."""

import re
from typing import Any

import yaml

from charts import kubernetes_types
from charts.json_schema import Schema, close
from charts.values_file import CHART

# What JSON Schema says by the same words.
_SHARED = ("type", "description", "enum", "minimum", "maximum", "minLength", "maxLength", "maxItems", "maxProperties")
# What a CRD leaves to Kubernetes, by the name of the field or of the list.
_LEFT_OPEN = {"affinity": "V1Affinity", "topologySpreadConstraints": "V1TopologySpreadConstraint"}
_QUANTITY = r"^[0-9]+([.][0-9]*)?([KMGTPE]i|[munkKMGTPE]|[eE][0-9]+)?$"
_BOUNDS = {">=": "minimum", "<=": "maximum", ">": "exclusiveMinimum"}


def build_field(path: str) -> Schema:
    """Returns a field of a spec, for example AgentPool.warm; or a spec whole, whose required fields the chart fills in.

    Raises:
        KeyError: there is no such field.
    """
    kind, *names = path.split(".")
    field = _load_spec(kind)
    for name in names:
        field = field["properties"][name]
    built = _build(field, names[-1] if names else "")
    return {key: value for key, value in built.items() if key != "required"}


def _load_spec(kind: str) -> Schema:
    crd = yaml.safe_load((CHART / "crds" / f"{kind.lower()}s.yaml").read_text())
    spec: Schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return spec


def _build(field: Schema, name: str) -> Schema:
    if field.get("x-kubernetes-preserve-unknown-fields"):
        return kubernetes_types.build_type(_LEFT_OPEN[name])
    done: dict[str, Any] = {key: field[key] for key in _SHARED if key in field}
    if field.get("x-kubernetes-int-or-string"):
        done["type"] = ["integer", "string"]
    for rule in field.get("x-kubernetes-validations", []):
        done |= translate(rule["rule"])
    if "items" in field:
        done["items"] = _build(field["items"], name)
    if "additionalProperties" in field:
        done["additionalProperties"] = _build(field["additionalProperties"], "")
    if "properties" in field:
        fields = {inner: _build(each, inner) for inner, each in field["properties"].items()}
        return close({**done, "properties": fields}, required=field.get("required"))
    return done


def translate(rule: str) -> Schema:
    """Returns what a rule in CEL says of one value in words of JSON Schema; nothing where it compares several fields.

    The API server holds every rule; this is what helm can say before anything is made.
    """
    rule = " ".join(rule.split())
    if choice := re.fullmatch(r"type\(self\) == int \? (.*?) : (.*)", rule):
        number, text = choice.groups()
        return {_BOUNDS[sign]: int(bound) for sign, bound in re.findall(r"self (>=|<=|>) (\d+)", number)} | translate(
            text
        )
    if matches := re.fullmatch(r"(?:self == '(.*?)' \|\| )?self\.matches\('(.*)'\)", rule):
        literal, pattern = matches.groups()
        pattern = pattern.replace("\\\\", "\\")
        return {"pattern": pattern if literal is None else f"^{literal}$|{pattern}"}
    return {"pattern": _QUANTITY} if rule.startswith("isQuantity(self)") else {}
