"""The table of docs/clients.md: which method works with which client, and which story shows it.

It is made from the clients themselves (the methods they have) and from the stories (the methods they call), so it cannot
say what nobody tests. `python -m clients.table --write`, in tests/, brings the page up to date; system/client_table.py
fails when it is not.
"""

import ast
import os
import sys
from pathlib import Path

from clients import installed
from clients.databricks_cli import DatabricksCli
from clients.python_sdk import PythonSdk

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / "docs" / "clients.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"

# The clients do not ask a server for their lists of methods.
NOWHERE = {"DATABRICKS_HOST": "http://127.0.0.1:9", "DATABRICKS_TOKEN": "none"}

# Commands that the CLI has and does not list.
HIDDEN_COMMANDS = ["undelete-branch", "create-data-api", "get-data-api", "update-data-api", "delete-data-api"]

# Methods beyond `postgres`: what a story of each client has in it when it calls them.
OTHERS = {
    "current_user.me": {
        "client_python_sdk": '"current_user.me"', "client_cli": '"current-user", "me"',
        "client_terraform": 'data "databricks_current_user"', "client_node": "getUsernameWithApiLookup",
    },
    **{f"permissions.{verb}": {
        "client_python_sdk": f'"permissions.{verb}"', "client_cli": f'"permissions", "{verb}"',
        "client_terraform": 'resource "databricks_permissions"',
    } for verb in ("get", "set", "update")},
    "permissions.get_permission_levels": {
        "client_python_sdk": '"permissions.get_permission_levels"', "client_cli": '"permissions", "get-permission-levels"',
    },
    **{f"{noun}.{verb}": {"client_python_sdk": f'"{noun}.{verb}"', "client_cli": f'"{noun.replace("_", "-")}", "{verb}"'}
       for noun in ("users", "service_principals", "groups") for verb in ("create", "get", "list", "delete")},
    **{f"tokens.{verb}": {"client_python_sdk": f'"tokens.{verb}"', "client_cli": f'"tokens", "{verb}"'}
       for verb in ("create", "list", "delete")},
    "token_management.create_obo_token": {
        "client_python_sdk": '"token_management.create_obo_token"', "client_cli": '"token-management", "create-obo-token"',
    },
    "service_principal_secrets_proxy.create": {
        "client_python_sdk": '"service_principal_secrets_proxy.create"', "client_cli": '"service-principal-secrets-proxy", "create"',
    },
    "OAuth with an id and a secret (M2M)": {
        one: "DATABRICKS_CLIENT_SECRET" for one in ("client_python_sdk", "client_cli", "client_terraform", "client_node")
    },
    "OAuth with a token of an outside issuer": {
        one: "oidc_environment" for one in ("client_python_sdk", "client_cli", "client_terraform")
    },
    **{f"account.{noun}.{verb}": {
        "client_python_sdk": f'"account.{noun}.{verb}"', "client_cli": f'"{noun.replace("_", "-")}", "{verb}"',
        **({"client_terraform": f'resource "databricks_{resource}"'} if verb == "create" else {}),
    } for noun, resource in (("federation_policy", "account_federation_policy"),
                             ("service_principal_federation_policy", "service_principal_federation_policy"))
       for verb in ("create", "list", "delete")},
    "sign-in in a browser (auth login)": {"client_cli": '"auth", "login"'},
    "profiles of ~/.databrickscfg": {"client_cli": "write_profiles"},
    "psql": {"client_cli": '"psql"'},
    "experimental postgres query": {"client_cli": '"experimental", "postgres", "query"'},
}  # fmt: skip

# Methods that wait for their part of the server: the page says so, and nothing tests them.
NOT_YET = set()

# How many stories the page names for a method and a client.
SHOWN = 2


class Stories:
    """The test functions of one client's files, each with the text of everything of its module that it uses."""

    def __init__(self, name):
        self.name, self.tests, self.refusals = name, {}, ""
        for path in sorted((TESTS / "system").glob(f"{name}*.py")):
            self._read(path.read_text())
        # Stories that are about all clients: each says in its name with which.
        self._read((TESTS / "system" / "outside_issuers.py").read_text(), name.removeprefix("client_"))

    def _read(self, text, client=""):
        tree = ast.parse(text)
        parts = {}
        for node in tree.body:
            names = [t.id for t in getattr(node, "targets", []) if isinstance(t, ast.Name)]
            names += [node.name] if isinstance(node, ast.FunctionDef) else []
            for one in names:
                parts[one] = (ast.get_source_segment(text, node), {n.id for n in ast.walk(node) if isinstance(n, ast.Name)})
        for test in (one for one in parts if one.startswith("test_") and client in one):
            used, waiting = set(), {test}
            while waiting:
                one = waiting.pop()
                used.add(one)
                waiting |= (parts[one][1] & parts.keys()) - used
            self.tests[test] = "\n".join(parts[one][0] for one in sorted(used))
            for program in ("queries.mjs",):
                if program in self.tests[test]:
                    self.tests[test] += (installed.HERE / "node" / program).read_text()
        self.refusals += parts.get("NOT_SERVED", ("", set()))[0]

    def calling(self, mark):
        """The stories that have a mark, or all of several, in their text."""
        every = (mark,) if isinstance(mark, str) else mark
        return [test for test, text in self.tests.items() if all(one in text for one in every)]


