"""The REST API as a client sees it. Only urllib, so that nothing repairs what the server answers."""

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request

from harness import postgres
from harness.waiting import wait_until

POSTGRES = "/api/2.0/postgres/"


class RestError(AssertionError):
    def __init__(self, status, body):
        super().__init__(f"HTTP {status}: {body}")
        self.status, self.body = status, body
        self.code = body.get("error_code") if isinstance(body, dict) else None
        self.message = body.get("message") if isinstance(body, dict) else str(body)


class OperationFailed(AssertionError):
    def __init__(self, operation):
        super().__init__(f"operation failed: {operation}")
        self.error = operation["error"]


class Answer:
    def __init__(self, status, headers, raw):
        self.status, self.headers, self.raw = status, headers, raw

    @property
    def json(self):
        return json.loads(self.raw)


class Rest:
    def __init__(self, host, token):
        self.host, self.token = host, token
        # Proxies from the environment are not asked: everything is on this machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(self, method, path, body=None, query=None, headers=None, raw=None, timeout=60):
        """Any request; answers whatever comes, errors too. A path without a leading slash is below the API."""
        url = self.host + (path if path.startswith("/") else POSTGRES + path)
        if query:
            url += "?" + urllib.parse.urlencode(query)
        data = raw if raw is not None else (json.dumps(body).encode() if body is not None else None)
        request = urllib.request.Request(url, data=data, method=method)
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        if data is not None:
            request.add_header("Content-Type", "application/json")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        try:
            with self._opener.open(request, timeout=timeout) as response:
                return Answer(response.status, response.headers, response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())
        except http.client.RemoteDisconnected as error:
            raise ConnectionError(f"{method} {path}: connection closed without an answer") from error

    def call(self, method, path, body=None, **query):
        if (method, path) == ("POST", "projects"):
            body = postgres.with_version(body)
        answer = self.ask(method, path, body, query)
        try:
            value = answer.json
        except ValueError:
            raise RestError(answer.status, answer.raw.decode(errors="replace")) from None
        if answer.status != 200:
            raise RestError(answer.status, value)
        return value

    def get(self, path, **query):
        return self.call("GET", path, **query)

    def finish(self, operation, timeout=120.0):
        """Polls an operation to its end; its response, or OperationFailed."""
        done = wait_until(
            lambda: (lambda now: now if now["done"] else None)(self.get(operation["name"])),
            f"operation {operation['name']} done",
            timeout,
        )
        if "error" in done:
            raise OperationFailed(done)
        assert done["response"] is not None
        return done["response"]

    def run(self, method, path, body=None, **query):
        return self.finish(self.call(method, path, body, **query))

    def refused(self, method, path, body=None, **query):
        """The error of a request that must fail at once."""
        try:
            answer = self.call(method, path, body, **query)
        except RestError as error:
            return error
        raise AssertionError(f"{method} {path} was accepted: {answer}")

    # The few calls that nearly every story begins with.

    def create_project(self, project, body=None):
        return self.run("POST", "projects", body if body is not None else {}, project_id=project)

    def create_branch(self, project, branch, **spec):
        if not spec.keys() & {"ttl", "expire_time", "no_expiry"}:
            spec["no_expiry"] = True
        return self.run("POST", f"projects/{project}/branches", {"spec": spec}, branch_id=branch)

    def delete_branch(self, project, branch, purge=True):
        query = {"purge": "true"} if purge else {}
        return self.run("DELETE", f"projects/{project}/branches/{branch}", **query)

    def reset_branch(self, project, branch):
        """To its parent's head; the endpoint stays."""
        return self.run("POST", f"projects/{project}/branches/{branch}/reset", {})

    def restore_branch(self, project, branch, keep_as, **moment):
        """In place, to source_branch_lsn or source_branch_time; what it was becomes the branch `keep_as`."""
        body = {**moment, "preserve_under_branch_id": keep_as}
        return self.run("POST", f"projects/{project}/branches/{branch}/restore", body)

    def create_snapshot(self, project, snapshot, branch="production", **spec):
        spec["source_branch"] = f"projects/{project}/branches/{branch}"
        return self.run("POST", f"projects/{project}/snapshots", {"spec": spec}, snapshot_id=snapshot)

    def delete_snapshot(self, project, snapshot):
        return self.run("DELETE", f"projects/{project}/snapshots/{snapshot}")

    def delete_project(self, project):
        return self.run("DELETE", f"projects/{project}", purge="true")

    def endpoint(self, project, branch="production", endpoint="primary"):
        return self.get(f"projects/{project}/branches/{branch}/endpoints/{endpoint}")

    def update_endpoint(self, project, branch, mask, spec, endpoint="primary"):
        name = f"projects/{project}/branches/{branch}/endpoints/{endpoint}"
        return self.run("PATCH", name, {"spec": spec}, update_mask=mask)

    def database_token(self, endpoint_name, **more):
        return self.call("POST", "credentials", {"endpoint": endpoint_name, **more})["token"]

    def user(self):
        return self.call("GET", "/api/2.0/preview/scim/v2/Me")["userName"]
