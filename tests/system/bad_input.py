"""Hostile REST input: a clear answer, nothing changed, nothing leaked. ./check runs this file against a sanitized build too."""

import json
import os
import re
import socket
import threading

import pytest

from harness.rest import POSTGRES
from harness.waiting import wait_until

pytestmark = pytest.mark.bad_input


@pytest.fixture
def nothing_changes(platform, shared_project):
    """What is there before is there after (but for sizes, which are measured now and then), and control holds no more descriptors
    than before."""
    rest = platform.rest

    def picture():
        lists = [
            rest.get("projects", show_deleted="true"), rest.get(f"projects/{shared_project}/branches", show_deleted="true"),
            rest.get(f"projects/{shared_project}/branches/production/endpoints"),
        ]  # fmt: skip
        return re.sub(r'"\w+_size_bytes": \d+', '"size"', json.dumps(lists, sort_keys=True))

    rest.get("projects")
    before, descriptors, pid = picture(), platform.descriptors("control"), platform.role_pid("control")
    yield
    assert platform.role_pid("control") == pid, "control did not survive it"
    assert picture() == before
    # A half-open connection is let go after some seconds of silence.
    wait_until(lambda: platform.descriptors("control") <= descriptors, "descriptors are given back", 60)


def raw_request(platform, data, timeout=20, shutdown=False):
    """Bytes to the API's port; whatever comes back until it closes or falls silent."""
    with socket.create_connection(("127.0.0.1", platform.api_port), timeout=timeout) as sock:
        try:
            sock.sendall(data)
            if shutdown:
                sock.shutdown(socket.SHUT_WR)
        except OSError:  # it has hung up already
            pass
        answer = b""
        try:
            while more := sock.recv(65536):
                answer += more
                head, found, body = answer.partition(b"\r\n\r\n")
                if found:
                    for line in head.split(b"\r\n"):
                        if line.lower().startswith(b"content-length:") and len(body) >= int(line.split(b":")[1]):
                            return answer
        except (TimeoutError, ConnectionError):
            pass
        return answer