def noun_of(method):
    verb, _, noun = method.partition("_")
    return verb, noun


def order(method):
    """By resource, and its list beside the rest."""
    verb, noun = noun_of(method)
    if verb == "list":
        noun = noun.removesuffix("es") if noun.endswith(("ches", "ses")) else noun.removesuffix("s")
    return noun, verb


def marks(method):
    """What a story that calls a method has in its text, by client."""
    if method in OTHERS:
        return OTHERS[method]
    verb, noun = noun_of(method)
    found = {"client_python_sdk": f'"{method}"', "client_cli": f'"{method.replace("_", "-")}"'}
    doing = {"create": ".apply(", "get": ".plan() == {}", "update": '"update"', "delete": ".destroy(", "list": ".apply("}
    if verb in doing:
        kind = "data" if verb == "list" else "resource"
        found["client_terraform"] = (f'{kind} "databricks_postgres_{noun}"', doing[verb])
    if method == "generate_database_credential":
        found["client_node"] = "generateDatabaseCredential"
    return found


def cell(stories, has, mark):
    """(what the page says, the tests that show it)."""
    if not has:
        return "–", []
    tests = stories.calling(mark)
    if not tests:
        return "untested", []
    if isinstance(mark, str) and mark in stories.refusals:
        verb = mark.strip('"').replace("-", "_").split("_")[0]
        return {"list": "empty", "get": "404"}.get(verb, "501"), tests
    return "works", tests


def rows():
    sdks = {}
    for version in installed.PYTHON_SDKS:
        with PythonSdk(version, NOWHERE) as sdk:
            sdks[version] = set(sdk.methods())
    with DatabricksCli(NOWHERE) as cli:
        commands = {one.replace("-", "_") for one in cli.commands() + HIDDEN_COMMANDS}
    every = {name: Stories(name) for name in ("client_python_sdk", "client_cli", "client_terraform", "client_node")}
    for method in sorted(set().union(*sdks.values()) | commands, key=order) + list(OTHERS):
        found = marks(method)
        out, tests = [], []
        has_other = method in OTHERS and "client_python_sdk" in found
        for methods in sdks.values():
            state, shown = cell(every["client_python_sdk"], method in methods or has_other, found.get("client_python_sdk"))
            out.append(state)
            tests = [f"client_python_sdk: {', '.join(shown[:SHOWN])}"] if shown else tests
        for name in ("client_cli", "client_terraform", "client_node"):
            has = name in found
            if name == "client_cli":
                has = method in commands or (method in OTHERS and has)
            elif name == "client_terraform" and has:  # the provider has resources that nothing here is about
                has = bool(every[name].calling(found[name]))
            state, shown = cell(every[name], has, found.get(name))
            out.append(state)
            tests += [f"{name}: {', '.join(shown[:SHOWN])}"] if shown else []
        if method in NOT_YET:
            out, tests = ["–" if state == "–" else "not yet" for state in out], []
        yield method, out, "; ".join(tests).replace("test_", "").replace("_", " ").replace("client python sdk", "Python").replace(
            "client cli", "CLI").replace("client terraform", "Terraform").replace("client node", "Node")  # fmt: skip


def table():
    versions = [installed.PYTHON_SDKS[0], installed.PYTHON_SDKS[1]]
    head = ["method", f"Python {versions[0]}", f"Python {versions[1]}", "CLI", "Terraform", "Node", "shown by"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for method, states, tests in rows():
        lines.append(f"| `{method}` | {' | '.join(states)} | {tests} |")
    return "\n".join(lines) + "\n"


def page_with(new):
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + new + END + after


if __name__ == "__main__":
    made = page_with(table())
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(made)
    else:
        sys.stdout.write(made)
        sys.exit(os.EX_USAGE if sys.argv[1:] else 0)
