"""A program that uses one version of databricks-sdk: it reads calls as lines of JSON and writes what came of them.

It runs with that version's folder in PYTHONPATH and finds its server as any program does: through DATABRICKS_HOST and
the credentials in the environment. So two versions, and any number of identities, can be driven by one test.

    {"call": "postgres.create_branch", "arguments": {"parent": …, "branch": {…}, "branch_id": …}}
    -> {"result": …}, or {"error": {"class": "NotFound", "code": "NOT_FOUND", "message": …}}

"account.federation_policy.list" is a method of AccountClient, everything else of WorkspaceClient. An object is made with from_dict() of the class that the method's signature names. Operations are waited for, unless
the call has "wait": false; then the result is {"operation": name, "done": …, "metadata": {…}}.
"""

import enum
import json
import sys
import typing

from databricks.sdk import AccountClient, WorkspaceClient
from databricks.sdk.errors import DatabricksError
from databricks.sdk.service.postgres import PostgresAPI


def read_value(hint, value):
    if typing.get_origin(hint) is typing.Union:
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is list and isinstance(value, list):
        (part,) = typing.get_args(hint)
        return [read_value(part, one) for one in value]
    if hasattr(hint, "from_dict") and isinstance(value, dict):
        return hint.from_dict(value)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint(value)
    if hasattr(hint, "FromJsonString"):  # FieldMask, Timestamp, Duration
        made = hint()
        made.FromJsonString(value)
        return made
    return value


def show(value, wait):
    if hasattr(value, "wait") and hasattr(value, "metadata"):
        if wait:
            return show(value.wait(), wait)
        metadata = value.metadata()
        return {"operation": value.name(), "done": value.done(), "metadata": metadata and metadata.as_dict()}
    if hasattr(value, "as_dict"):
        return value.as_dict()
    if isinstance(value, list) or hasattr(value, "__next__"):
        return [show(one, wait) for one in value]
    return value


def answer(clients, request):
    parts = request["call"].split(".")
    kind = AccountClient if parts[0] == "account" else WorkspaceClient
    if kind not in clients:
        clients[kind] = kind()
    target = clients[kind]
    if kind is AccountClient:
        del parts[0]
    for part in parts:
        target = getattr(target, part)
    hints = typing.get_type_hints(target)
    arguments = {name: read_value(hints.get(name), value) for name, value in request["arguments"].items()}
    result = target(**arguments)
    return show(result, request.get("wait", True))


def main():
    clients = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["call"] == "methods":  # needs no server
                out = {"result": sorted(name for name in dir(PostgresAPI) if not name.startswith("_"))}
            else:
                out = {"result": answer(clients, request)}
        except DatabricksError as error:
            out = {"error": {"class": type(error).__name__, "code": error.error_code, "message": str(error)}}
        except Exception as error:  # the test says which it expects
            out = {"error": {"class": type(error).__name__, "code": None, "message": str(error)}}
        print(json.dumps(out), flush=True)


main()