BODIES = {
    "nothing": b"", "half an object": b"{", "a trailing comma": b'{"spec":{},}', "a bare word": b"hello", "null": b"null",
    "a list": b"[]", "a number": b"5", "a string": b'"spec"', "two values": b"{}{}", "single quotes": b"{'spec':{}}",
    "not UTF-8": b'{"spec":{"display_name":"\xff\xfe"}}', "a lone surrogate": b'{"spec":{"display_name":"\\ud800"}}',
    "a NUL": b'{"spec":{"display_name":"a\0b"}}', "deep": b"[" * 100_000 + b"]" * 100_000,
    "a huge number": b'{"spec":{"pg_version":1e999}}',
    "many digits": b'{"spec":{"pg_version":' + b"9" * 5000 + b"}}",
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_malformed_bodies(platform, rest, shared_project, nothing_changes, name):
    for method, path, query in (
        ("POST", "projects", {"project_id": "never-made"}),
        ("POST", f"projects/{shared_project}/branches", {"branch_id": "never-made"}),
        ("PATCH", f"projects/{shared_project}/branches/production/endpoints/primary", {"update_mask": "spec"}),
        ("POST", "credentials", None),
    ):  # fmt: skip
        if name == "nothing" and ("project_id" in (query or {}) or method == "PATCH"):
            continue  # a project with all defaults, and a change of nothing
        answer = rest.ask(method, path, query=query, raw=BODIES[name])
        assert answer.status == 400, (method, path, answer.raw)
        assert answer.json["error_code"] in ("MALFORMED_REQUEST", "INVALID_PARAMETER_VALUE", "BAD_REQUEST")
        assert answer.json["message"]


WRONG = [5, -1, 0.5, True, "text", [], ["x"], {}, {"x": {}}, "", "\0", "'; drop table projects; --", "ü" * 300, 2**63, 1e300]


@pytest.mark.parametrize("field", [
    "display_name", "pg_version", "history_retention_duration", "default_endpoint_settings", "enable_pg_native_login",
    "custom_tags", "budget_policy_id",
])  # fmt: skip
def test_wrong_types_in_a_project(rest, new_name, field):
    for value in WRONG:
        project = new_name("w")
        answer = rest.ask("POST", "projects", {"spec": {field: value}}, {"project_id": project})
        # Some of the values are right for some of the fields.
        if answer.status == 200:
            rest.finish(answer.json)
            read = rest.get(f"projects/{project}")
            json.dumps(read)
            rest.delete_project(project)
        else:
            assert answer.status == 400 and answer.json["message"], (field, value, answer.raw)
            assert rest.refused("GET", f"projects/{project}").status == 404


@pytest.mark.parametrize("field", [
    "autoscaling_limit_min_cu", "autoscaling_limit_max_cu", "suspend_timeout_duration", "no_suspension", "disabled",
    "group", "settings", "endpoint_type",
])  # fmt: skip
def test_wrong_types_in_an_endpoint(rest, project, field):
    before = rest.endpoint(project)["status"]
    name = f"projects/{project}/branches/production/endpoints/primary"
    for value in (-1, "text", ["x"], "\0", 2**63, 1e300, {"x": {"y": 1}}):
        answer = rest.ask("PATCH", name, {"spec": {field: value}}, {"update_mask": f"spec.{field}"})
        if field in ("settings", "group") and answer.status == 200:
            rest.finish(answer.json)  # unknown members of an object are ignored
            continue
        assert answer.status == 400 and answer.json["message"], (field, value, answer.raw)
    after = rest.endpoint(project)["status"]
    volatile = {"last_active_time", "current_state", "pending_state"}
    assert {k: v for k, v in after.items() if k not in volatile} == {k: v for k, v in before.items() if k not in volatile}


@pytest.mark.parametrize("mask", ["nonsense", "spec.nonsense", "spec..", ",", "spec.disabled,,", "*,x", "spec[0]", "ü", "x" * 5000])
def test_bad_masks(rest, shared_project, nothing_changes, mask):
    name = f"projects/{shared_project}/branches/production/endpoints/primary"
    error = rest.refused("PATCH", name, {"spec": {"disabled": True}}, update_mask=mask)
    assert (error.status, error.code) == (400, "INVALID_PARAMETER_VALUE"), error
    if mask in ("nonsense", "spec.nonsense"):
        assert error.message.startswith("Unknown field path in update_mask")


PATHS = [
    "projects/%00", "projects/..%2f..%2fetc", "projects/../../../etc/passwd", "projects//", "projects/" + "x" * 3000,
    "projects/%ff%fe", "projects/%zz", "projects/a/b/c/d/e/f/g/h/i/j", "projects/'%20or%201=1--", "projects/%F0%9F%90%98",
    "projects/*", "?", "projects/p/branches/b/endpoints/e/operations/o/operations/o",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_strange_paths(platform, rest, nothing_changes, path):
    for method in ("GET", "DELETE", "PATCH", "POST"):
        request = f"{method} {POSTGRES}{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {rest.token}\r\nContent-Length: 2\r\n\r\n{{}}"
        answer = raw_request(platform, request.encode())
        status = int(answer.split(b" ")[1]) if answer.startswith(b"HTTP/1.1") else 0
        assert status in (400, 404, 405, 414, 431), (method, path, answer[:300])


QUERIES = ["project_id=%00", "project_id=%ff", "project_id=a&project_id=b%27", "project_id", "=&=&=", "&" * 500, "page_size=abc",
           "page_size=99999999999999999999", "page_size=1.5", "show_deleted=maybe", "page_token=" + "A" * 3000,
           "page_token=%27%3B%20drop"]  # fmt: skip


@pytest.mark.parametrize("query", QUERIES)
def test_strange_queries(platform, rest, nothing_changes, query):
    answer = rest.ask("GET", "projects?" + query)
    assert answer.status in (200, 400, 414, 431), answer.raw
    if answer.status in (200, 400):  # what is too large for the HTTP library it answers itself
        json.loads(answer.raw)
    if "project_id" in query:
        answer = rest.ask("POST", "projects?" + query, raw=b"{")
        assert answer.status == 400, answer.raw


def test_ten_megabytes(platform, rest, nothing_changes):
    """Refused by size, whether announced or not, and not kept in memory meanwhile."""
    big = b'{"spec":{"display_name":"' + b"x" * (10 << 20) + b'"}}'
    try:
        answer = rest.ask("POST", "projects", query={"project_id": "never-made"}, raw=big)
        assert answer.status in (400, 413), answer.raw[:300]
        assert answer.json["error_code"]
    except (ConnectionError, OSError):
        pass  # it may hang up on a client that goes on sending
    head = (f"POST {POSTGRES}projects?project_id=never-made HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {rest.token}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n").encode()  # fmt: skip
    chunk = b"%x\r\n" % (1 << 16) + b" " * (1 << 16) + b"\r\n"
    answer = raw_request(platform, head + chunk * 160 + b"0\r\n\r\n")
    assert b" 200 " not in answer.split(b"\r\n")[0]
    announced = (f"POST {POSTGRES}projects?project_id=never-made HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {rest.token}\r\n"
                 "Content-Length: 99999999999\r\n\r\n").encode()  # fmt: skip
    answer = raw_request(platform, announced + b"{", shutdown=True)
    assert b" 200 " not in answer.split(b"\r\n")[0]


def test_large_but_legal_bodies_work(rest, new_name):
    """Just below the limit there is no error: tags of a few hundred kilobytes."""
    project = new_name()
    answer = rest.ask("POST", "projects", {"spec": {}, "unknown": "x" * 200_000}, {"project_id": project})
    assert answer.status == 200, answer.raw
    rest.finish(answer.json)
    rest.delete_project(project)


GARBAGE = [
    b"", b"\r\n\r\n", b"\0" * 1000, os.urandom(5000), b"GET", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000,
    b"GET / HTTP/1.1\r\nHost: " + b"h" * 100_000 + b"\r\n\r\n", b"POST /api/2.0/postgres/projects HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/1.1\r\nAuthorization: Bearer " + b"x" * 200_000 + b"\r\n\r\n", b"GET /\xff\xfe\0 HTTP/1.1\r\nHost: x\r\n\r\n",
]  # fmt: skip


def test_garbage_on_the_port(platform, rest, nothing_changes):
    for data in GARBAGE:
        answer = raw_request(platform, data, timeout=3, shutdown=True)
        assert b" 200 " not in answer.split(b"\r\n")[0], data[:50]


def test_slow_and_half_open_clients_block_nobody(platform, rest, nothing_changes):
    held = []
    for i in range(200):
        sock = socket.create_connection(("127.0.0.1", platform.api_port), timeout=20)
        sock.sendall((b"", b"G", b"GET / HTTP/1.1\r\nHost:", b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")[i % 4])
        held.append(sock)
    assert rest.user() == "admin@localhost"
    threads = [threading.Thread(target=rest.get, args=("projects",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    for sock in held:
        sock.close()


def test_unknown_and_output_only_fields_are_ignored(rest, new_name):
    project = new_name()
    body = {
        "name": "projects/other", "uid": "mine", "create_time": "2000-01-01T00:00:00Z", "status": {"owner": "mallory"},
        "surprise": [1, {"deep": None}], "spec": {"surprise": True, "display_name": "x"},
    }  # fmt: skip
    rest.create_project(project, body)
    read = rest.get(f"projects/{project}")
    assert read["name"] == f"projects/{project}" and read["status"]["owner"] == "admin@localhost"
    assert read["create_time"] > "2020" and "surprise" not in read
    rest.delete_project(project)


def test_a_body_of_the_wrapped_form_is_not_taken_for_the_resource(rest, shared_project, nothing_changes):
    error = rest.refused("POST", f"projects/{shared_project}/branches", {"branch": {"spec": {"no_expiry": True}}},
                         branch_id="never-made")  # fmt: skip
    assert error.status == 400
