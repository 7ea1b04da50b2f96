"""The table of routes as src/control_plane/api.c has it: what a test must have an opinion about when somebody adds a route."""

import re
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src" / "control_plane" / "api.c"


def _texts(expression, names):
    """`PG "/projects/{}"` with its macros replaced: the text it is in C."""
    parts = re.findall(r'"([^"]*)"|([A-Z_]+)', expression)
    return "".join(text if not name else _texts(names[name], names) for text, name in parts)


def read_routes():
    """[(method, pattern, marker)]: the marker is the macro that says for whom the route is: SERVE, SERVE_ADMIN, EMPTY, …"""
    source = SOURCE.read_text()
    names = dict(re.findall(r'^#define ([A-Z_]+)\s+((?:[A-Z_]+|"[^"]*")(?: +(?:[A-Z_]+|"[^"]*"))*)$', source, re.M))
    table = source[source.index("static const struct http_route routes[]") :]
    table = table[: table.index("\n};")]
    table = re.sub(r"/\*.*?\*/", "", table, flags=re.S)
    found = re.findall(r'\{\s*"([A-Z]+)",\s*((?:[A-Z_]+|"[^"]*"|\s+)+),\s*([A-Z_]+)\(', table)
    routes = [(method, _texts(pattern, names), marker) for method, pattern, marker in found]
    assert len(routes) == len(re.findall(r'\{\s*"[A-Z]+",', table)), "a route is written in a way that this reader does not know"
    return routes
